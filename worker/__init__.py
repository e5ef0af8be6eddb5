"""The job on Celery and Redis: processes and a clock, and no rule of its own.

    celery -A worker worker        celery -A worker beat

The workspace is the folder in HEATSYNC_WORKSPACE (default: the current one), its file HEATSYNC_CONFIG or heatsync.yml.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    # Celery asks for `worker.app`. Importing a module of this package must not need a workspace.
    if name != "app":
        raise AttributeError(name)
    from worker.application import app_from_environment

    globals()["app"] = app = app_from_environment()
    return app
