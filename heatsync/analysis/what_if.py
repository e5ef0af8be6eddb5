"""A changed profile compared with the current one: which entities would change level, and what would be sent.

The changed profile is scored in a temporary folder. The snapshots, the ledger and the destinations stay as they are,
and no destination is contacted.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import duckdb
import numpy as np

from connectors.errors import ConfigurationError
from heatsync.analysis import backtest_labels, backtest_metrics
from heatsync.analysis.auc import Estimate, Resampling
from heatsync.analysis.backtest import (
    BacktestRequest,
    OnProgress,
    load_events,
    snapshot_weeks,
    too_short_reason,
)
from heatsync.scoring.compute.scores import escape_quotes
from heatsync.scoring.definition.profile import Profile
from heatsync.snapshots import run as snapshot_run
from heatsync.snapshots.profile_run import ProfileRun
from heatsync.snapshots.session import open_session
from heatsync.sync.mapping import files as mapping_files
from heatsync.sync.mapping import query as mapping_query
from heatsync.sync.mapping.conversions import quoted as name_quoted
from heatsync.sync.mapping.model import Mapping
from heatsync.workspace.config import Workspace
from heatsync.workspace.strict_yaml import Problems, read, suggest
from heatsync.workspace.validation import validate

MOVERS = 10
ENTITIES = ("user", "account")


@dataclass(frozen=True, slots=True)
class Mover:
    """An entity whose score would change the most."""

    key: str
    before: int | None
    after: int | None
    level_before: str | None
    level_after: str | None


@dataclass(frozen=True, slots=True)
class EntityImpact:
    """What a change does to the users, or to the accounts. `matrix` counts (level before, level after); None is no
    level, or no row. `audiences` are (key, members before, members after). `auc` are before, after and the gain;
    without it `why` says what is missing. `order` is the order of the levels."""

    entity: str
    rows: int
    moved: int
    matrix: tuple[tuple[str | None, str | None, int], ...]
    movers: tuple[Mover, ...]
    audiences: tuple[tuple[str, int, int], ...]
    correlation: float | None
    auc: tuple[Estimate, Estimate, Estimate] | None
    why: str
    order: tuple[str, ...] = ()

    def place(self, level: str | None) -> tuple[int, str]:
        """The position of a level: the lowest first, no level before it."""
        name = level or ""
        return (self.order.index(name) if name in self.order else -1, name)


@dataclass(frozen=True, slots=True)
class MappingImpact:
    """What one mapping would send because of the change: `changed` of the `records` that it would then cover, and how
    many `entered` and `left` its audience."""

    mapping: str
    destination: str
    records: int
    changed: int
    entered: int
    left: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What a changed profile would do: the scores that it moves, and the records that it would send."""

    profile: str
    file: str
    as_of: date
    same: bool
    """Whether both define the same, so that nothing would change."""
    moves: tuple[EntityImpact, ...]
    sent: tuple[MappingImpact, ...]


def what_if(workspace: Workspace, file: Path, as_of: date, progress: OnProgress) -> WhatIf:
    """Compare a changed profile with the current one. Raises ConfigurationError, with every problem of the changed
    file."""
    name, changed = load_changed_profile(workspace, file)
    progress("scoring as it is", 0, 4)
    if not all(workspace.snapshot_path(name, entity, as_of).is_file() for entity in ENTITIES):
        snapshot_run.score(workspace, [as_of])
    with _beside(workspace, name, changed) as other:
        progress("scoring with the change", 1, 4)
        snapshot_run.score(other, [as_of])
        with duckdb.connect() as con:
            progress("comparing", 2, 4)
            compared = {
                entity: compare_snapshots(con, workspace, other, name, entity, as_of) for entity in ENTITIES
            }
            sent = tuple(
                mapping_impact(con, each, workspace, other, as_of)
                for each in mapping_files.load(workspace).values()
                if uses_profile(each, name)
            )
    progress("looking back", 3, 4)
    aucs = _aucs(workspace, name, changed, as_of)
    order = tuple(dict.fromkeys((*workspace.profiles[name].levels.names, *changed.levels.names)))
    moves = tuple(
        replace(compared[entity], auc=aucs[entity][0], why=aucs[entity][1], order=order)
        for entity in ENTITIES
        if compared[entity].rows
    )
    progress("looking back", 4, 4)
    same = changed.version == workspace.profiles[name].version
    return WhatIf(name, str(file), as_of, same, moves, sent)


def load_changed_profile(workspace: Workspace, file: Path) -> tuple[str, Profile]:
    """The changed profile, and the name of the current one: the file's name, or the profile with the same `name:`."""
    if not file.is_file():
        raise ConfigurationError(f"There is no file {file}: pass the file of the changed profile.")
    problems = Problems()
    document = read(file, str(file), problems)
    changed = validate(document, Profile, problems) if document is not None else None
    problems.raise_if_any()
    assert changed is not None
    if file.stem in workspace.profiles:
        return file.stem, changed
    alike = [name for name, profile in workspace.profiles.items() if profile.name == changed.name]
    if len(alike) != 1:
        raise ConfigurationError(
            f"{file}: there is no profile `{file.stem}` to compare it with"
            f"{suggest(file.stem, workspace.profiles)} Give the changed file the file name of the current profile, or"
            f" its `name:`."
        )
    return alike[0], changed


@contextmanager
def _beside(workspace: Workspace, name: str, changed: Profile) -> Iterator[Workspace]:
    """The workspace with only the changed profile, and a state folder of its own."""
    parent = workspace.state / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    state = Path(tempfile.mkdtemp(prefix="whatif-", dir=parent))
    try:
        yield replace(workspace, state=state, profiles={name: changed})
    finally:
        shutil.rmtree(state, ignore_errors=True)


def compare_snapshots(
    con: duckdb.DuckDBPyConnection, now: Workspace, then: Workspace, name: str, entity: str, as_of: date
) -> EntityImpact:
    """The differences between two snapshots of a day."""
    for table, workspace in (("before", now), ("after", then)):
        path = escape_quotes(str(workspace.snapshot_path(name, entity, as_of)))
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {entity}_id AS key, score, score_exact, level, audiences"
            f" FROM read_parquet('{path}')"
        )
    con.execute(
        "CREATE OR REPLACE TEMP TABLE beside AS SELECT coalesce(a.key, b.key) AS key, b.score AS score_before,"
        " a.score AS score_after, b.level AS level_before, a.level AS level_after, b.score_exact AS exact_before,"
        " a.score_exact AS exact_after FROM after a FULL JOIN before b ON a.key = b.key"
    )
    rows, moved = _one(
        con, "SELECT count(*), count(*) FILTER (level_before IS DISTINCT FROM level_after) FROM beside"
    )
    both = con.execute(
        "SELECT exact_before::DOUBLE AS one, exact_after::DOUBLE AS other FROM beside"
        " WHERE exact_before IS NOT NULL AND exact_after IS NOT NULL AND (exact_before > 0 OR exact_after > 0)"
    ).fetchnumpy()
    matrix = con.execute(
        "SELECT level_before, level_after, count(*) FROM beside GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    movers = con.execute(
        "SELECT key, score_before, score_after, level_before, level_after FROM beside"
        " WHERE score_before IS DISTINCT FROM score_after"
        f" ORDER BY abs(coalesce(score_after, 0) - coalesce(score_before, 0)) DESC, key LIMIT {MOVERS}"
    ).fetchall()
    audiences = con.execute(
        "SELECT key, sum(before)::BIGINT, sum(after)::BIGINT FROM ("
        " SELECT unnest(audiences) AS key, 1 AS before, 0 AS after FROM before"
        " UNION ALL SELECT unnest(audiences), 0, 1 FROM after) GROUP BY key ORDER BY key"
    ).fetchall()
    return EntityImpact(
        entity=entity,
        rows=rows,
        moved=moved,
        matrix=tuple((row[0], row[1], int(row[2])) for row in matrix),
        movers=tuple(Mover(*row) for row in movers),
        audiences=tuple((str(row[0]), int(row[1]), int(row[2])) for row in audiences),
        correlation=backtest_metrics.rank_correlation(
            np.asarray(np.ma.getdata(both["one"])), np.asarray(np.ma.getdata(both["other"]))
        ),
        auc=None,
        why="",
    )


def uses_profile(mapping: Mapping, name: str) -> bool:
    """Whether a mapping uses a profile."""
    profiles = (reference.profile for field in mapping.fields for reference in field.references)
    return mapping.profile == name or name in profiles


def mapping_impact(
    con: duckdb.DuckDBPyConnection, mapping: Mapping, now: Workspace, then: Workspace, as_of: date
) -> MappingImpact:
    """The records whose values differ between the two, as the mapping would write them."""
    for other in {mapping.profile, *(r.profile for field in mapping.fields for r in field.references)} - {""}:
        _borrow(now, then, other, as_of)
    try:
        for table, workspace in (("had", now), ("has", then)):
            rendered = mapping_query.build_query(mapping, workspace, con, as_of)
            con.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {rendered.sql}")
    except ConfigurationError as error:
        return MappingImpact(mapping.name, mapping.destination, 0, 0, 0, 0, why=error.message)
    fields = [f"f{position}" for position in range(len(mapping.fields))]
    differ = " OR ".join(f"h.{name_quoted(each)} IS DISTINCT FROM s.{name_quoted(each)}" for each in fields)
    records, changed, entered, left = _one(
        con,
        f"SELECT count(s.key), count(*) FILTER (h.key IS NOT NULL AND s.key IS NOT NULL AND ({differ})),"
        " count(*) FILTER (h.key IS NULL), count(*) FILTER (s.key IS NULL) FROM has s FULL JOIN had h ON s.key = h.key",
    )
    return MappingImpact(mapping.name, mapping.destination, records, changed, entered, left)


def _borrow(now: Workspace, then: Workspace, profile: str, as_of: date) -> None:
    """Link the snapshots of a profile that the change does not affect."""
    for entity in ENTITIES:
        source, target = now.snapshot_path(profile, entity, as_of), then.snapshot_path(profile, entity, as_of)
        if source.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)


def _aucs(
    workspace: Workspace, name: str, changed: Profile, until: date
) -> dict[str, tuple[tuple[Estimate, Estimate, Estimate] | None, str]]:
    """Per entity, the AUC before, after, and the gain, on the same rows (those of the current profile); or None and
    the reason."""
    profile = workspace.profiles[name]
    question = BacktestRequest(name, until)
    found: dict[str, tuple[tuple[Estimate, Estimate, Estimate] | None, str]] = {}
    with open_session(workspace, until) as session:
        for entity in ENTITIES:
            past = load_events(session, profile, entity, question.horizon)
            days = snapshot_weeks(past, profile, question.horizon)
            if past is None or not days:
                found[entity] = None, too_short_reason(past, profile, question.horizon)
                continue
            con = session.connection
            labelled = backtest_labels.label_churn(
                con,
                past.seen,
                days,
                profile.window,
                question.horizon,
                backtest_labels.sampling_rate(con, past.seen, len(days)),
            )
            scored = ProfileRun.of(session, name).score_days(days)[entity]
            backtest_labels.apply_filter(con, profile, labelled, scored)
            before = backtest_labels.read_sample(con, profile, entity, labelled, scored.scores)
            why = backtest_metrics.too_few_reason(
                int(before.churned.sum()), len(before), entity, question.horizon
            )
            if why:
                found[entity] = None, why
                continue
            scored = ProfileRun.of(session, name, changed).score_days(days)[entity]
            after = backtest_labels.read_sample(con, changed, entity, labelled, scored.scores)
            resampling, gone = Resampling(before.entities), before.churned
            found[entity] = (
                (
                    resampling.auc(gone, before.points),
                    resampling.auc(gone, after.points),
                    resampling.difference(gone, after.points, before.points),
                ),
                "",
            )
    return found


def _one(con: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    found = con.execute(query).fetchone()
    assert found is not None
    return found
