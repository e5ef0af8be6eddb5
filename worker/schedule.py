"""A cron line as a schedule for Celery's beat. Celery's own crontab neither follows daylight saving nor Debian's cron."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from celery.schedules import BaseSchedule, schedstate

from heatsync.workspace import cron


class CronSchedule(BaseSchedule):  # type: ignore[misc]
    """When `heatsync.workspace.cron` says that a line is due in a time zone. Beat keeps it in a file: it can be pickled."""

    def __init__(self, line: str, zone: str) -> None:
        super().__init__()
        self.line = line
        self.zone = zone
        self._zone = ZoneInfo(zone)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether the line was due since the last run, and the seconds until it is due next."""
        now = self._utc(self.now())
        due = cron.next_due(self.line, self._zone, self._utc(last_run_at)) <= now
        return schedstate(due, (cron.next_due(self.line, self._zone, now) - now).total_seconds())

    def _utc(self, moment: datetime) -> datetime:
        aware: datetime = self.maybe_make_aware(moment)
        return aware.astimezone(UTC)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.line, self.zone)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CronSchedule) and (self.line, self.zone) == (other.line, other.zone)

    def __repr__(self) -> str:
        return f"<cron: {self.line} ({self.zone})>"
