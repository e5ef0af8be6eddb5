"""A backtest: the past scores of a profile, compared with which entities came back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import duckdb

from connectors.errors import ConfigurationError
from heatsync.analysis import backtest_labels, backtest_metrics
from heatsync.analysis.backtest_labels import PastEvents
from heatsync.analysis.backtest_metrics import WEEK, Backtest, Sample
from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.relations import create_table
from heatsync.scoring.compute.scores import escape_quotes
from heatsync.scoring.definition import audiences
from heatsync.scoring.definition.profile import Profile
from heatsync.snapshots.profile_run import ProfileRun
from heatsync.snapshots.session import Session, open_session
from heatsync.workspace.config import Workspace
from heatsync.workspace.strict_yaml import suggest

MAX_SNAPSHOTS = 52
"""The most weekly snapshots of a backtest: a year."""

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """What to backtest. `until` is the last day whose events are used."""

    profile: str
    until: date
    horizon: int = 30
    entity: str = "user"
    audience: str | None = None


def find_profile(workspace: Workspace, name: str) -> Profile:
    """A profile of the workspace. Raises ConfigurationError with the nearest name if there is none."""
    if name not in workspace.profiles:
        raise ConfigurationError(
            f"There is no profile `{name}` in {workspace.folder / 'mappings' / 'profiles'}"
            f"{suggest(name, workspace.profiles)}"
        )
    return workspace.profiles[name]


def backtest(workspace: Workspace, question: BacktestRequest, progress: OnProgress) -> Backtest:
    """Backtest a profile. Without figures, `why` in the result says what is missing. Raises ConfigurationError."""
    profile = find_profile(workspace, question.profile)
    if question.audience is not None:
        _known_audience(workspace, question)
    blank = _blank(profile, question)
    with open_session(workspace, question.until) as session:
        progress("reading the events", 0, 3)
        past = load_events(session, profile, question.entity, question.horizon)
        days = snapshot_weeks(past, profile, question.horizon)
        if past is None or not days:
            return replace(blank, why=too_short_reason(past, profile, question.horizon))
        progress("scoring the past", 1, 3)
        run = ProfileRun.of(session, question.profile)
        where = _where(question, days, run)
        scored = run.score_days(days)[question.entity]
        labelled = backtest_labels.label_churn(
            session.connection,
            past.seen,
            days,
            profile.window,
            question.horizon,
            backtest_labels.sampling_rate(session.connection, past.seen, len(days)),
        )
        backtest_labels.apply_filter(session.connection, profile, labelled, scored)
        sample = backtest_labels.read_sample(
            session.connection, profile, question.entity, labelled, scored.scores, where
        )
        found = with_row_counts(
            replace(blank, first=calendar.day_of(days[0]), last=calendar.day_of(days[-1])), sample, days
        )
        if found.why:
            return found
        progress("judging", 2, 3)
        learned = None
        if profile.levels.kind == "churn":
            learned = backtest_labels.learned_levels(
                session.connection, sample, backtest_metrics.split_day(days)
            )
        found = replace(
            found,
            figures=backtest_metrics.evaluate(sample, days, profile.levels.names, learned),
            concentration=concentration(session.connection, profile, past),
        )
        if past.last - past.first >= backtest_labels.STABILITY_DAYS:
            daily = run.score_days(list(range(past.last - backtest_labels.STABILITY_DAYS, past.last + 1)))
            found = replace(
                found,
                stability=backtest_labels.measure_stability(
                    session.connection, profile, daily[question.entity].scores
                ),
            )
        progress("judging", 3, 3)
        return found


def snapshot_weeks(past: PastEvents | None, profile: Profile, horizon: int) -> list[int]:
    """The numbers of the days that a backtest evaluates, a week apart; none if there are no events."""
    return (
        backtest_metrics.snapshot_days(past.first, past.last, profile.window, horizon, MAX_SNAPSHOTS)
        if past
        else []
    )


def too_short_reason(past: PastEvents | None, profile: Profile, horizon: int) -> str:
    """The reason why no day can be evaluated."""
    if past is None:
        return "there are no events to look back on"
    first, last = calendar.day_of(past.first), calendar.day_of(past.last)
    return (
        f"the events from {first} to {last} cover too few days for a window of {profile.window} days and a horizon of"
        f" {horizon} days: wait for more events, or choose a shorter --horizon"
    )


def with_row_counts(blank: Backtest, sample: Sample, days: Sequence[int]) -> Backtest:
    """The result with the counts of its rows, and the reason if there are too few for figures."""
    rows, churned = len(sample), int(sample.churned.sum())
    return replace(
        blank,
        snapshots=len(days),
        rows=rows,
        entities=int(sample.entities.max()) + 1 if rows else 0,
        churned=churned,
        coverage=100.0 * float((sample.score > 0).mean()) if rows else None,
        why=backtest_metrics.too_few_reason(churned, rows, blank.entity, blank.horizon),
    )


def _blank(profile: Profile, question: BacktestRequest) -> Backtest:
    return Backtest(
        profile=question.profile,
        entity=question.entity,
        audience=question.audience,
        window=profile.window,
        horizon=question.horizon,
        first=None,
        last=None,
        snapshots=0,
        rows=0,
        entities=0,
        churned=0,
        figures=None,
        why="",
    )


def load_events(session: Session, profile: Profile, entity: str, horizon: int) -> PastEvents | None:
    """An entity's own events, as far back as a backtest looks; None without any. The events of an account are those of
    its users and those that carry its id, each counted once. Raises ConfigurationError."""
    con, counts = session.connection, session.day_counts
    last = _latest(session)
    if last is None:
        return None
    first = last - WEEK * MAX_SNAPSHOTS - horizon - profile.window
    session.counts.count_days(first, last)
    days = f"day BETWEEN {first} AND {last}"
    if entity == "user":
        own = (
            f"SELECT user_no AS key, user_no, event_no, day, n FROM {counts.daily}"
            f" WHERE user_no IS NOT NULL AND {days}"
        )
    else:
        own = _of_accounts(session, days)
    passive = ", ".join(f"'{escape_quotes(name)}'" for name in profile.passive)
    events = create_table(
        con,
        "past",
        ("key", "user_no", "event", "day", "n", "passive"),
        f"""
        SELECT k.id AS key, o.user_no, e.id AS event, o.day, o.n, {f"e.id IN ({passive})" if passive else "false"} AS passive
        FROM ({own}) o JOIN {counts.ids[entity]} k ON k.no = o.key JOIN {counts.ids["event"]} e ON e.no = o.event_no
        """,
    )
    seen = create_table(
        con,
        "seen",
        ("key", "day", "n"),
        f"SELECT key, day, sum(n)::BIGINT AS n FROM {events} WHERE NOT passive GROUP BY key, day",
    )
    found = con.execute(f"SELECT min(day), max(day) FROM {counts.daily} WHERE {days}").fetchone()
    if found is None or found[0] is None:
        return None
    return PastEvents(int(found[0]), int(found[1]), events, seen)


def _latest(session: Session) -> int | None:
    """A day after which there is no event, judged by the daily volumes: the source may have ended long ago."""
    zone = session.workspace.time_zone
    volumes = session.source.volumes(calendar.day_start(calendar.day_of(session.last + 1), zone))
    dates = [date.fromisoformat(each) for each, count in volumes.items() if count]
    # A UTC date overlaps the previous and the next local day.
    return min(session.last, calendar.day_number(max(dates)) + 1) if dates else None


def _of_accounts(session: Session, days: str) -> str:
    """SQL: key, user_no, event_no, day, n of the events of accounts. A user without an account in the users table belongs
    to the account that its last event before carried."""
    counts = session.day_counts
    carried = escape_quotes(str(session.counts.carried))
    stays = create_table(
        session.connection,
        "stays",
        ("user_no", "day", "account_no"),
        f"""
        SELECT user_no, day, arg_max(account_no, (last, -account_no)) AS account_no FROM (
            SELECT user_no, account_no, day, last FROM {counts.daily} WHERE user_no IS NOT NULL AND account_no IS NOT NULL AND {days}
            UNION ALL SELECT user_no, account_no, -1000000 AS day, last FROM read_parquet('{carried}')
        ) ANTI JOIN {counts.homes} USING (user_no) GROUP BY user_no, day
        """,
    )
    return f"""
        WITH placed AS (
            SELECT d.user_no, d.account_no, d.event_no, d.day, d.n, coalesce(h.account_no, s.account_no) AS home
            FROM (FROM {counts.daily} WHERE {days}) d LEFT JOIN {counts.homes} h ON h.user_no = d.user_no
            ASOF LEFT JOIN {stays} s ON s.user_no = d.user_no AND d.day >= s.day
        )
        SELECT home AS key, user_no, event_no, day, n FROM placed WHERE home IS NOT NULL
        UNION ALL
        SELECT account_no, user_no, event_no, day, n FROM placed
        WHERE account_no IS NOT NULL AND account_no IS DISTINCT FROM home
    """


def concentration(
    con: duckdb.DuckDBPyConnection, profile: Profile, past: PastEvents
) -> backtest_metrics.Concentration | None:
    """How much of the raw points of the last day comes from one event and from a few entities; None for a model without
    raw points, and where there are none."""
    if profile.model == "kpi":
        return None
    share = backtest_labels.decay_table(con, [past.last], profile)
    if profile.model == "engagement":
        names = ", ".join(f"'{escape_quotes(event.event)}'" for event in profile.scored)
        return backtest_labels.concentration(
            con,
            f"""(
            SELECT key, event, n / sum(n) OVER act * log2(1 + sum(n) OVER act) * factor AS points
            FROM (SELECT key, event, day, sum(n) AS n FROM {past.events} WHERE event IN ({names}) GROUP BY ALL)
            JOIN {share} USING (day) WINDOW act AS (PARTITION BY key, day))""",
        )
    values = ", ".join(
        f"('{escape_quotes(event.event)}', {float(event.weight)!r}, {event.per_day or 'NULL'}::BIGINT)"
        for event in profile.scored
    )
    return backtest_labels.concentration(
        con,
        f"""(
        SELECT key, event, least(sum(n), any_value(per_day)) * any_value(weight * factor) AS points
        FROM {past.events} JOIN (VALUES {values}) w(event, weight, per_day) USING (event) JOIN {share} USING (day)
        GROUP BY key, user_no, event, day)""",
    )


def _known_audience(workspace: Workspace, question: BacktestRequest) -> None:
    keys = audience_keys(workspace, question.profile, question.entity)
    if question.audience not in keys:
        raise ConfigurationError(
            f"--audience: profile `{question.profile}` has no audience `{question.audience}` of"
            f" {question.entity}s{suggest(str(question.audience), keys)}"
        )


def audience_keys(workspace: Workspace, profile: str, entity: str) -> frozenset[str]:
    """The keys of all audiences of a profile and an entity, built-in and custom."""
    return audiences.audience_keys(workspace.profiles[profile], entity, workspace.audiences.get(profile, ()))


def _where(question: BacktestRequest, days: Sequence[int], run: ProfileRun) -> str:
    """SQL that keeps the rows that were in the audience on their day. The audience is evaluated as it is defined now;
    a stored snapshot may be older."""
    if question.audience is None:
        return "true"
    con = run.session.connection
    con.execute("CREATE OR REPLACE TEMP TABLE then_members (key VARCHAR, day BIGINT)")
    for day in days:
        snapshot = run.build_snapshot(day)[question.entity]
        con.execute(
            f"INSERT INTO then_members SELECT {question.entity}_id, ? FROM {snapshot}"
            " WHERE list_contains(audiences, ?)",
            [day, question.audience],
        )
    return "(l.key, l.day) IN (SELECT (key, day) FROM then_members)"
