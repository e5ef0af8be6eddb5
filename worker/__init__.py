"""When and where the job runs: Celery and Redis, and no rule of its own.

    celery -A worker worker        celery -A worker beat

The workspace is the folder in HEATSYNC_WORKSPACE (or the one stood in), its file HEATSYNC_CONFIG or heatsync.yml.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    # Celery asks for `worker.app`; whoever wants a part of this room only needs no workspace.
    if name != "app":
        raise AttributeError(name)
    from worker.application import of_the_environment

    globals()["app"] = app = of_the_environment()
    return app
