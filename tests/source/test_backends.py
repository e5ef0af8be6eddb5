"""The queries to other engines are SQL of theirs that only reads. They are compiled here, and not run."""

from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from heatsync.scoring.compute import calendar, source_counts
from heatsync.scoring.compute.compiled_profile import CompiledProfile
from heatsync.scoring.compute.event_counts import EventCount
from heatsync.scoring.definition.comparisons import Comparison
from heatsync.scoring.definition.condition_types import Duration
from heatsync.scoring.definition.profile import Profile
from heatsync.source import reader
from heatsync.source.backends import UNSUPPORTED
from heatsync.source.reader import Source
from heatsync.workspace.config import Workspace, load_partial

DIALECTS = {
    "snowflake": "snowflake",
    "bigquery": "bigquery",
    "databricks": "databricks",
    "pyspark": "spark",
    "trino": "trino",
    "clickhouse": "clickhouse",
    "postgres": "postgres",
}
"""The names of dialects in sqlglot, by Ibis backend."""
SINCE, UNTIL = datetime(2026, 8, 1), datetime(2026, 11, 22, 22)
"""Berlin changes its clocks in between."""
COLUMNS = {
    "events": {
        "user_id": "string",
        "account_id": "int64",
        "event": "string",
        "event_id": "string",
        "value": "string",
        "properties": "string",
    },
    "users": {
        "user_id": "string",
        "account_id": "int64",
        "email": "string",
        "created_at": "string",
        "rate": "decimal(9, 2)",
    },
    "accounts": {"account_id": "int64", "name": "string", "created_at": "date"},
}
STAMPS = {"with a zone": dt.Timestamp("UTC", 6), "without": dt.Timestamp(scale=6), "as text": dt.string}


class Elsewhere:
    """An engine that has these tables and runs no query."""

    def __init__(self, name: str, stamp: dt.DataType) -> None:
        self.name = name
        self.stamp = stamp

    def table(self, name: str, database: str | None = None) -> ibis.Table:
        assert database is None
        more = {"timestamp": self.stamp} if name == "events" else {}
        return ibis.table({**COLUMNS[name], **more}, name=name)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "mappings/profiles").mkdir(parents=True)
    (tmp_path / "mappings/profiles/p.yml").write_text(
        "version: 1\nname: P\nevents: [{event: Viewed, weight: 5}]\n"
    )
    tables = "".join(f"  {name}: {{table: {name}}}\n" for name in COLUMNS)
    (tmp_path / "heatsync.yml").write_text(
        f"version: 1\ntime_zone: Europe/Berlin\nsource:\n  engine: trino://reader@db/shop\n{tables}"
    )
    reading = load_partial(tmp_path, vendors={})
    reading.problems.raise_if_any()
    assert reading.workspace is not None
    return reading.workspace


def plan(model: str) -> CompiledProfile:
    where = {"page.type": {"eq": 'it\'s "new"'}, "amount": {"between": ["1", "2"]}, "ok": {"neq": "true"}}
    if model == "kpi":
        touchpoints = [
            {"name": "Pages", "event": ["Viewed", "Seen"], "where": where, "weight": "60"},
            {"name": "Rate", "ratio": {"of": {"event": "Paid"}, "to": {"event": "Viewed"}}, "weight": "40"},
        ]
        return CompiledProfile(
            Profile.model_validate({"version": "1", "name": "P", "model": "kpi", "touchpoints": touchpoints})
        )
    events = [{"event": "Viewed", "weight": "5"}, {"event": "Paid", "weight": "0", "passive": "true"}]
    activation = {"user": [{"event": "Paid", "count": {"gte": "2"}}]}
    return CompiledProfile(
        Profile.model_validate(
            {"version": "1", "name": "P", "model": model, "events": events, "activation": activation}
        ),
        (None, ("Viewed",)),
    )


@pytest.fixture(autouse=True)
def spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ibis reads this setting of Spark's from a package that is not installed here."""
    options = SimpleNamespace(pyspark=SimpleNamespace(treat_nan_as_null=False))
    monkeypatch.setattr("ibis.backends.sql.compilers.pyspark.options", options)


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The queries that opening tables runs."""
    found: list[Any] = []

    def aggregate(self: Source, table: Any, there: ibis.Table, **some: Any) -> dict[str, Any]:
        _ = self, table
        found.append(there.aggregate(**some))
        return {each: SINCE if each == "first" else 2 * (each in ("rows", "with_id")) for each in some}

    monkeypatch.setattr(Source, "aggregate", aggregate)
    monkeypatch.setattr(reader, "refuse_duplicates", lambda *_: None)
    return found


def compiles(question: Any, name: str) -> None:
    statements = sqlglot.parse(str(ibis.to_sql(question, dialect=name)), read=DIALECTS[name])
    assert len(statements) == 1
    assert isinstance(statements[0], exp.Query), type(statements[0])
    assert not list(statements[0].find_all(exp.Insert, exp.Create, exp.Into, exp.Command))


@pytest.mark.parametrize("stamp", STAMPS)
@pytest.mark.parametrize("name", DIALECTS)
def test_opening_tables_and_counting_days_are_one_query_each_that_only_reads(
    name: str, stamp: str, workspace: Workspace, questions: list[Any]
) -> None:
    opened = Source(Elsewhere(name, STAMPS[stamp]), workspace)  # type: ignore[arg-type]
    for entity in ("user", "account"):
        questions.append(reader.read_entities(opened, entity, getattr(workspace.source, f"{entity}s")))
    events, _ = opened.events(SINCE, UNTIL)
    questions += [
        source_counts.daily_counts(events, bounds(workspace), False),
        source_counts.last_accounts(events),
    ]
    assert len(questions) > 5
    for question in questions:
        compiles(question, name)


@pytest.mark.parametrize("name", DIALECTS)
def test_lifetime_counts_are_one_query_that_only_reads(
    name: str, workspace: Workspace, questions: list[Any]
) -> None:
    opened = Source(Elsewhere(name, STAMPS["with a zone"]), workspace)  # type: ignore[arg-type]
    events, _ = opened.events(None, UNTIL)
    compiles(source_counts.lifetime_counts(plan("weighted"), events, False), name)
    measure = EventCount(("Viewed",), (), Duration(36, "h"), None)
    compiles(
        source_counts.interval_counts([(measure, SINCE, UNTIL), (measure, None, UNTIL)], events, False), name
    )
    assert questions


@pytest.mark.parametrize("name", DIALECTS)
def test_properties_are_one_query_that_only_reads_or_unsupported(
    name: str, workspace: Workspace, questions: list[Any]
) -> None:
    opened = Source(Elsewhere(name, STAMPS["with a zone"]), workspace)  # type: ignore[arg-type]
    events, _ = opened.events(SINCE, UNTIL)
    drawn = plan("kpi")
    like = EventCount(("Viewed",), (("page", Comparison("contains", "x%")),), Duration(36, "h"), None)
    asked = [
        source_counts.lifetime_counts(drawn, events, False),
        *(
            source_counts.item_counts(each, events, bounds(workspace), False)
            for each in drawn.items
            if each.where
        ),
        source_counts.interval_counts([(like, SINCE, UNTIL)], events, False),
    ]
    assert questions
    for question in asked:
        if name == "clickhouse":
            # Ibis cannot look into a document there, and says so.
            with pytest.raises(UNSUPPORTED):
                ibis.to_sql(question, dialect=name)
        else:
            compiles(question, name)


def bounds(workspace: Workspace) -> pa.Table:
    return calendar.day_bounds(date(2026, 8, 1), date(2026, 11, 22), workspace.time_zone)
