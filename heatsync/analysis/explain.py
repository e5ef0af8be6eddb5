"""One user or account in detail: what its score is made of, and what each destination received."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import duckdb

from connectors.errors import ConfigurationError
from heatsync.analysis import backtest_verdicts, score_breakdown
from heatsync.analysis.backtest_verdicts import Verdict
from heatsync.analysis.explain_rows import ONLY_PART, Row, SnapshotReader
from heatsync.analysis.score_breakdown import ScoreChange, ScorePart, ScoreParts
from heatsync.ledger import RecordStatus
from heatsync.scoring.compute.calendar import EPOCH
from heatsync.scoring.definition.profile import Profile
from heatsync.snapshots import run as snapshot_run
from heatsync.sync.context import Context
from heatsync.sync.mapping import query
from heatsync.sync.mapping.model import Mapping as FieldMapping
from heatsync.sync.value_problems import ValueProblem
from heatsync.workspace.config import Workspace

OnProgress = Callable[[str, int, int], None]

EventSteps = tuple[tuple[str, int, int | None], ...]
"""Per event: its name, how many, and how many of them count a day at most."""
DAYS_UNIT = "days with one"
COMPARED_DAYS = 30
"""How many days back a score is compared."""
ENTITIES = ("user", "account")
INPUT_COLUMNS = (
    "first_seen",
    "last_seen",
    "last_active",
    "signed_up",
    "tenure_days",
    "frequency",
    "activation",
    "adoption_recent",
    "adoption_ever",
    "active_users",
    "total_users",
    "percent_active",
)


@dataclass(frozen=True, slots=True)
class Contribution:
    """The contribution of an event, a touchpoint or a signal: how often it was done in the window (None for a
    signal), and its points of the score."""

    name: str
    count: int | None
    points: float


@dataclass(frozen=True, slots=True)
class MemberShare:
    """A user of an account, and its share of the account's score in points."""

    key: str
    score: int | None
    points: float


@dataclass(frozen=True, slots=True)
class NextLevel:
    """What reaches the next level: `points` more raw points of each of `each` active users, and the same as a number
    of each event. None: unknown."""

    level: str
    bound: float
    points: float | None
    each: int
    events: EventSteps
    unit: str = "events"


@dataclass(frozen=True, slots=True)
class ChangeSince:
    """The change of the unrounded score since a day, in parts that add up to it."""

    since: date
    score_before: int | None
    exact_before: float | None
    change: ScoreChange


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of a profile's score on a day. Without `compared`, `no_change_reason` says why."""

    profile: str
    entity: str
    key: str
    as_of: date
    row: Row
    contributions: tuple[Contribution, ...]
    members: tuple[MemberShare, ...]
    compared: ChangeSince | None
    no_change_reason: str
    next_level: NextLevel | None
    verdict: Verdict | None

    @property
    def inputs(self) -> dict[str, Any]:
        """The traits of the row that explain its score, by name."""
        return {name: self.row[name] for name in INPUT_COLUMNS if name in self.row}


@dataclass(frozen=True, slots=True)
class DesiredRecord:
    """The record that a mapping wants for the entity, and what the ledger knows about it."""

    mapping: str
    destination: str
    object: str
    covered: bool
    wants: Mapping[str, Any]
    problem: str
    statuses: tuple[RecordStatus, ...] = field(default=())


def latest_snapshot_day(workspace: Workspace, profile: str) -> date | None:
    """The last day with a snapshot; None without any."""
    days = []
    for path in workspace.snapshot_path(profile, "user", EPOCH).parent.glob("????-??-??.parquet"):
        try:
            days.append(date.fromisoformat(path.stem))
        except ValueError:
            continue
    return max(days, default=None)


def explain_scores(
    workspace: Workspace,
    key: str,
    entity: str | None,
    profiles: list[str],
    day: date | None,
    progress: OnProgress | None = None,
) -> list[Explanation]:
    """The key's scores, one per profile: as a user, else as an account. Snapshots that are missing, or that an older
    version of the profile made, are computed first. Raises ConfigurationError."""
    as_of = day or max(
        filter(None, (latest_snapshot_day(workspace, name) for name in profiles)), default=None
    )
    if as_of is None:
        raise ConfigurationError("There are no snapshots yet: run `heatsync score` first.")
    days = [as_of - timedelta(days=COMPARED_DAYS), as_of]
    with duckdb.connect() as con:
        readers = [SnapshotReader(con, workspace, name, workspace.profiles[name]) for name in profiles]
        lacking = [
            each
            for each in days
            if not all(reader.is_current(kind, each) for reader in readers for kind in ENTITIES)
        ]
        if lacking:
            snapshot_run.score(workspace, lacking, progress)
        for kind in ENTITIES if entity is None else (entity,):
            rows = [(reader, reader.row(kind, key, as_of)) for reader in readers]
            found = [_explain(reader, kind, key, as_of, row) for reader, row in rows if row is not None]
            if found:
                return found
    raise ConfigurationError(
        f"The snapshots of {as_of} have no {entity or 'user and no account'} {key!r}. Pass our id, not an e-mail address."
    )


def _explain(reader: SnapshotReader, entity: str, key: str, as_of: date, row: Row) -> Explanation:
    current = reader.score_parts(entity, key, as_of)
    compared, why = _compare(reader, entity, key, as_of, current)
    contributions = tuple(
        Contribution(each["name"], each["n"], float(each["points"]))
        for each in row.get("contributions") or ()
    )
    return Explanation(
        profile=reader.name,
        entity=entity,
        key=key,
        as_of=as_of,
        row=row,
        contributions=contributions,
        members=_members(reader, key, as_of, current) if entity == "account" else (),
        compared=compared,
        no_change_reason=why,
        next_level=_next(reader, entity, as_of, row, current),
        verdict=backtest_verdicts.load_verdicts(reader.workspace, reader.name).get(entity),
    )


def _compare(
    reader: SnapshotReader, entity: str, key: str, as_of: date, current: ScoreParts
) -> tuple[ChangeSince | None, str]:
    since = as_of - timedelta(days=COMPARED_DAYS)
    before = reader.row(entity, key, since)
    if before is None:
        return None, f"it did not exist on {since}"
    change = score_breakdown.score_change(reader.score_parts(entity, key, since), current)
    return ChangeSince(since, before["score"], before["score_exact"], change), ""


def _members(reader: SnapshotReader, key: str, as_of: date, current: ScoreParts) -> tuple[MemberShare, ...]:
    """Each user's share of the account's score before signals: its own part of an average, otherwise by raw points."""
    users = reader.members(key, as_of)
    if reader.profile.model == "weighted" and reader.profile.rollup == "average":
        shares = current.shares()
    else:
        raws = {user["user_id"]: float(user["raw"] or user["score_exact"] or 0.0) for user in users}
        total = sum(raws.values())
        left = current.activity_share * current.before_signals
        shares = {name: left * raw / total for name, raw in raws.items()} if total else {}
    return tuple(
        MemberShare(user["user_id"], user["score"], shares[user["user_id"]])
        for user in users
        if shares.get(user["user_id"], 0.0) > 0
    )


def _next(
    reader: SnapshotReader, entity: str, as_of: date, row: Row, current: ScoreParts
) -> NextLevel | None:
    """The level above, and what is missing to reach it."""
    profile = reader.profile
    if profile.levels.kind == "churn":
        return _next_learned(reader, entity, as_of, row)
    shown = row["score"]
    above = [(name, low) for name, low in profile.levels.bands if shown is None or low > shown]
    if not above:
        return None
    level, bound = above[0]
    if profile.model == "kpi":
        counted = [
            each.name for each in profile.touchpoints if each.to is None and each.name in current.parts
        ]
        alone = ((name, score_breakdown.points_needed(current, bound, [name])) for name in counted)
        events = tuple(
            (name, score_breakdown.events_needed(more, 1.0), None) for name, more in alone if more is not None
        )
        return NextLevel(level, bound, None, 1, events, "of one touchpoint alone, each worth 1")
    raised = current
    if not current.parts:
        # No user is active yet: calculate as if one user started.
        raised = ScoreParts(
            {ONLY_PART: ScorePart({}, current.empty_curve)},
            current.empty_curve,
            current.signals,
            current.activity_share,
        )
    more = score_breakdown.points_needed(raised, bound, raised.parts)
    if more is None:
        return NextLevel(level, bound, None, len(raised.parts), ())
    if profile.model == "engagement":
        return NextLevel(level, bound, more, 1, _days(profile, more), DAYS_UNIT)
    return NextLevel(level, bound, more, len(raised.parts), event_steps(profile, more))


def event_steps(profile: Profile, points: float) -> EventSteps:
    """How many of each event make so many raw points today, and how many of them count a day."""
    return tuple(
        (event.event, score_breakdown.events_needed(points, float(event.weight)), event.per_day)
        for event in sorted(profile.scored, key=lambda event: (-event.weight, event.event))
    )


def _next_learned(reader: SnapshotReader, entity: str, as_of: date, row: Row) -> NextLevel | None:
    """Learned levels depend on E (raw engagement), and start above a bound."""
    names = list(reader.profile.levels.names)
    place = names.index(row["level"]) if row["level"] in names else -1
    if place + 1 >= len(names):
        return None
    level = names[place + 1]
    if level in ("None", "Low"):
        return NextLevel(level, 0.0, None, 1, (), "any event" if level == "None" else "one action")
    bound = reader.level_bound(entity, as_of, level)
    if bound is None:
        return None
    more = max(0.0, bound - float(row["raw"] or 0.0))
    return NextLevel(level, bound, more, 1, _days(reader.profile, more), DAYS_UNIT)


def _days(profile: Profile, points: float) -> EventSteps:
    """Days instead of events: a day on which only this event was done is worth a point, however often it was done."""
    return tuple((event.event, score_breakdown.events_needed(points, 1.0), None) for event in profile.scored)


def desired_records(context: Context, entity: str, key: str, as_of: date) -> list[DesiredRecord]:
    """What each mapping of the entity wants for it on that day, and what was delivered and answered."""
    return [
        _payload(context, mapping, key, as_of)
        for mapping in context.mappings.values()
        if mapping.entity.value == entity
    ]


def _payload(context: Context, mapping: FieldMapping, key: str, as_of: date) -> DesiredRecord:
    wants: dict[str, Any] = {}
    covered, problem = False, ""
    with duckdb.connect() as con:
        try:
            rendered = query.build_query(mapping, context.workspace, con, as_of)
            result = con.execute(f"SELECT * FROM ({rendered.sql}) WHERE key = ?", [key])
            names = [column[0] for column in result.description or ()]
            row = result.fetchone()
        except ConfigurationError as error:
            return DesiredRecord(
                mapping.name, mapping.destination, mapping.object, False, {}, error.message, ()
            )
    if row is not None:
        found = dict(zip(names, row, strict=True))
        covered, problem = True, ValueProblem.from_struct(found["problem"]).cause if found["problem"] else ""
        wants = {each.name: _plain(found[f"f{place}"]) for place, each in enumerate(rendered.fields)}
    statuses = tuple(context.ledger.record_statuses(mapping.name, mapping.object, key))
    return DesiredRecord(mapping.name, mapping.destination, mapping.object, covered, wants, problem, statuses)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value
