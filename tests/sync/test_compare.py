"""The difference: desired x delivered -> changes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.types import FieldType, Found, Kind, Status, Value
from heatsync.sync.compare import candidates, diff
from heatsync.sync.compare.candidates import Candidates, Standings
from heatsync.sync.compare.diff import Changes, apply
from heatsync.sync.compare.identity import Known, Search, recall
from heatsync.sync.compare.relations import Relations
from heatsync.sync.compare.types import Column, Departure, Owners, Scope, Shape
from heatsync.sync.value_problems import SQL_TYPE

COLUMNS = (
    Column("score", FieldType.INTEGER, clear=True),
    Column("plan", FieldType.TEXT, clear=False),
    Column("share", FieldType.NUMBER, clear=True),
    Column("is_new", FieldType.BOOLEAN, clear=True),
    Column("tags", FieldType.LIST, clear=True),
)
SQL_TYPES = ("BIGINT", "VARCHAR", "DOUBLE", "BOOLEAN", "VARCHAR[]")
EVERYTHING = Scope()

Problem = dict[str, str]
Desired = Mapping[str, Sequence[Any]]
"""Our id -> (match value, level, problem, fields...)."""


def desired_sql(con: duckdb.DuckDBPyConnection, rows: Desired) -> str:
    fields = ", ".join(f"f{i} {kind}" for i, kind in enumerate(SQL_TYPES))
    con.execute(
        "CREATE OR REPLACE TABLE wanted"
        f" (key VARCHAR, m0 VARCHAR, via VARCHAR, problem {SQL_TYPE}, level VARCHAR, {fields})"
    )
    for key, (match, level, problem, *values) in rows.items():
        marks = ", ".join("?" * (5 + len(values)))
        con.execute(f"INSERT INTO wanted VALUES ({marks})", [key, match, None, problem, level, *values])
    return "SELECT * FROM wanted"


@dataclass(frozen=True)
class Prepared:
    """A comparison up to what the ledger knows, and the later steps on demand."""

    candidates: Candidates
    known: Known

    def changes(self, create: bool = True, everything: bool = False) -> Changes:
        return diff.compare(self.known.unresolved(), create, everything)


@contextmanager
def compared(
    rows: Desired,
    *,
    standings: Sequence[Sequence[Any]] = (),
    known: Mapping[str, Mapping[str, Value]] | None = None,
    columns: Sequence[Column] = COLUMNS,
    scope: Scope = EVERYTHING,
    clear_on_exit: bool = False,
) -> Iterator[Prepared]:
    with duckdb.connect() as con:
        shape = Shape(tuple(columns), ("email",), "definition", clear_on_exit=clear_on_exit)
        desired = candidates.materialise(Relations(con), shape, desired_sql(con, rows))
        settled = [(s[0], s[1]) for s in standings if s[2] == "settled"]
        unsettled = [(s[0], s[1], s[2], s[4], None, None) for s in standings if s[2] != "settled"]
        found = candidates.select(desired, Standings([settled], [unsettled], 1000.0), scope)
        records = [
            (key, f"r-{key}", None, 1, json.dumps(fields), None) for key, fields in (known or {}).items()
        ]
        yield Prepared(found, recall(found, [records], [[(s[0], s[3]) for s in standings]]))


def row(
    match: str | None, *values: Any, level: str | None = None, problem: Problem | None = None
) -> list[Any]:
    return [match, level, problem, *values]


def writes(prepared: Prepared, create: bool = True, everything: bool = False) -> dict[str, Any]:
    return {found.change.key: found.change for found in prepared.changes(create, everything).writes()}


def digests(rows: Desired) -> dict[str, int]:
    with compared(rows) as prepared:
        return dict(prepared.known.relations.all("SELECT key, digest FROM candidate"))


def test_only_the_fields_that_differ_are_sent_with_the_previous_values() -> None:
    known = {"u1": {"score": 5, "plan": "pro", "share": 1.5, "is_new": True, "tags": ["a"]}}
    with compared({"u1": row("a@x", 7, "pro", 1.5, False, ["a"])}, known=known) as prepared:
        change = writes(prepared)["u1"]
    assert change.fields == {"score": 7, "is_new": False}
    assert change.before == {"score": 5, "is_new": True}
    assert change.remote_id == "r-u1"


def test_a_record_that_is_right_already_is_settled_and_not_sent() -> None:
    known = {"u1": {"score": 5, "plan": None, "share": None, "is_new": None, "tags": ["a", "b"]}}
    with compared({"u1": row("a@x", 5, None, None, None, ["a", "b"])}, known=known) as prepared:
        changes = prepared.changes()
        assert list(changes.writes()) == []
        assert [key for key, *_ in changes.settled()] == ["u1"]


def test_an_empty_value_clears_a_field_with_clear_and_keeps_the_others() -> None:
    known = {"u1": {"score": 5, "plan": "pro", "share": 2.0, "is_new": None, "tags": None}}
    with compared({"u1": row("a@x", None, None, None, None, None)}, known=known) as prepared:
        changes = prepared.changes()
        (write,) = changes.writes()
    assert write.change.fields == {"score": None, "share": None}
    assert changes.counts.cleared == 1


def test_an_unchanged_digest_is_not_even_a_candidate() -> None:
    rows = {"u1": row("a@x", 5, None, None, None, None), "u2": row("b@x", 6, None, None, None, None)}
    standings = [(key, digest, "settled", None, None) for key, digest in digests(rows).items()]
    rows["u2"] = row("b@x", 9, None, None, None, None)
    with compared(rows, standings=standings) as prepared:
        assert [key for keys in prepared.candidates.key_chunks() for key in keys] == ["u2"]


@pytest.mark.parametrize("state", ["rejected", "skipped"])
def test_rejected_and_unmatched_records_wait_until_something_changed_or_the_day_comes(state: str) -> None:
    rows = {"u1": row("a@x", 5, None, None, None, None)}
    digest = digests(rows)["u1"]
    for standing, expected in [
        (("u1", digest, state, None, None), 0),
        (("u1", digest, state, None, 2000.0), 0),
        (("u1", digest, state, None, 900.0), 1),
        (("u1", digest + 1, state, None, None), 1),
    ]:
        with compared(rows, standings=[standing]) as prepared:
            assert prepared.candidates.size == expected


def test_two_of_our_records_with_one_key_are_both_refused_and_name_each_other() -> None:
    rows = {"u1": row("a@x", 1, None, None, None, None), "u2": row("a@x", 2, None, None, None, None)}
    with compared(rows) as prepared:
        refused = {refusal.outcome.key: refusal.outcome for refusal in prepared.candidates.refusals()}
        assert prepared.candidates.counts.refused == 2
    assert {o.code for o in refused.values()} == {"duplicate_key"}
    assert "u2" in refused["u1"].cause
    assert "u1" in refused["u2"].cause


def test_a_record_without_a_key_is_skipped_and_one_with_a_problem_refused() -> None:
    rows = {
        "u1": row(None, 1, None, None, None, None),
        "u2": row(
            "b@x",
            2,
            None,
            None,
            None,
            None,
            problem={"code": "not_a_number", "field": "a|b", "value": "1|2"},
        ),
    }
    with compared(rows) as prepared:
        refused = {refusal.outcome.key: refusal.outcome for refusal in prepared.candidates.refusals()}
        assert (prepared.candidates.size, prepared.known.counts.refused, prepared.known.counts.skipped) == (
            0,
            1,
            1,
        )
    assert {key: (outcome.status, outcome.code) for key, outcome in refused.items()} == {
        "u1": (Status.SKIPPED, "no_key"),
        "u2": (Status.REJECTED, "not_a_number"),
    }
    assert (refused["u2"].field, refused["u2"].answer) == ("a|b", "1|2")


def test_a_move_within_the_tolerance_is_not_worth_a_write_unless_the_level_moved() -> None:
    columns = (Column("score", FieldType.INTEGER, clear=True, tolerance=3.0), *COLUMNS[1:])
    known = {"u1": {"score": 50, "plan": None, "share": None, "is_new": None, "tags": None}}
    standing = [("u1", 1, "settled", "High", None)]
    for value, level, sent in [
        (52, "High", False),
        (53, "High", True),
        (52, "Low", True),
        (None, "High", True),
    ]:
        rows = {"u1": row("a@x", value, None, None, None, None, level=level)}
        with compared(rows, standings=standing, known=known, columns=columns) as prepared:
            assert bool(writes(prepared)) is sent, (value, level)


def test_write_if_empty_never_touches_a_value_that_exists() -> None:
    columns = (COLUMNS[0], Column("plan", FieldType.TEXT, clear=False, if_empty=True), *COLUMNS[2:])
    for present, sent in [("theirs", False), ("", True), (None, True)]:
        known = {"u1": {"score": 1, "plan": present, "share": None, "is_new": None, "tags": None}}
        rows = {"u1": row("a@x", 1, "ours", None, None, None)}
        with compared(rows, known=known, columns=columns) as prepared:
            assert bool(writes(prepared)) is sent, present


def test_all_sends_every_value_changed_or_not() -> None:
    known = {"u1": {"score": 5, "plan": "pro", "share": 1.5, "is_new": True, "tags": ["a"]}}
    scope = Scope(everything=True)
    with compared({"u1": row("a@x", 5, "pro", 1.5, True, ["a"])}, known=known, scope=scope) as prepared:
        change = writes(prepared, everything=True)["u1"]
    assert change.fields == {"score": 5, "plan": "pro", "share": 1.5, "is_new": True, "tags": ("a",)}


def test_a_text_at_the_destination_in_a_field_for_numbers_is_a_difference() -> None:
    known = {"u1": {"score": "many", "plan": None, "share": None, "is_new": None, "tags": None}}
    with compared({"u1": row("a@x", None, None, None, None, None)}, known=known) as prepared:
        assert writes(prepared)["u1"].fields == {"score": None}


@pytest.mark.parametrize("remote", [3.7, 4.4, "4", "4 pieces", True])
def test_a_value_that_only_looks_like_our_number_is_a_difference(remote: Value) -> None:
    known = {"u1": {"score": remote, "plan": None, "share": None, "is_new": None, "tags": None}}
    with compared({"u1": row("a@x", 4, None, None, None, None)}, known=known) as prepared:
        differ = {name for change in writes(prepared).values() for name in change.fields}
    assert differ == ({"score"} if remote != "4" else set())


@pytest.mark.parametrize("remote", ["yes", "1", "t", 1])
def test_a_value_that_only_looks_like_our_yes_is_a_difference(remote: Value) -> None:
    known = {"u1": {"score": None, "plan": None, "share": None, "is_new": remote, "tags": None}}
    with compared({"u1": row("a@x", None, None, None, True, None)}, known=known) as prepared:
        assert writes(prepared)["u1"].fields == {"is_new": True}


@pytest.mark.parametrize("wanted", [(5, "pro", 1.5, True, ["a"]), (None, None, None, None, None)])
def test_a_doubtful_value_is_sent_again_whatever_it_is_to_be(wanted: tuple[Any, ...]) -> None:
    columns = [replace(column, clear=True) for column in COLUMNS]
    doubtful: Any = {c.name: {"doubtful": value} for c, value in zip(COLUMNS, wanted, strict=True)}
    with compared({"u1": row("a@x", *wanted)}, known={"u1": doubtful}, columns=columns) as prepared:
        change = writes(prepared)["u1"]
    assert list(change.fields) == [column.name for column in COLUMNS]
    assert (change.before, change.version) == ({}, 1)
    with compared({"u1": row("a@x", 6, *wanted[1:])}, known={"u1": doubtful}, columns=columns) as prepared:
        assert writes(prepared)["u1"].version == 2, "another message, and no repetition"


def test_a_record_that_left_is_cleared_only_with_on_exit_clear_and_only_in_the_fields_it_has() -> None:
    known = {"gone": {"score": 5, "plan": None, "share": 1.0, "is_new": None, "tags": None}}
    standing = [("gone", 1, "settled", None, None)]
    for clear in (True, False):
        with compared({}, standings=standing, known=known, clear_on_exit=clear) as prepared:
            (left,) = prepared.changes(create=False).departures(readable=True)
        if clear:
            assert not isinstance(left, Departure)
            assert left.change.kind is Kind.LEFT
            assert left.change.fields == {"score": None, "share": None}
        else:
            assert left == Departure("gone")


@pytest.mark.parametrize("scope", [Scope(only="u1"), Scope(limit=1)])
def test_no_record_leaves_because_of_a_scope(scope: Scope) -> None:
    rows = {"u1": row("a@x", 1, None, None, None, None)}
    with compared(rows, standings=[("gone", 1, "settled", None, None)], scope=scope) as prepared:
        assert list(prepared.changes().departures(readable=True)) == []


def test_a_look_up_is_made_only_for_what_is_not_known() -> None:
    rows = {f"u{n}": row(f"{n}@x", n, None, None, None, None) for n in range(3)}
    known = {
        "u0": {"score": 9, "plan": None, "share": None, "is_new": None, "tags": None},
        "u1": {"score": 9},
    }
    with compared(rows, known=known) as prepared:
        asked = {lookup.key: lookup.remote_id for lookups in prepared.known.lookups() for lookup in lookups}
    assert asked == {"u1": "r-u1", "u2": None}


def test_unmatched_and_ambiguous_records_are_distinguished_and_never_sent() -> None:
    rows = {f"u{n}": row(f"{n}@x", n, None, None, None, None) for n in range(3)}
    with compared(rows) as prepared:
        search = Search(prepared.known, create=False)
        search.add(
            [Found("u0", ("7",)), Found("u1", ()), Found("u2", ("8", "9"))],
            [("u0", "7", "0@x", 0, json.dumps({"score": 4}), None)],
        )
        resolved = search.located().assign_owners([]).resolve(created_since=None)
        outcomes = {r.outcome.key: (r.outcome.status, r.outcome.code) for r in resolved.unfound()}
        changes = diff.compare(resolved, create=False)
        assert [write.change.key for write in changes.writes()] == ["u0"]
    assert outcomes == {"u1": (Status.SKIPPED, "unmatched"), "u2": (Status.REJECTED, "ambiguous")}
    counts = changes.counts
    assert (counts.matched, counts.unmatched, counts.ambiguous) == (1, 1, 1)


def test_two_of_ours_that_are_one_remote_record_are_both_refused() -> None:
    rows = {"u0": row("0@x", 1, None, None, None, None), "u1": row("1@x", 1, None, None, None, None)}
    with compared(rows) as prepared:
        search = Search(prepared.known, create=False)
        search.add(
            [Found("u0", ("7",)), Found("u1", ("7",))],
            [("u0", "7", "0@x", 0, "{}", None), ("u1", "7", "1@x", 0, "{}", None)],
        )
        owned = search.located().assign_owners([])
        assert {r.outcome.key: r.outcome.code for r in owned.clashes()} == {
            "u0": "same_record",
            "u1": "same_record",
        }
        assert list(diff.compare(owned.resolve(created_since=None), create=False).writes()) == []
    assert owned.counts.refused == 2


def test_a_record_that_another_of_ours_owns_is_refused() -> None:
    with compared({"u0": row("0@x", 1, None, None, None, None)}) as prepared:
        search = Search(prepared.known, create=False)
        search.add([Found("u0", ("7",))], [("u0", "7", "0@x", 0, "{}", None)])
        owned = search.located().assign_owners([Owners((("7", "other"),), ())])
        (clash,) = owned.clashes()
    assert (clash.outcome.key, clash.outcome.code) == ("u0", "same_record")
    assert "other" in clash.outcome.cause


integers = st.none() | st.integers(-(2**53), 2**53)
texts = st.none() | st.text(
    alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=8
)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=64)
lists = st.none() | st.lists(st.text(alphabet="ab;,\"' é", max_size=3), max_size=3)
records = st.tuples(integers, texts, numbers, st.none() | st.booleans(), lists)


@settings(max_examples=examples(30))
@given(
    want=st.dictionaries(st.sampled_from("abcdef"), records),
    have=st.dictionaries(st.sampled_from("abcdef"), records),
)
def test_diff_then_apply_is_desired(want: dict[str, Any], have: dict[str, Any]) -> None:
    names = [column.name for column in COLUMNS]
    delivered = {key: dict(zip(names, values, strict=True)) for key, values in have.items()}
    rows = {key: row(f"{key}@x", *values) for key, values in want.items()}
    with compared(rows, known=delivered) as prepared:
        changes = prepared.changes()
        sent = {write.change.key: write.change for write in changes.writes()}
        settled = {key for key, *_ in changes.settled()}
    for key, values in want.items():
        desired = dict(zip(names, values, strict=True))
        before = delivered.get(key, {})
        after = apply(before, sent[key]) if key in sent else before
        assert (key in sent) is not (key in settled)
        for column in COLUMNS:
            want_value = (
                tuple(desired[column.name])
                if isinstance(desired[column.name], list)
                else desired[column.name]
            )
            have_value = after.get(column.name)
            have_value = tuple(have_value) if isinstance(have_value, list) else have_value
            if want_value is None and not column.clear:
                assert have_value == (
                    tuple(before[column.name])
                    if isinstance(before.get(column.name), list)
                    else before.get(column.name)
                )
            else:
                assert have_value == want_value
