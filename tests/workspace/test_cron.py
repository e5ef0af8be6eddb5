"""When a cron line is due: names of days and months, days that never come, and the two nights on which clocks change."""

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from heatsync.workspace import cron

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
GAPS = {BERLIN: date(2026, 3, 29), NEW_YORK: date(2026, 3, 8)}
"""Here the clocks go from 2:00 to 3:00."""
DOUBLE_HOURS = {BERLIN: date(2026, 10, 25), NEW_YORK: date(2026, 11, 1)}
"""In Berlin the hour from 2:00 comes twice, in New York the one from 1:00."""


def due_on(line: str, zone: ZoneInfo, day: date) -> list[str]:
    """The local times of a day at which a line is due, with their offset from UTC."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    found: list[str] = []
    due = cron.next_due(line, zone, midnight - timedelta(seconds=1))
    while due.astimezone(zone).date() == day:
        found.append(due.astimezone(zone).strftime("%H:%M%z"))
        due = cron.next_due(line, zone, due)
    return found


def test_a_schedule_in_the_hour_that_spring_skips_is_due_when_the_hour_ends() -> None:
    assert due_on("30 2 * * *", BERLIN, GAPS[BERLIN]) == ["03:00+0200"]
    assert due_on("30 2 * * *", NEW_YORK, GAPS[NEW_YORK]) == ["03:00-0400"]


def test_a_schedule_in_the_hour_that_autumn_repeats_is_due_once_the_first_time() -> None:
    assert due_on("30 2 * * *", BERLIN, DOUBLE_HOURS[BERLIN]) == ["02:30+0200"]
    assert due_on("30 1 * * *", NEW_YORK, DOUBLE_HOURS[NEW_YORK]) == ["01:30-0400"]


def test_a_schedule_of_every_hour_is_due_in_every_hour_that_there_is() -> None:
    assert due_on("0 * * * *", BERLIN, GAPS[BERLIN])[1:4] == ["01:00+0100", "03:00+0200", "04:00+0200"]
    assert len(due_on("0 * * * *", NEW_YORK, GAPS[NEW_YORK])) == 23
    assert due_on("0 * * * *", BERLIN, DOUBLE_HOURS[BERLIN])[2:4] == ["02:00+0200", "02:00+0100"]
    assert len(due_on("0 * * * *", NEW_YORK, DOUBLE_HOURS[NEW_YORK])) == 25


def test_a_schedule_after_the_change_of_the_clocks_keeps_its_time() -> None:
    for zone in (BERLIN, NEW_YORK):
        for day in (GAPS[zone], DOUBLE_HOURS[zone]):
            assert [time[:5] for time in due_on("0 5 * * *", zone, day)] == ["05:00"]


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
def test_what_was_due_in_the_first_of_two_equal_hours_is_not_due_again_in_the_second(zone: ZoneInfo) -> None:
    hour = 2 if zone is BERLIN else 1
    day = DOUBLE_HOURS[zone]
    first = datetime(day.year, day.month, day.day, hour, 30, tzinfo=zone).astimezone(UTC)
    for minutes in range(1, 180):
        now = first + timedelta(minutes=minutes)
        assert cron.last_due(f"30 {hour} * * *", zone, now) == first
        assert cron.next_due(f"30 {hour} * * *", zone, now) > first + timedelta(hours=23)
        assert cron.was_due_today(f"30 {hour} * * *", zone, now)


def test_a_schedule_was_due_today_from_its_minute_until_midnight() -> None:
    midnight = datetime(2026, 7, 1, tzinfo=BERLIN).astimezone(UTC)
    due = [
        cron.was_due_today("30 5 * * *", BERLIN, midnight + timedelta(minutes=minute))
        for minute in range(24 * 60)
    ]
    assert due == [False] * 330 + [True] * (24 * 60 - 330)


def test_with_day_of_month_and_day_of_week_one_of_both_is_enough() -> None:
    days = [
        day
        for day in range(1, 32)
        if cron.was_due_today("0 0 13 * fri", BERLIN, datetime(2026, 3, day, 12, tzinfo=UTC))
    ]
    assert days == [6, 13, 20, 27]
    assert cron.was_due_today("0 0 13 * fri", BERLIN, datetime(2026, 4, 13, 12, tzinfo=UTC)), "a Monday"


@pytest.mark.parametrize(("line", "wrong"), [
    ("0 5 30 2 *", "`0 5 30 2 *` is never due: none of its months has such a day"),
    ("0 5 31 feb,apr *", "never due"),
    ("0 5 31 2", 'expected a cron line with minute, hour, day of the month, month, day of the week such as "30 5'),
    ("5 0 5 31 2 *", "expected a cron line"),
    ("60 5 * * *", "`60` is not a minute of a cron line: expected 0 to 59"),
    ("0 24 * * *", "`24` is not an hour of a cron line: expected 0 to 23"),
    ("0 5 0 * *", "`0` is not a day of the month of a cron line: expected 1 to 31"),
    ("0 5 * 13 *", "`13` is not a month of a cron line: expected 1 to 12 or jan to dec"),
    ("0 5 * * fun", "`fun` is not a day of the week of a cron line: expected 0 to 6 (0 is Sunday) or sun to sat"),
])  # fmt: skip
def test_a_line_that_is_wrong_or_never_due_is_refused_with_a_sentence(line: str, wrong: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the sentence is checked
        cron.check(line)
    assert wrong in str(caught.value)


def test_the_last_day_of_february_comes() -> None:
    assert cron.check("0 5  29 2 *") == "0 5 29 2 *"
    leap_day = cron.next_due("0 5 29 2 *", BERLIN, datetime(2026, 1, 1, tzinfo=UTC))
    assert leap_day == datetime(2028, 2, 29, 4, tzinfo=UTC)


def test_a_range_of_one_number_is_that_number() -> None:
    assert cron.check("5-5/2 * * * FRI-fri/2") == "5 * * * FRI"
    assert cron.check("5-15/2 * * * *") == "5-15/2 * * * *"


_bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


@st.composite
def part(draw: st.DrawFn, low: int, high: int) -> str:
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))
    step = draw(st.integers(1, high - low))
    shapes = ("*", str(first), f"{first}-{last}", f"*/{step}", f"{first}-{last}/{step}", f"{first},{last}")
    return draw(st.sampled_from(shapes))


lines = st.tuples(*(part(low, high) for low, high in _bounds)).map(" ".join)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))


@given(lines, moments, st.sampled_from([BERLIN, NEW_YORK]))
def test_every_accepted_line_has_a_last_and_a_next_time_with_none_in_between(
    line: str, moment: datetime, zone: ZoneInfo
) -> None:
    _, _, day, month, _ = line.split()
    assume(int(re.findall(r"\d+|\*", day)[0].replace("*", "1")) < 29 or month == "*")
    line = cron.check(line)
    last, following = cron.last_due(line, zone, moment), cron.next_due(line, zone, moment)
    assert last <= moment < following
    assert cron.next_due(line, zone, last) == following
    assert cron.last_due(line, zone, following - timedelta(seconds=1)) == last
