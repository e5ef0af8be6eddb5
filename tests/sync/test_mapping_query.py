import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from examples import examples
from file_workspaces import DAY, HEATSYNC, MAPPING, opened, refusal, rendered, snapshot, traits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.types import FieldType
from heatsync.scoring.compute import calendar
from heatsync.sync.mapping import files as mapping_files
from heatsync.sync.mapping import query
from heatsync.sync.value_problems import ValueProblem
from heatsync.workspace.config import Workspace

SEGMENT_USERS = "version: 1\ndestination: segment\nobject: users\nprofile: health\n"
SEGMENT_ACCOUNTS = "version: 1\ndestination: segment\nobject: accounts\nprofile: health\n"
relaxed = settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])

Problem = tuple[str, str, str]
"""Code, field and value."""


def users(
    folder: Path, fields: str, columns: dict[str, pa.Array], head: str = MAPPING, heatsync: str = HEATSYNC
) -> tuple[dict[str, FieldType], dict[str, list[Any]], list[Problem | None]]:
    """Types and values by field, and the problems, of users u0, u1, .. with a table of these columns."""
    count = len(next(iter(columns.values())))
    keys = [f"u{number}" for number in range(count)]
    of = opened(
        folder,
        {
            "mappings/m.yml": f"{head}match: {{email: user_id}}\nfields: {{{fields}}}\n".replace(
                "email: user_id", "userId: user_id" if head is SEGMENT_USERS else "email: user_id"
            )
        },
        heatsync,
    )
    snapshot(of, "user", [{"user_id": key} for key in keys])
    traits(of, "user", pa.table({"user_id": pa.array(keys, pa.string()), **columns}))
    built, rows = rendered(of)
    types = {field.name: field.type for field in built.fields}
    return (
        types,
        {name: [rows[key][name] for key in keys] for name in types},
        [tuple(problem.values()) if (problem := rows[key]["problem"]) else None for key in keys],
    )


def one(
    folder: Path, field: str, column: pa.Array, **more: Any
) -> tuple[FieldType, list[Any], list[Problem | None]]:
    types, values, problems = users(folder, f"f: {field}", {"x": column}, **more)
    return types["f"], values["f"], problems


TEXTS = [
    'O\'Brien, "Ada"\n🔥',
    "a,b;c",
    " spaces ",
    "NULL",
    "null",
    "None",
    "{{ x }}",
    "'; DROP TABLE x; --",
    "é\tß",
    "0",
    "\\n",
]


def test_text_passes_through_unchanged(tmp_path: Path) -> None:
    kind, values, problems = one(tmp_path, "user.x", pa.array(TEXTS))
    assert kind is FieldType.TEXT
    assert values == TEXTS
    assert set(problems) == {None}


@relaxed
@given(
    st.lists(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.none(), min_size=1, max_size=8
    )
)
def test_any_text_stays_the_same_and_an_empty_text_is_no_value(
    tmp_path: Path, texts: list[str | None]
) -> None:
    _, values, problems = one(tmp_path, "user.x", pa.array(texts, pa.string()))
    assert values == [text or None for text in texts]
    assert set(problems) == {None}


@relaxed
@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20))
def test_a_text_in_sql_stays_the_same(tmp_path: Path, text: str) -> None:
    quoted = text.replace("'", "''")
    written = f"\n  f:\n    sql: |-\n      concat('{quoted}', user.x)\n"
    of = opened(tmp_path, {"mappings/m.yml": f"{MAPPING}fields:{written}".replace("email", "email")})
    snapshot(of, "user", [{"user_id": "u0"}])
    traits(of, "user", pa.table({"user_id": ["u0"], "email": ["a@b.c"], "x": ["!"]}))
    _, rows = rendered(of)
    assert rows["u0"]["f"] == text + "!"


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        (pa.array([2**53 + 1, -(2**63), None]), FieldType.INTEGER, [2**53 + 1, -(2**63), None]),
        (pa.array([1, 255], pa.uint8()), FieldType.INTEGER, [1, 255]),
        (
            pa.array([Decimal("12345678901234567"), None], pa.decimal128(20, 0)),
            FieldType.INTEGER,
            [12345678901234567, None],
        ),
        (pa.array([Decimal("1.25"), Decimal("3.00")], pa.decimal128(10, 2)), FieldType.NUMBER, [1.25, 3.0]),
        (pa.array([1.5, 2.0, None]), FieldType.NUMBER, [1.5, 2.0, None]),
        (pa.array([0.1, 66.67], pa.float32()), FieldType.NUMBER, [0.1, 66.67]),
        (pa.array([True, False, None]), FieldType.BOOLEAN, [True, False, None]),
        (pa.array([date(2026, 1, 31), None]), FieldType.DATE, ["2026-01-31", None]),
        (pa.array(["9007199254740993", "00042"]), FieldType.TEXT, ["9007199254740993", "00042"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), FieldType.TEXT, ["a", "b", "a"]),
        (pa.array([["b", "a"], [], None], pa.list_(pa.string())), FieldType.TEXT, ["b;a", None, None]),
        (pa.array([[1, 2]], pa.list_(pa.int64())), FieldType.TEXT, ["1;2"]),
        (pa.array([None, None], pa.null()), FieldType.INTEGER, [None, None]),
        (
            pa.array([datetime(2026, 3, 29, 1, 30, 59, 999_999), None], pa.timestamp("us")),
            FieldType.DATETIME,
            ["2026-03-29T01:30:59Z", None],
        ),
        (
            pa.array([datetime(2026, 3, 29, 1, 30, tzinfo=UTC)], pa.timestamp("ms", "America/New_York")),
            FieldType.DATETIME,
            ["2026-03-29T01:30:00Z"],
        ),
        (pa.array([datetime(2026, 1, 1)], pa.timestamp("ns")), FieldType.DATETIME, ["2026-01-01T00:00:00Z"]),
    ],
)
def test_a_column_keeps_its_type_and_its_digits(
    tmp_path: Path, column: pa.Array, kind: FieldType, expected: list[Any]
) -> None:
    found, values, problems = one(tmp_path, "user.x", column)
    assert found is kind
    assert values == expected
    assert [type(value) for value in values] == [type(value) for value in expected]
    assert set(problems) == {None}


@pytest.mark.parametrize(
    ("wanted", "column", "expected"),
    [
        ("text", pa.array([5, -3]), ["5", "-3"]),
        ("text", pa.array([12.0, 2.5, 1e16, -0.0]), ["12", "2.5", "1e+16", "0"]),
        ("text", pa.array([2**53 + 1]), ["9007199254740993"]),
        ("text", pa.array([Decimal(2**70)], pa.decimal128(38, 0)), [str(2**70)]),
        ("text", pa.array([True]), ["true"]),
        ("text", pa.array([date(2026, 1, 31)]), ["2026-01-31"]),
        ("text", pa.array([["a", "b"]]), ["a;b"]),
        ("integer", pa.array(["42", " 7 ", "-9007199254740993"]), [42, 7, -9007199254740993]),
        ("integer", pa.array([66.5, 66.49, -0.5]), [67, 66, 0]),
        ("integer", pa.array([True, False]), [1, 0]),
        ("number", pa.array(["2.5", "1e3", "", None]), [2.5, 1000.0, None, None]),
        ("number", pa.array([3]), [3.0]),
        ("boolean", pa.array(["Yes", "FALSE", "1", "n", ""]), [True, False, True, False, None]),
        ("boolean", pa.array([1, 0]), [True, False]),
        ("boolean", pa.array([1.0, 0.0]), [True, False]),
        ("date", pa.array(["2026-01-31", " 2026-02-01 "]), ["2026-01-31", "2026-02-01"]),
        ("date", pa.array(["2026-06-30T22:30:00Z", "2026-06-30 21:59:59"]), ["2026-07-01", "2026-06-30"]),
        ("date", pa.array(["2026-07-01T01:00:00+05:00"]), ["2026-06-30"]),
        ("datetime", pa.array(["2026-07-01T01:00:00+05:30", "2026-07-01 01:00"]), [
            "2026-06-30T19:30:00Z", "2026-07-01T01:00:00Z"]),
        ("datetime", pa.array([date(2026, 7, 1), date(2026, 1, 1)]), ["2026-06-30T22:00:00Z", "2025-12-31T23:00:00Z"]),
    ],
)  # fmt: skip
def test_as_converts_to_another_type(
    tmp_path: Path, wanted: str, column: pa.Array, expected: list[Any]
) -> None:
    kind, values, problems = one(tmp_path, f"{{from: user.x, as: {wanted}}}", column)
    assert kind is FieldType(wanted)
    assert values == expected
    assert [type(value) for value in values] == [type(value) for value in expected]
    assert set(problems) == {None}


@pytest.mark.parametrize(
    ("field", "column", "problem"),
    [
        ("user.x", pa.array([math.nan]), ("not_a_number", "f", "nan")),
        ("user.x", pa.array([math.inf]), ("not_a_number", "f", "inf")),
        ("user.x", pa.array([-math.inf], pa.float32()), ("not_a_number", "f", "-inf")),
        ("{from: user.x, as: text}", pa.array([math.nan]), ("not_a_number", "f", "nan")),
        ("{from: user.x, as: integer}", pa.array([math.nan]), ("not_a_number", "f", "nan")),
        ("{from: user.x, as: number}", pa.array(["NaN"]), ("not_a_number", "f", "NaN")),
        ("{from: user.x, as: number}", pa.array(["-Infinity"]), ("not_a_number", "f", "-Infinity")),
        ("{from: user.x, as: number}", pa.array(["12,5"]), ("bad_value", "f", "12,5")),
        ("{from: user.x, as: integer}", pa.array(["twelve"]), ("bad_value", "f", "twelve")),
        (
            "{from: user.x, as: integer}",
            pa.array(["99999999999999999999"]),
            ("bad_value", "f", "99999999999999999999"),
        ),
        ("{from: user.x, as: integer}", pa.array([1e30]), ("out_of_range", "f", "1e+30")),
        ("user.x", pa.array([Decimal(2**64)], pa.decimal128(38, 0)), ("out_of_range", "f", f"{2**64}")),
        ("user.x", pa.array([2**64 - 1], pa.uint64()), ("out_of_range", "f", f"{2**64 - 1}")),
        ("{from: user.x, as: boolean}", pa.array(["maybe"]), ("bad_value", "f", "maybe")),
        ("{from: user.x, as: boolean}", pa.array([2]), ("bad_value", "f", "2")),
        ("{from: user.x, as: date}", pa.array(["31.01.2026"]), ("bad_value", "f", "31.01.2026")),
        ("{from: user.x, as: datetime}", pa.array(["soon | later"]), ("bad_value", "f", "soon | later")),
        ("{sql: user.x / 0}", pa.array([1]), ("not_a_number", "f", "inf")),
        ("{sql: 'cast(user.x as integer)'}", pa.array(["x"]), ("bad_value", "f", "")),
        ("{sql: user.x * 2}", pa.array([2**62]), ("bad_value", "f", "")),
    ],
)
def test_a_value_that_cannot_be_sent_is_a_problem_of_its_own_row_only(
    tmp_path: Path, field: str, column: pa.Array, problem: Problem
) -> None:
    good = pa.array([None], column.type)
    _, values, problems = one(tmp_path, field, pa.concat_arrays([good, column]))
    assert values == [None, None]
    assert problems == [None, problem]


def test_a_huge_value_is_shortened_in_its_problem(tmp_path: Path) -> None:
    _, _, problems = one(tmp_path, "{from: user.x, as: integer}", pa.array(["x" * 1000]))
    assert problems == [("bad_value", "f", "x" * 200)]


def test_a_problem_keeps_a_bar_in_the_name_of_its_field_and_in_its_value(tmp_path: Path) -> None:
    of = opened(tmp_path, {"mappings/m.yml": f"{MAPPING}fields: {{f: {{from: user.x, as: integer}}}}\n"})
    snapshot(of, "user", [{"user_id": "u0"}])
    traits(of, "user", pa.table({"user_id": ["u0"], "email": ["u0@x"], "x": ["1|2"]}))
    mapping = mapping_files.load(of)["m"]
    mapping = replace(mapping, fields=(replace(mapping.fields[0], name="a|b"),))
    with duckdb.connect() as connection:
        built = query.build_query(mapping, of, connection, DAY)
        (row,) = connection.execute(f"SELECT problem FROM ({built.sql})").fetchall()
    assert ValueProblem.from_struct(row[0]) == ValueProblem("bad_value", "a|b", "1|2")


def test_the_first_of_several_problems_is_reported(tmp_path: Path) -> None:
    _, values, problems = users(
        tmp_path,
        "a: user.a, b: user.b",
        {"a": pa.array([1.0, math.nan]), "b": pa.array([math.inf, math.nan])},
    )
    assert problems == [("not_a_number", "b", "inf"), ("not_a_number", "a", "nan")]
    assert values == {"a": [1.0, None], "b": [None, None]}


def test_an_sql_that_is_null_differs_from_an_sql_that_fails(tmp_path: Path) -> None:
    _, values, problems = one(tmp_path, "{sql: 'cast(user.x as integer) + 1'}", pa.array(["1", None, "x"]))
    assert values == [2, None, None]
    assert problems == [None, None, ("bad_value", "f", "")]


@pytest.mark.parametrize(
    ("field", "column", "kind", "expected"),
    [
        ("{from: user.x, map: {Very High: vh, High: h}}", pa.array(["Very High", "High", "Low", None]), FieldType.TEXT, [
            "vh", "h", "Low", None]),
        ("{from: user.x, map: {\"O'Brien\": \"it's\"}}", pa.array(["O'Brien"]), FieldType.TEXT, ["it's"]),
        ("{from: user.x, map: {true: 'Yes', false: 'No'}}", pa.array([True, False, None]), FieldType.TEXT, ["Yes", "No", None]),
        ("{from: user.x, map: {1: one, 2.5: more}}", pa.array([1.0, 2.5, 3.0]), FieldType.TEXT, ["one", "more", "3"]),
        ("{from: user.x, map: {low: '1', high: '2'}, as: integer}", pa.array(["low", "high"]), FieldType.INTEGER, [1, 2]),
        ("{from: user.x, map: {a: ''}}", pa.array(["a", "b"]), FieldType.TEXT, [None, "b"]),
        ("{from: user.x, map: {a: A}, join: ', '}", pa.array([["b", "a"], ["c"]]), FieldType.TEXT, ["b, A", "c"]),
        ("{from: user.x, default: free}", pa.array(["pro", None, ""]), FieldType.TEXT, ["pro", "free", "free"]),
        ("{from: user.x, default: '0'}", pa.array([5, None]), FieldType.INTEGER, [5, 0]),
        ("{from: user.x, default: '0.5'}", pa.array([5.0, None]), FieldType.NUMBER, [5.0, 0.5]),
        ("{from: user.x, default: 'false'}", pa.array([True, None]), FieldType.BOOLEAN, [True, False]),
        ("{from: user.x, default: 2026-01-31}", pa.array([None, date(2026, 2, 1)]), FieldType.DATE, ["2026-01-31", "2026-02-01"]),
        ("{from: user.x, as: datetime, default: '2026-01-31T01:00+01:00'}", pa.array([None], pa.string()), FieldType.DATETIME, [
            "2026-01-31T00:00:00Z"]),
        ("{from: user.x, join: ''}", pa.array([["a", "b"]]), FieldType.TEXT, ["ab"]),
        ("{from: user.x, map: {a: free}, default: a}", pa.array(["a", None]), FieldType.TEXT, ["free", "a"]),
        ("{sql: \"case when user.x > 1 then 'many' end\", default: few}", pa.array([1, 2, None]), FieldType.TEXT, [
            "few", "many", "few"]),
    ],
)  # fmt: skip
def test_map_as_join_and_default_apply_in_this_order(
    tmp_path: Path, field: str, column: pa.Array, kind: FieldType, expected: list[Any]
) -> None:
    found, values, problems = one(tmp_path, field, column)
    assert (found, values) == (kind, expected)
    assert set(problems) == {None}


def test_a_vendor_that_accepts_lists_gets_lists(tmp_path: Path) -> None:
    column = pa.array([["b", None, "a"], [], None], pa.list_(pa.string()))
    kind, values, _ = one(tmp_path / "a", "user.x", column, head=SEGMENT_USERS)
    assert (kind, values) == (FieldType.LIST, [["b", "a"], [], None])
    kind, values, _ = one(tmp_path / "b", "{from: user.x, join: '|'}", column, head=SEGMENT_USERS)
    assert (kind, values) == (FieldType.TEXT, ["b|a", None, None])


def test_a_column_that_does_not_fit_is_reported_with_its_place(tmp_path: Path) -> None:
    for number, (field, column, message) in enumerate(
        [
            ("user.x", pa.array([{"a": 1}]), "a column of type STRUCT(a BIGINT) cannot be sent"),
            ("user.x", pa.array([b"x"]), "a column of type BLOB cannot be sent"),
            ("{from: user.x, as: date}", pa.array([5]), "a whole number cannot become a date"),
            ("{from: user.x, join: ','}", pa.array(["a"]), "`join` is for lists"),
            ("{from: user.x, tolerance: 3}", pa.array(["a"]), "`tolerance` is for numbers"),
            ("{from: user.x, default: none}", pa.array([5]), "expected a whole number"),
            ("{from: user.y}", pa.array([5]), "the users table had no column `y`"),
            ("user.xx", pa.array([5]), "did you mean `x`?"),
            ("{sql: user.xx + 1}", pa.array([5]), "did you mean `x`?"),
            ("{sql: upper(user.x)}", pa.array([["a"]]), "DuckDB does not understand this `sql`"),
        ]
    ):
        reported = refusal(lambda f=field, c=column, n=number: one(tmp_path / str(n), f, c))  # type: ignore[misc]
        assert reported.startswith("mappings/m.yml:6:"), reported
        assert message in reported


def test_all_unknown_columns_are_reported_at_once(tmp_path: Path) -> None:
    message = refusal(lambda: users(tmp_path, "a: user.aa, b: user.bb", {"x": pa.array([1])}))
    assert len(message.splitlines()) == 2


def test_columns_are_found_in_upper_and_lower_case_as_duckdb_does(tmp_path: Path) -> None:
    _types, values, _ = users(tmp_path, 'a: user.FIRST name, b: {sql: \'user."First Name" || "user"."first name"\'}',
                             {"First Name": pa.array(["Ada"])})  # fmt: skip
    assert values == {"a": ["Ada"], "b": ["AdaAda"]}


def test_a_column_may_have_any_name(tmp_path: Path) -> None:
    for number, name in enumerate(
        ['quote"d', "it's", "sp ace", "größe 🔥", "key", "level", "select", "q0", "days0"]
    ):
        _, values, _ = users(
            tmp_path / str(number), f"a: 'user.{name.replace(chr(39), chr(39) * 2)}'", {name: pa.array(["v"])}
        )
        assert values == {"a": ["v"]}


def test_values_come_from_every_kind_of_name(tmp_path: Path) -> None:
    text = MAPPING + (
        "match: {email: user.mail}\nfields: {a: score, b: adoption.score, c: account.plan, d: account.health.score,"
        " e: audience.new, f: {sql: score + adoption.score + account.health.score}, g: account.adoption.score}\n"
    )
    of = opened(tmp_path, {"mappings/m.yml": text})
    snapshot(of, "user", [
        {"user_id": "u1", "score": 1, "account_id": "a1", "audiences": ["all", "new"]},
        {"user_id": "u2", "score": 2, "account_id": "a9"},
        {"user_id": "u3", "score": None},
    ])  # fmt: skip
    snapshot(of, "user", [{"user_id": "u1", "score": 10}], "adoption")
    snapshot(of, "account", [{"account_id": "a1", "score": 100}])
    snapshot(of, "account", [{"account_id": "a1", "score": 1000}], "adoption")
    traits(of, "user", pa.table({"user_id": ["u1", "u2"], "mail": [" Ada@Example.COM ", ""]}))
    traits(of, "account", pa.table({"account_id": ["a1"], "plan": ["pro"]}))
    _, rows = rendered(of)
    assert [rows["u1"][name] for name in "abcdefg"] == [1, 10, "pro", 100, True, 111, 1000]
    assert [rows["u2"][name] for name in "abcdefg"] == [2, None, None, None, False, None, None]
    assert [rows["u3"][name] for name in "abcdefg"] == [None, None, None, None, False, None, None]
    assert [rows[key]["m0"] for key in ("u1", "u2", "u3")] == ["ada@example.com", None, None]
    assert {row["via"] for row in rows.values()} == {None}


def test_only_members_of_the_audience_are_records(tmp_path: Path) -> None:
    of = opened(
        tmp_path,
        {
            "mappings/m.yml": MAPPING
            + "audience: new\non_exit: clear\nmatch: {email: user_id}\nfields: {a: score}\n"
        },
    )
    snapshot(
        of,
        "user",
        [{"user_id": "u1", "audiences": ["new"]}, {"user_id": "u2"}, {"user_id": "u3", "audiences": []}],
    )
    assert list(rendered(of)[1]) == ["u1"]


def test_an_account_is_sent_through_a_member_if_the_vendor_cannot_be_read(tmp_path: Path) -> None:
    of = opened(tmp_path, {"mappings/m.yml": SEGMENT_ACCOUNTS + "standard_traits: true\n"})
    snapshot(
        of,
        "account",
        [{"account_id": "a1", "member": "u7", "segments": ["New", "Red Hot"]}, {"account_id": "a2"}],
    )
    built, rows = rendered(of)
    assert {key: row["via"] for key, row in rows.items()} == {"a1": "u7", "a2": None}
    assert {key: row["m0"] for key, row in rows.items()} == {"a1": "a1", "a2": "a2"}
    assert rows["a1"]["accoil_health_segments"] == ["New", "Red Hot"]
    assert built.match == ("groupId",)


def test_the_standard_traits_have_their_types(tmp_path: Path) -> None:
    of = opened(
        tmp_path,
        {
            "mappings/m.yml": MAPPING.replace("contacts", "companies")
            + "match: {domain: account_id}\nstandard_traits: true\n"
        },
    )
    snapshot(of, "account", [
        {"account_id": "Acme.COM", "score": 74, "segments": ["Most Engaged", "New"], "activation": 66.67, "adoption_recent": 50.0,
         "adoption_ever": 100.0, "last_active": datetime(2026, 11, 21, 9, 8, 7, 6), "frequency": 5, "active_users": 2, "total_users": 3},
    ])  # fmt: skip
    built, rows = rendered(of)
    kinds = {field.name.removeprefix("accoil_health_"): field.type.value for field in built.fields}
    assert kinds == {
        "score": "integer", "segments": "text", "activation": "number", "adoption_recent": "number",
        "adoption_ever": "number", "last_active": "datetime", "frequency": "integer", "active_users": "integer",
        "total_users": "integer",
    }  # fmt: skip
    row = rows["Acme.COM"]
    assert row["m0"] == "acme.com"
    assert [row[field.name] for field in built.fields] == [
        74, "Most Engaged;New", 66.67, 50.0, 100.0, "2026-11-21T09:08:07Z", 5, 2, 3,
    ]  # fmt: skip


def test_a_changed_level_overrides_the_tolerance(tmp_path: Path) -> None:
    of = opened(
        tmp_path,
        {
            "mappings/m.yml": MAPPING
            + "match: {email: user_id}\nfields: {a: {from: score, tolerance: 2.5}, b: score}\n"
        },
    )
    snapshot(of, "user", [{"user_id": "u1", "level": "Very High"}, {"user_id": "u2", "level": None}])
    built, rows = rendered(of)
    assert [(field.tolerance, field.guard) for field in built.fields] == [(2.5, "level"), (None, None)]
    assert [rows[key]["level"] for key in ("u1", "u2")] == ["Very High", None]


def test_several_match_keys_keep_their_order(tmp_path: Path) -> None:
    of = opened(
        tmp_path,
        {
            "mappings/m.yml": MAPPING
            + "match: [{uid: user_id}, {email: email}, {num: user.number}]\nfields: {a: score}\n"
        },
    )
    snapshot(of, "user", [{"user_id": " U1 "}])
    traits(of, "user", pa.table({"user_id": [" U1 "], "email": ["A@B.c"], "number": [12.0]}))
    built, rows = rendered(of)
    assert built.match == ("uid", "email", "num")
    assert [rows[" U1 "][f"m{number}"] for number in range(3)] == ["U1", "a@b.c", "12"]


def test_an_empty_snapshot_has_no_records(tmp_path: Path) -> None:
    of = opened(
        tmp_path,
        {
            "mappings/m.yml": MAPPING
            + "match: {email: user_id}\nstandard_traits: true\nfields: {a: {from: last_active, as: date}}\n"
        },
    )
    snapshot(of, "user", [])
    assert rendered(of)[1] == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("a: score", "no snapshot of profile `health` for users on 2026-11-21"),
        ("a: adoption.score", "no snapshot of profile `health`"),
        ("a: user.plan", "no snapshot of profile `health`"),
    ],
)
def test_a_missing_snapshot_says_how_to_create_it(tmp_path: Path, fields: str, message: str) -> None:
    of = opened(tmp_path, {"mappings/m.yml": MAPPING + f"match: {{email: user_id}}\nfields: {{{fields}}}\n"})
    assert message in refusal(lambda: rendered(of))
    assert "heatsync score" in refusal(lambda: rendered(of))


def test_a_missing_copy_of_a_table_says_how_to_create_it(tmp_path: Path) -> None:
    of = opened(tmp_path, {"mappings/m.yml": MAPPING + "fields: {a: score}\n"})
    snapshot(of, "user", [{"user_id": "u1"}])
    assert "no copy of the users table" in refusal(lambda: rendered(of))


def test_changes_of_level_are_counted_within_the_audience(tmp_path: Path) -> None:
    text = MAPPING + "match: {email: user_id}\nfields: {a: score}\n"
    of = opened(
        tmp_path,
        {
            "mappings/m.yml": text,
            "mappings/n.yml": text.replace("a:", "b:") + "audience: new\non_exit: keep\n",
        },
    )
    moved = {"level": "Low", "level_previous": "High", "level_changed_on": DAY, "audiences": ["new"]}
    snapshot(of, "user", [
        {"user_id": "u1", **moved},
        {"user_id": "u2", **moved, "audiences": []},
        {"user_id": "u3", **moved, "level_changed_on": date(2026, 11, 20)},
        {"user_id": "u4", **moved, "level_previous": None},
        {"user_id": "u5", "level": None},
    ])  # fmt: skip
    mappings = mapping_files.load(of)
    with duckdb.connect() as connection:
        assert query.level_moves(mappings["m"], of, connection, DAY) == (4, 2)
        assert query.level_moves(mappings["n"], of, connection, DAY) == (3, 1)


ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "America/Havana",
]


@relaxed
@given(
    st.lists(st.datetimes(datetime(2015, 1, 1), datetime(2035, 1, 1)), min_size=1, max_size=20),
    st.sampled_from([*ZONES, "UTC"]),
)
def test_a_date_is_in_the_time_zone_of_the_workspace(
    tmp_path: Path, moments: list[datetime], zone: str
) -> None:
    column = pa.array(moments, pa.timestamp("us"))
    heatsync = HEATSYNC.replace("Europe/Berlin", zone)
    _, values, _ = one(tmp_path, "{from: user.x, as: date}", column, heatsync=heatsync)
    local = ZoneInfo(zone)
    assert values == [moment.replace(tzinfo=UTC).astimezone(local).date().isoformat() for moment in moments]


def test_the_time_zone_of_the_session_changes_nothing(tmp_path: Path) -> None:
    text = MAPPING + (
        "match: {email: user_id}\nfields: {a: {from: user.x, as: date}, b: user.x, c: {from: user.y, as: datetime}}\n"
    )
    of = opened(tmp_path, {"mappings/m.yml": text})
    snapshot(of, "user", [{"user_id": "u1"}])
    moment = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    traits(of, "user", pa.table({
        "user_id": ["u1"], "x": pa.array([moment], pa.timestamp("us", "UTC")), "y": ["2026-07-01T22:30:00-02:00"],
    }))  # fmt: skip
    chosen = mapping_files.load(of)["m"]
    for zone in ("UTC", "America/Los_Angeles", "Asia/Tokyo"):
        with duckdb.connect() as connection:
            connection.execute(f"SET TimeZone = '{zone}'")
            rows = connection.execute(query.build_query(chosen, of, connection, DAY).sql).fetchall()
        assert rows[0][5:] == ("2026-07-02", "2026-07-01T22:30:00Z", "2026-07-02T00:30:00Z")


def _days(zone: ZoneInfo, years: Iterable[int]) -> Iterable[tuple[datetime, datetime]]:
    for year in years:
        day = date(year, 1, 1)
        while day.year == year:
            yield calendar.day_start(day, zone), calendar.day_start(day + timedelta(days=1), zone)
            day += timedelta(days=1)


@pytest.mark.parametrize("zone", ZONES)
def test_the_days_of_the_calendar_have_no_gaps(zone: str) -> None:
    for starts, ends in _days(ZoneInfo(zone), (2024, 2026)):
        assert timedelta(hours=23) <= ends - starts <= timedelta(hours=25)


def test_a_time_outside_the_calendar_counts_in_utc(tmp_path: Path) -> None:
    column = pa.array([datetime(1900, 1, 1, 23, 59), datetime(2150, 6, 1, 23, 59)], pa.timestamp("us"))
    assert one(tmp_path, "{from: user.x, as: date}", column)[1] == ["1900-01-01", "2150-06-01"]


def test_no_row_is_lost_or_duplicated(tmp_path: Path) -> None:
    of: Workspace = opened(
        tmp_path, {"mappings/m.yml": MAPPING + "fields: {a: user.plan, b: account.plan, c: adoption.score}\n"}
    )
    snapshot(of, "user", [{"user_id": f"u{number}", "account_id": f"a{number % 7}"} for number in range(500)])
    snapshot(of, "user", [{"user_id": f"u{number}"} for number in range(0, 500, 3)], "adoption")
    traits(
        of,
        "user",
        pa.table({"user_id": [f"u{n}" for n in range(100, 700)], "email": ["e"] * 600, "plan": ["p"] * 600}),
    )
    traits(of, "account", pa.table({"account_id": [f"a{n}" for n in range(5)], "plan": ["q"] * 5}))
    _, rows = rendered(of)
    assert len(rows) == 500
    assert sum(row["a"] is None for row in rows.values()) == 100
