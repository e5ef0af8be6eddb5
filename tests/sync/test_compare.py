"""The difference: desired x delivered -> changes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.types import FieldType, Found, Kind, Status, Value
from heatsync.sync.compare.diff import Comparison, apply
from heatsync.sync.compare.types import Column, Scope, Shape
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


def compared(
    rows: Desired,
    *,
    standings: Sequence[Sequence[Any]] = (),
    known: Mapping[str, Mapping[str, Value]] | None = None,
    columns: Sequence[Column] = COLUMNS,
    scope: Scope = EVERYTHING,
    create: bool = True,
    clear_on_exit: bool = False,
) -> tuple[Comparison, duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    diff = Comparison(con, Shape(tuple(columns), ("email",), "meaning", clear_on_exit=clear_on_exit))
    diff.desire(desired_sql(con, rows))
    settled = [(s[0], s[1]) for s in standings if s[2] == "settled"]
    unsettled = [(s[0], s[1], s[2], s[4], None, None) for s in standings if s[2] != "settled"]
    diff.stand([settled], [unsettled], 1000.0, scope)
    diff.know_levels([[(s[0], s[3]) for s in standings]])
    records = [(key, f"r-{key}", None, 1, json.dumps(fields), None) for key, fields in (known or {}).items()]
    diff.know([records])
    return diff, con


def row(
    match: str | None, *values: Any, level: str | None = None, problem: Problem | None = None
) -> list[Any]:
    return [match, level, problem, *values]


def changes(diff: Comparison, create: bool = True, everything: bool = False) -> dict[str, Any]:
    diff.compare(create, everything)
    return {found.change.key: found.change for found in diff.changes()}


def test_only_the_fields_that_differ_are_sent_with_the_values_before() -> None:
    here = {"u1": {"score": 5, "plan": "pro", "share": 1.5, "is_new": True, "tags": ["a"]}}
    diff, con = compared({"u1": row("a@x", 7, "pro", 1.5, False, ["a"])}, known=here)
    change = changes(diff)["u1"]
    con.close()
    assert change.fields == {"score": 7, "is_new": False}
    assert change.before == {"score": 5, "is_new": True}
    assert change.remote_id == "r-u1"


def test_what_is_right_already_is_settled_and_not_sent() -> None:
    here = {"u1": {"score": 5, "plan": None, "share": None, "is_new": None, "tags": ["a", "b"]}}
    diff, con = compared({"u1": row("a@x", 5, None, None, None, ["a", "b"])}, known=here)
    assert changes(diff) == {}
    assert [key for key, *_ in diff.settled()] == ["u1"]
    con.close()


def test_nothing_clears_our_traits_and_keeps_theirs() -> None:
    here = {"u1": {"score": 5, "plan": "pro", "share": 2.0, "is_new": None, "tags": None}}
    diff, con = compared({"u1": row("a@x", None, None, None, None, None)}, known=here)
    assert changes(diff)["u1"].fields == {"score": None, "share": None}
    assert diff.counts.cleared == 1
    con.close()


def test_an_unchanged_digest_is_not_even_a_candidate() -> None:
    rows = {"u1": row("a@x", 5, None, None, None, None), "u2": row("b@x", 6, None, None, None, None)}
    diff, con = compared(rows)
    digests = dict(con.execute("SELECT key, digest FROM candidate").fetchall())
    con.close()
    rows["u2"] = row("b@x", 9, None, None, None, None)
    standings = [(key, digest, "settled", None, None) for key, digest in digests.items()]
    diff, con = compared(rows, standings=standings)
    assert [key for keys in diff.candidate_keys() for key in keys] == ["u2"]
    con.close()


@pytest.mark.parametrize("state", ["rejected", "skipped"])
def test_rejected_and_unmatched_records_rest_until_something_changed_or_the_day_comes(state: str) -> None:
    rows = {"u1": row("a@x", 5, None, None, None, None)}
    diff, con = compared(rows)
    (digest,) = con.execute("SELECT digest FROM candidate").fetchone() or (None,)
    con.close()
    for standing, expected in [
        (("u1", digest, state, None, None), 0),
        (("u1", digest, state, None, 2000.0), 0),
        (("u1", digest, state, None, 900.0), 1),
        (("u1", digest + 1, state, None, None), 1),
    ]:
        diff, con = compared(rows, standings=[standing])
        assert diff.candidates() == expected
        con.close()


def test_two_of_our_records_with_one_key_are_both_refused_and_name_each_other() -> None:
    rows = {"u1": row("a@x", 1, None, None, None, None), "u2": row("a@x", 2, None, None, None, None)}
    diff, con = compared(rows)
    refused = {outcome.key: outcome for outcome, _ in diff.refused()}
    con.close()
    assert {o.code for o in refused.values()} == {"duplicate_key"}
    assert "u2" in refused["u1"].cause
    assert "u1" in refused["u2"].cause


def test_a_record_without_a_key_is_skipped_and_one_with_a_problem_refused() -> None:
    rows = {
        "u1": row(None, 1, None, None, None, None),
        "u2": row(
            "b@x", 2, None, None, None, None, problem={"code": "not_a_number", "field": "a|b", "value": "1|2"}
        ),
    }
    diff, con = compared(rows)
    refused = {outcome.key: outcome for outcome, _ in diff.refused()}
    assert {key: (outcome.status, outcome.code) for key, outcome in refused.items()} == {
        "u1": (Status.SKIPPED, "no_key"),
        "u2": (Status.REJECTED, "not_a_number"),
    }
    assert (refused["u2"].field, refused["u2"].answer) == ("a|b", "1|2")
    assert diff.candidates() == 0
    con.close()


def test_a_move_within_the_tolerance_is_not_worth_a_write_unless_the_level_moved() -> None:
    columns = (Column("score", FieldType.INTEGER, clear=True, tolerance=3.0), *COLUMNS[1:])
    here = {"u1": {"score": 50, "plan": None, "share": None, "is_new": None, "tags": None}}
    standing = [("u1", 1, "settled", "High", None)]
    for value, level, sent in [
        (52, "High", False),
        (53, "High", True),
        (52, "Low", True),
        (None, "High", True),
    ]:
        rows = {"u1": row("a@x", value, None, None, None, None, level=level)}
        diff, con = compared(rows, standings=standing, known=here, columns=columns)
        assert bool(changes(diff)) is sent, (value, level)
        con.close()


def test_write_if_empty_never_touches_what_somebody_wrote() -> None:
    columns = (COLUMNS[0], Column("plan", FieldType.TEXT, clear=False, if_empty=True), *COLUMNS[2:])
    for present, sent in [("theirs", False), ("", True), (None, True)]:
        here = {"u1": {"score": 1, "plan": present, "share": None, "is_new": None, "tags": None}}
        diff, con = compared({"u1": row("a@x", 1, "ours", None, None, None)}, known=here, columns=columns)
        assert bool(changes(diff)) is sent, present
        con.close()


def test_all_sends_every_value_changed_or_not() -> None:
    here = {"u1": {"score": 5, "plan": "pro", "share": 1.5, "is_new": True, "tags": ["a"]}}
    scope = Scope(everything=True)
    diff, con = compared({"u1": row("a@x", 5, "pro", 1.5, True, ["a"])}, known=here, scope=scope)
    assert changes(diff, everything=True)["u1"].fields == {
        "score": 5,
        "plan": "pro",
        "share": 1.5,
        "is_new": True,
        "tags": ("a",),
    }
    con.close()


def test_text_over_there_in_a_field_for_numbers_is_a_difference() -> None:
    here = {"u1": {"score": "many", "plan": None, "share": None, "is_new": None, "tags": None}}
    diff, con = compared({"u1": row("a@x", None, None, None, None, None)}, known=here)
    assert changes(diff)["u1"].fields == {"score": None}
    con.close()


@pytest.mark.parametrize("there", [3.7, 4.4, "4", "4 pieces", True])
def test_what_only_looks_like_our_number_is_a_difference(there: Value) -> None:
    here = {"u1": {"score": there, "plan": None, "share": None, "is_new": None, "tags": None}}
    diff, con = compared({"u1": row("a@x", 4, None, None, None, None)}, known=here)
    differ = {name for change in changes(diff).values() for name in change.fields}
    assert differ == ({"score"} if there != "4" else set())
    con.close()


@pytest.mark.parametrize("there", ["yes", "1", "t", 1])
def test_what_only_looks_like_our_yes_is_a_difference(there: Value) -> None:
    here = {"u1": {"score": None, "plan": None, "share": None, "is_new": there, "tags": None}}
    diff, con = compared({"u1": row("a@x", None, None, None, True, None)}, known=here)
    assert changes(diff)["u1"].fields == {"is_new": True}
    con.close()


@pytest.mark.parametrize("wanted", [(5, "pro", 1.5, True, ["a"]), (None, None, None, None, None)])
def test_a_doubtful_value_is_sent_again_whatever_it_is_to_be(wanted: tuple[Any, ...]) -> None:
    columns = [replace(column, clear=True) for column in COLUMNS]
    doubtful: Any = {c.name: {"doubtful": value} for c, value in zip(COLUMNS, wanted, strict=True)}
    diff, con = compared({"u1": row("a@x", *wanted)}, known={"u1": doubtful}, columns=columns)
    change = changes(diff)["u1"]
    assert list(change.fields) == [column.name for column in COLUMNS]
    assert (change.before, change.version) == ({}, 1)
    diff, con = compared({"u1": row("a@x", 6, *wanted[1:])}, known={"u1": doubtful}, columns=columns)
    assert changes(diff)["u1"].version == 2, "another message, and no repetition"
    con.close()


def test_who_leaves_is_cleared_only_where_the_mapping_says_so_and_only_in_what_we_hold() -> None:
    here = {"gone": {"score": 5, "plan": None, "share": 1.0, "is_new": None, "tags": None}}
    standing = [("gone", 1, "settled", None, None)]
    for clear in (True, False):
        diff, con = compared({}, standings=standing, known=here, clear_on_exit=clear)
        diff.compare(create=False)
        (left,) = diff.leavers(readable=True)
        con.close()
        if clear:
            assert not isinstance(left, str)
            assert left.change.kind is Kind.LEFT
            assert left.change.fields == {"score": None, "share": None}
        else:
            assert left == "gone"


@pytest.mark.parametrize("scope", [Scope(only="u1"), Scope(limit=1)])
def test_a_scope_makes_nobody_leave(scope: Scope) -> None:
    diff, con = compared(
        {"u1": row("a@x", 1, None, None, None, None)},
        standings=[("gone", 1, "settled", None, None)],
        scope=scope,
    )
    diff.compare(create=True)
    assert list(diff.leavers(readable=True)) == []
    con.close()


def test_a_look_up_is_made_only_for_what_is_not_known() -> None:
    rows = {f"u{n}": row(f"{n}@x", n, None, None, None, None) for n in range(3)}
    here = {
        "u0": {"score": 9, "plan": None, "share": None, "is_new": None, "tags": None},
        "u1": {"score": 9},
    }
    diff, con = compared(rows, known=here)
    asked = {lookup.key: lookup.remote_id for lookups in diff.lookups() for lookup in lookups}
    assert asked == {"u1": "r-u1", "u2": None}
    con.close()


def test_unmatched_and_ambiguous_records_are_told_apart_and_never_sent() -> None:
    rows = {f"u{n}": row(f"{n}@x", n, None, None, None, None) for n in range(3)}
    diff, con = compared(rows)
    found = diff.found([Found("u0", ("7",)), Found("u1", ()), Found("u2", ("8", "9"))], create=False)
    diff.learn([("u0", "7", "0@x", 0, json.dumps({"score": 4}), None)])
    outcomes = {outcome.key: (outcome.status, outcome.code) for outcome, _ in diff.unfound(create=False)}
    assert [answer.key for answer in found] == ["u0"]
    assert outcomes == {"u1": (Status.SKIPPED, "unmatched"), "u2": (Status.REJECTED, "ambiguous")}
    assert list(changes(diff, create=False)) == ["u0"]
    con.close()


def test_two_of_ours_that_are_one_record_over_there_are_both_refused() -> None:
    rows = {"u0": row("0@x", 1, None, None, None, None), "u1": row("1@x", 1, None, None, None, None)}
    diff, con = compared(rows)
    diff.found([Found("u0", ("7",)), Found("u1", ("7",))], create=False)
    diff.learn([("u0", "7", "0@x", 0, "{}", None), ("u1", "7", "1@x", 0, "{}", None)])
    assert {outcome.key: outcome.code for outcome, _ in diff.shared()} == {
        "u0": "same_record",
        "u1": "same_record",
    }
    assert changes(diff, create=False) == {}
    con.close()


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
    diff, con = compared({key: row(f"{key}@x", *values) for key, values in want.items()}, known=delivered)
    sent = changes(diff)
    settled = {key for key, *_ in diff.settled()}
    con.close()
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
