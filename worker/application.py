"""The Celery application of one workspace."""

import os
import sys
from pathlib import Path

from celery import Celery

from connectors.errors import ConfigurationError, HeatsyncError
from heatsync.sync.mapping import files as mapping_files
from heatsync.workspace import config as workspace_files
from heatsync.workspace.config import Workspace
from worker.schedule import CronSchedule

SWEEP_SECONDS = float(os.environ.get("HEATSYNC_SWEEP_SECONDS", "15"))
"""Seconds between two sweeps, which enqueue what is due and has no message."""


def workspace_location() -> tuple[Path, str]:
    """The workspace's folder and settings file, from HEATSYNC_WORKSPACE and HEATSYNC_CONFIG."""
    folder = Path(os.environ.get("HEATSYNC_WORKSPACE", "."))
    return folder, os.environ.get("HEATSYNC_CONFIG", "heatsync.yml")


def create_app(workspace: Workspace) -> Celery:
    """The application of a workspace. Raises ConfigurationError if the workspace names no broker."""
    broker = workspace.broker
    if broker is None:
        raise ConfigurationError(
            f"{workspace.folder / workspace_location()[1]} names no broker, and workers need one. Set"
            " `broker: redis://HOST:6379/0` there (or HEATSYNC_BROKER if the file reads it), or run `heatsync sync`"
            " from cron without workers."
        )
    app = Celery("heatsync", broker=broker, include=["worker.tasks"])
    beat = workspace.state / "beat"
    beat.mkdir(parents=True, exist_ok=True)
    app.conf.update(
        timezone=workspace.time_zone.key,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=30,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        # Redis delivers a message again after the visibility timeout, also if its worker is only slow: so the
        # timeout is above the time limit (docs.celeryq.dev, Redis broker, "Visibility timeout").
        task_time_limit=4 * 3600,
        broker_transport_options={
            "visibility_timeout": 5 * 3600,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
        },
        # A worker that is started without queues takes both.
        task_queues={name: {"exchange": name} for name in ("delivery", "scoring")},
        task_default_queue="delivery",
        task_routes={"heatsync.score": {"queue": "scoring"}},
        beat_schedule_filename=str(beat / "schedule"),
        beat_schedule=_schedule(workspace),
    )
    return app


def _schedule(workspace: Workspace) -> dict[str, dict[str, object]]:
    zone = workspace.time_zone.key
    entries: dict[str, dict[str, object]] = {
        "score": {"task": "heatsync.score", "schedule": CronSchedule(workspace.score_cron, zone)},
        "sweep": {
            "task": "heatsync.sweep",
            "schedule": SWEEP_SECONDS,
            "options": {"expires": SWEEP_SECONDS * 2},
        },
    }
    for mapping in mapping_files.load(workspace).values():
        if mapping.schedule is not None:
            entries[f"plan {mapping.name}"] = {
                "task": "heatsync.plan",
                "schedule": CronSchedule(mapping.schedule, zone),
                "args": (mapping.name,),
            }
    return entries


def app_from_environment() -> Celery:
    """The application of the workspace that the environment names. A problem with it is printed; exit code 2."""
    try:
        return create_app(workspace_files.load(*workspace_location()))
    except HeatsyncError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for Celery's command line
        raise SystemExit(2) from None
