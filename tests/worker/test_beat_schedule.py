"""A cron line as Celery's beat sees it."""

import pickle
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from worker.schedule import CronSchedule

BERLIN = ZoneInfo("Europe/Berlin")


def at(moment: datetime) -> CronSchedule:
    """A schedule at 5:30 in Berlin, asked at a moment."""
    schedule = CronSchedule("30 5 * * *", "Europe/Berlin")
    schedule.nowfun = lambda: moment
    return schedule


def test_a_schedule_is_due_once_from_its_minute_on() -> None:
    morning = datetime(2026, 11, 21, 5, 30, tzinfo=BERLIN)
    yesterday = morning - timedelta(days=1)
    assert at(morning - timedelta(seconds=1)).is_due(yesterday) == (False, 1)
    assert at(morning).is_due(yesterday) == (True, 24 * 3600)
    assert at(morning + timedelta(hours=3)).is_due(yesterday) == (True, 21 * 3600), "beat was not running"
    assert at(morning + timedelta(seconds=1)).is_due(morning) == (False, 24 * 3600 - 1)


@pytest.mark.parametrize(("day", "hours"), [(datetime(2026, 3, 28), 23), (datetime(2026, 10, 24), 25)])
def test_the_night_on_which_the_clocks_change_is_an_hour_shorter_or_longer(day: datetime, hours: int) -> None:
    before = day.replace(hour=5, minute=30, tzinfo=BERLIN)
    assert at(before).is_due(before.astimezone(UTC)) == (False, hours * 3600)


def test_beat_recognizes_a_schedule_that_it_wrote_to_its_file() -> None:
    schedule = CronSchedule("30 5 * * *", "Europe/Berlin")
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert schedule != CronSchedule("31 5 * * *", "Europe/Berlin")
    assert schedule != CronSchedule("30 5 * * *", "UTC")
