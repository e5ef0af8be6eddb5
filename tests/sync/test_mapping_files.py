from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from file_workspaces import HEATSYNC, MAPPING, VENDORS, mapped, opened, problems, write

from connectors.errors import ConfigurationError
from connectors.registry import VENDORS as VENDORS_FOR_REAL
from connectors.types import Entity, FieldType
from heatsync.sync.mapping import files as mapping_files
from heatsync.sync.mapping import sql_expressions
from heatsync.sync.mapping.references import NameScope
from heatsync.workspace import config

FULL = """\
version: 1
destination: hubspot
object: contacts
profile: health
audience: most_engaged
on_exit: clear
match:
  - {heatsync_user_id: user_id}
  - {email: email}
mode: update
standard_traits: true
fields:
  engagement_score: score
  engagement_level: {from: level, map: {Very High: very_high, High: high}}
  last_active:      {from: last_active, as: date}
  segments:         {from: audiences, join: ";"}
  is_at_risk:       {from: audience.level_very_high}
  health_score:     {from: score, tolerance: 3}
  csm_note:         {sql: "concat('Score ', score, ', ', trend)", write: if_empty}
  plan:             {from: account.plan, default: free, when_null: clear}
  other:            adoption.score
  their_account:    account.health.score
when_null: keep
create_fields: true
limits: {max_writes: 50000, max_creates: 500}
schedule: "30 5 * * *"
recheck_after: 2w
"""


def wrong(folder: Path, text: str, **more: str) -> list[str]:
    """The problems of a mapping that begins with MAPPING, without the name of the file."""
    files = {
        "mappings/m.yml": MAPPING + text,
        **{f"mappings/{name}.yml": content for name, content in more.items()},
    }
    return problems(folder, files)


def test_every_key_of_the_file_is_read(tmp_path: Path) -> None:
    created = mapping_files.load(opened(tmp_path, {"mappings/hubspot-contacts.yml": FULL}))[
        "hubspot-contacts"
    ]
    assert (created.destination, created.object, created.entity, created.profile) == (
        "hubspot",
        "contacts",
        "user",
        "health",
    )
    assert (created.audience, created.on_exit, created.mode) == ("most_engaged", "clear", "update")
    assert [(key.field, key.column.name) for key in created.match] == [
        ("heatsync_user_id", "user_id"), ("email", "email"),
    ]  # fmt: skip
    assert (created.create_fields, created.max_writes, created.max_creates) == (True, 50000, 500)
    assert (created.schedule, created.recheck_after, created.anonymous) == (
        "30 5 * * *",
        timedelta(weeks=2),
        False,
    )
    fields = {field.name: field for field in created.fields}
    assert list(fields)[:7] == [
        f"accoil_health_{metric}"
        for metric in (
            "score",
            "segments",
            "activation",
            "adoption_recent",
            "adoption_ever",
            "last_active",
            "frequency",
        )
    ]
    assert fields["engagement_level"].map == (("Very High", "very_high"), ("High", "high"))
    assert fields["last_active"].as_ is FieldType.DATE
    assert fields["segments"].join == ";"
    assert fields["is_at_risk"].audience == "level_very_high"
    assert fields["health_score"].tolerance == 3
    assert fields["csm_note"].write == "if_empty"
    assert (fields["plan"].default, fields["plan"].when_null) == ("free", "clear")
    assert {field.when_null for field in created.fields if field.name != "plan"} == {"keep"}


def test_the_short_and_the_long_form_are_equal(tmp_path: Path) -> None:
    short = mapped(tmp_path / "a", "fields: {a: score}\n")
    long = mapped(tmp_path / "b", "fields: {a: {from: score}}\n")
    assert short.fields == long.fields
    assert short.definition_hash == long.definition_hash


def test_a_missing_key_has_a_default(tmp_path: Path) -> None:
    created = mapped(
        tmp_path,
        "fields: {ours: score, theirs: user.plan, both: {sql: score + user.seats}, calc: {sql: score + 1}}\n",
    )
    assert (created.mode, created.audience, created.on_exit, created.recheck_after) == (
        "update",
        None,
        None,
        timedelta(days=7),
    )
    assert [(key.field, key.column.name) for key in created.match] == [("email", "email")]
    assert {field.name: field.when_null for field in created.fields} == {
        "ours": "clear", "theirs": "keep", "both": "keep", "calc": "clear",
    }  # fmt: skip


def test_standard_traits_are_cleared_unless_the_file_says_keep(tmp_path: Path) -> None:
    for text, policy in (("", "clear"), ("when_null: keep\n", "keep")):
        created = mapped(tmp_path, f"standard_traits: true\n{text}")
        assert {field.when_null for field in created.fields} == {policy}


def test_accounts_have_two_more_standard_traits(tmp_path: Path) -> None:
    text = MAPPING.replace("contacts", "companies") + "standard_traits: true\n"
    created = mapping_files.load(opened(tmp_path, {"mappings/m.yml": text}))["m"]
    assert [field.name for field in created.fields][7:] == [
        "accoil_health_active_users",
        "accoil_health_total_users",
    ]


def test_segment_has_its_own_mode_and_match(tmp_path: Path) -> None:
    text = "version: 1\ndestination: segment\nobject: accounts\nprofile: health\nstandard_traits: true\nanonymous: true\n"
    created = mapping_files.load(opened(tmp_path, {"mappings/m.yml": text}))["m"]
    assert (created.mode, created.anonymous, created.entity) == ("upsert", True, Entity.ACCOUNT)
    assert [(key.field, key.column.name) for key in created.match] == [("groupId", "account_id")]


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("object: Account\n", Entity.ACCOUNT),
        ("object: Lead\nmatch: {Email: email}\n", Entity.USER),
        ("object: Health__c\nmatch: [{Key__c: account_id}]\n", Entity.ACCOUNT),
        ("object: Person__c\nentity: user\nmatch: {Key__c: user.number}\n", Entity.USER),
    ],
)
def test_any_object_of_salesforce_can_be_mapped(tmp_path: Path, text: str, entity: Entity) -> None:
    text = "version: 1\ndestination: salesforce\nprofile: health\nfields: {Score__c: score}\n" + text
    assert mapping_files.load(opened(tmp_path, {"mappings/m.yml": text}))["m"].entity is entity


def test_an_unknown_object_needs_its_entity_and_its_match(tmp_path: Path) -> None:
    head = "version: 1\ndestination: salesforce\nprofile: health\nfields: {Score__c: score}\nobject: X__c\n"
    assert any(
        "`entity: user` or `entity: account`" in p for p in problems(tmp_path, {"mappings/m.yml": head})
    )
    found = problems(tmp_path, {"mappings/m.yml": head + "entity: user\n"})
    assert any("`match` is missing" in problem for problem in found)


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("fields: {a: scroe}", "5:13", "`scroe` is not a trait; did you mean `score`?"),
        ("fields: {a: {from: scroe}}", "5:20", "did you mean `score`?"),
        ("fields: {a: email}", "5:13", "if it is a column, write `user.email`"),
        ("fields: {a: adoptoin.score}", "5:13", "did you mean `adoption`?"),
        ("fields: {a: adoption.scroe}", "5:13", "did you mean `adoption.score`?"),
        ("fields: {a: account.helth.score}", "5:13", "did you mean `health`?"),
        ("fields: {a: audience.most_engagd}", "5:13", "did you mean `most_engaged`?"),
        ("fields: {a: user.health.score}", "5:13", "`health.score`"),
        ("fields: {a: user.}", "5:13", "a part is missing"),
        ("fields: {a: health}", "5:13", "`health` is a profile"),
        (
            "fields: {Heat: score}",
            "5:10",
            "cannot be the name of a field of HubSpot: expected lower-case letters; write `heat`",
        ),
        ("fields: {'H t': score}", "5:10", "a field of HubSpot: expected lower-case letters"),
        ("fields: {a: {form: score}}", "5:14", "`form` is not a key here; did you mean `from`?"),
        ("fields: {a: {join: ','}}", "5:10", "needs either `from` or `sql`"),
        ("fields: {a: {from: score, sql: score}}", "5:10", "needs either `from` or `sql`"),
        ("fields: {a: {from: score, as: float}}", "5:31", "expected one of text, integer, number"),
        ("fields: {a: {from: score, as: date}}", "5:31", "a whole number cannot become a date"),
        ("fields: {a: {from: last_active, as: integer}}", "5:37", "a time cannot become a whole number"),
        ("fields: {a: {from: segments, as: integer}}", "5:34", "a list cannot become a whole number"),
        ("fields: {a: {from: score, join: ';'}}", "5:33", "`join` is for lists"),
        ("fields: {a: {from: level, tolerance: 3}}", "5:38", "`tolerance` is for numbers"),
        ("fields: {a: {from: score, tolerance: 0}}", "5:38", "expected a number above 0"),
        ("fields: {a: {from: score, default: none}}", "5:36", "expected a whole number"),
        ("fields: {a: {from: score, when_null: drop}}", "5:38", "expected one of keep, clear"),
        ("fields: {a: {from: score, write: ifempty}}", "5:34", "did you mean `if_empty`?"),
        ("fields: {a: {from: score, map: [x]}}", "5:32", "expected keys with values"),
        ("fields: {a: {sql: 'score +'}}", "5:19", "cannot be read as one expression"),
        ("fields: {a: {sql: scroe}}", "5:19", "did you mean `score`?"),
        ("fields: {a: [score]}", "5:13", "expected keys with values"),
        ("fields: {a: }", "5:10", "`a` has no value"),
        ("fields: {}", "1:1", "the mapping writes nothing"),
        ("fields:", "1:1", "the mapping writes nothing"),
        ("standard_traits: yes", "5:18", "expected true or false, found `yes`"),
        ("audience: most_engaged", "5:1", "`on_exit` is missing"),
        ("on_exit: clear", "5:1", "needs an `audience`"),
        ("audience: at_risk\non_exit: clear", "5:11", "`at_risk` is not an audience of users"),
        ("match: {email: email, id: user_id}", "5:8", "write them as a list"),
        ("match: [{email: email}, {Email: user_id}]", "5:26", "in `match` twice"),
        ("match: [{email: email, id: user_id}]", "5:9", "one pair after each `-`"),
        ("mode: create", "5:7", "no mode `create`; possible: update, upsert"),
        ("entity: account", "5:9", "are users: remove `entity`"),
        ("anonymous: true", "5:1", "`anonymous` does not apply to"),
        ("limits: {max_writes: lots}", "5:22", "expected a whole number"),
        ("limits: {max_write: 5}", "5:10", "did you mean `max_writes`?"),
        ("schedule: hourly", "5:11", "expected a cron line"),
        ("recheck_after: 7", "5:16", "expected a duration"),
        ("standard_trait: true", "5:1", "did you mean `standard_traits`?"),
    ],
)
def test_every_error_is_reported_at_its_place(tmp_path: Path, text: str, where: str, message: str) -> None:
    found = wrong(tmp_path, text + "\n")
    assert any(p.startswith(f"mappings/m.yml:{where}: ") and message in p for p in found), found


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("destination: hubspot", "destination: hubspott", "2:14", "did you mean `hubspot`?"),
        ("object: contacts", "object: contact", "3:9", "did you mean `contacts`?"),
        ("profile: health", "profile: helth", "4:10", "did you mean `health`?"),
        ("profile: health\n", "", "1:1", "`profile` is missing"),
        ("version: 1\n", "", "1:1", "`version` is missing"),
    ],
)
def test_an_unknown_destination_or_profile_is_reported_with_a_similar_name(
    tmp_path: Path, old: str, new: str, where: str, message: str
) -> None:
    found = problems(tmp_path, {"mappings/m.yml": (MAPPING + "fields: {a: score}\n").replace(old, new)})
    assert any(p.startswith(f"mappings/m.yml:{where}: ") and message in p for p in found), found


def test_a_mapping_of_accounts_cannot_use_columns_of_users(tmp_path: Path) -> None:
    text = MAPPING.replace("contacts", "companies") + "fields: {a: user.email}\n"
    assert any(
        "an account has many users" in problem for problem in problems(tmp_path, {"mappings/m.yml": text})
    )


def test_a_column_of_a_missing_table_is_a_problem_before_there_is_data(tmp_path: Path) -> None:
    heatsync = HEATSYNC.replace("  users: {table: data/users.csv}\n", "")
    found = problems(tmp_path, {"mappings/m.yml": MAPPING + "fields: {a: user.plan}\n"}, heatsync)
    assert any("heatsync.yml has no `source: users:`" in problem for problem in found)


def test_the_name_of_a_field_may_hold_a_bar(tmp_path: Path) -> None:
    text = MAPPING.replace("hubspot", "segment").replace("contacts", "users")
    of = opened(tmp_path, {"mappings/m.yml": text + 'fields: {"a|b": score}\n'})
    assert [field.name for field in mapping_files.load(of)["m"].fields] == ["a|b"]


def test_if_empty_needs_a_vendor_that_can_be_read(tmp_path: Path) -> None:
    text = "version: 1\ndestination: segment\nobject: users\nprofile: health\nfields: {a: {from: score, write: if_empty}}\n"
    assert any("cannot be read" in problem for problem in problems(tmp_path, {"mappings/m.yml": text}))
    found = problems(
        tmp_path,
        {"mappings/m.yml": text.replace("{from: score, write: if_empty}", "score") + "mode: update\n"},
    )
    assert any("no mode `update`; possible: upsert" in problem for problem in found)


def test_match_needs_a_field_that_the_vendor_can_look_up(tmp_path: Path) -> None:
    text = "version: 1\ndestination: segment\nobject: users\nprofile: health\nfields: {a: score}\nmatch: {userid: user_id}\n"
    found = problems(tmp_path, {"mappings/m.yml": text})
    assert any("did you mean `userId`?" in problem for problem in found)


def test_two_mappings_never_write_the_same_field(tmp_path: Path) -> None:
    other = MAPPING + "audience: new\non_exit: keep\nfields: {b: trend, a: score}\n"
    found = wrong(tmp_path, "fields: {a: score}\n", other=other)
    assert len(found) == 1
    assert found[0].startswith("mappings/other.yml:7:") or found[0].startswith("mappings/m.yml:5:")
    assert "a field belongs to one mapping" in found[0]


def test_other_objects_and_other_destinations_may_have_fields_of_the_same_name(tmp_path: Path) -> None:
    heatsync = HEATSYNC + '  hubspot_emea: {type: hubspot, token: "${EMEA}"}\n'
    text = MAPPING + "fields: {a: score}\n"
    files = {
        "mappings/a.yml": text,
        "mappings/b.yml": text.replace("contacts", "companies"),
        "mappings/c.yml": text.replace("destination: hubspot", "destination: hubspot_emea"),
    }
    assert problems(tmp_path, files, heatsync) == []


def test_names_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    head = "version: 1\ndestination: salesforce\nobject: Account\nprofile: health\n"
    found = problems(tmp_path, {"mappings/m.yml": head + "fields: {Score__c: score, SCORE__C: trend}\n"})
    assert any(
        "`SCORE__C` and `Score__c` are the same field at the destination" in problem for problem in found
    )
    found = wrong(tmp_path, "standard_traits: true\nfields: {accoil_health_score: score}\n")
    assert any("already one of the standard traits" in problem for problem in found)


def test_one_object_has_one_spelling_in_all_mappings_of_a_destination(tmp_path: Path) -> None:
    head = "version: 1\ndestination: salesforce\nobject: {}\nprofile: health\nentity: account\nmatch: {{Id__c: domain}}\n"
    files = {
        "mappings/a.yml": head.format("Account") + "fields: {A__c: score}\n",
        "mappings/b.yml": head.format("account") + "fields: {B__c: score}\n",
    }
    (found,) = problems(tmp_path, files)
    assert (
        found
        == "mappings/b.yml:3:9: mappings/a.yml writes it as `Account`: use the same spelling in both files"
    )


def test_the_definition_hash_covers_what_is_sent_and_nothing_else(tmp_path: Path) -> None:
    text = "fields: {a: score, b: {sql: score + 1}}\n"
    definition_hash = mapped(tmp_path / "0", text).definition_hash
    same = [
        "# why\nfields:\n  b: {sql: 'score  +  1'}   # what\n  a: {from: score}\n",
        text
        + 'schedule: "0 6 * * *"\nlimits: {max_writes: 5}\nrecheck_after: 1d\nmode: update\nmatch: {email: email}\n',
    ]
    others = [
        "fields: {a: score, b: {sql: score + 2}}\n", "fields: {a: score}\n", text + "mode: upsert\n",
        text + "audience: new\non_exit: keep\n", text + "audience: new\non_exit: clear\n", text + "when_null: keep\n",
        text + "match: {email: user.work_email}\n", "fields: {a: {from: score, tolerance: 2}, b: {sql: score + 1}}\n",
        "fields: {a: {from: score, default: '0'}, b: {sql: score + 1}}\n", text + "standard_traits: true\n",
    ]  # fmt: skip
    for number, other in enumerate(same):
        assert mapped(tmp_path / f"s{number}", other).definition_hash == definition_hash
    different = [
        mapped(tmp_path / f"o{number}", other).definition_hash for number, other in enumerate(others)
    ]
    assert len({definition_hash, *different}) == len(others) + 1


def test_an_invalid_profile_or_destination_is_not_also_called_unknown(tmp_path: Path) -> None:
    files = {
        "mappings/m.yml": MAPPING + "fields: {a: adoption.score, b: scroe}\n",
        "mappings/profiles/adoption.yml": "version: 1\nname: a: b\n",
    }
    found = problems(tmp_path, files, HEATSYNC.replace("domain: acme.my", "domian: acme.my"))
    assert [problem.split(":")[0] for problem in found] == [
        "heatsync.yml", "mappings/m.yml", "mappings/profiles/adoption.yml",
    ]  # fmt: skip
    assert "`scroe`" in found[1]


def test_an_error_of_a_profile_has_its_file_line_and_column(tmp_path: Path) -> None:
    profile = "version: 1\nname: Health\nevnts: []\nevents:\n  - {event: A, weight: 11}\nlevels: {bands: {Low: x}}\n"
    found = problems(tmp_path, {"mappings/profiles/health.yml": profile})
    assert [problem.split(": ")[0] for problem in found] == [
        "mappings/profiles/health.yml:3:1",
        "mappings/profiles/health.yml:5:24",
        "mappings/profiles/health.yml:6:23",
    ]
    assert "did you mean `events`?" in found[0]


def test_loading_raises_what_check_prints(tmp_path: Path) -> None:
    write(tmp_path, {"mappings/m.yml": MAPPING + "fields: {a: scroe, b: tredn}\n"})
    with pytest.raises(ConfigurationError) as raised:
        mapping_files.load(config.load(tmp_path, vendors=VENDORS))
    assert str(raised.value).splitlines() == list(mapping_files.check(tmp_path, vendors=VENDORS).problems)


def test_a_standard_name_that_the_vendor_does_not_accept_is_reported(tmp_path: Path) -> None:
    def refuse(*_: object) -> str:
        raise ValueError("the name has more than 40 characters")

    vendors = {**VENDORS, "hubspot": replace(VENDORS["hubspot"], name_trait=refuse)}
    write(tmp_path, {"mappings/m.yml": MAPPING + "standard_traits: true\n"})
    found = mapping_files.check(tmp_path, vendors=vendors).problems
    assert found == ("mappings/m.yml:5:18: the name has more than 40 characters",)


SCOPE = NameScope(Entity.USER, "health", {}, frozenset(Entity), frozenset({"health", "adoption"}))

ATTACKS = [
    "(select 1)", "score + (select max(score) from read_parquet('x'))", "score in (select 1)", "exists (select 1)",
    "score = any(select 1)", "read_csv('/etc/passwd')", "read_text('/etc/passwd')", "read_blob('x')", "glob('*')",
    "parquet_metadata('x')", "getenv('HOME')", "current_setting('memory_limit')", "getvariable('x')",
    "pragma database_list", "set memory_limit = '1GB'", "attach 'x.db'", "install httpfs", "load httpfs",
    "copy t to 'x'", "export database 'x'", "create table t as select 1", "insert into t values (1)", "delete from t",
    "drop table t", "call pragma_version()", "select 1", "from t", "values (1)", "score; drop table t", "score;",
    "score; score", "score -- x", "score /* x */", "/* x */ score", "list_transform(segments, x -> x)",
    "list_filter(segments, lambda x: true)", "[x for x in segments]", "COLUMNS(*)", "COLUMNS('s.*')", "*",
    "user.*", "#1", "$1", "?", "?1", ":x", "{'a': score}", "row(score, 1)", "(user).plan", "user.a.b.c",
    "segments[1]", "segments[1:2]", "struct_extract(user.x, 'a')", "map {'a': 1}", "score as x", "x := score",
    "sum(score)", "count(*)", "max(score)", "any_value(score)", "string_agg(level, ',')", "list(score)",
    "row_number() over ()", "lag(score) over (order by score)", "random()", "now()", "current_date",
    "current_timestamp", "today()", "uuid()", "nextval('x')", "txid_current()", "current_user", "current_database()",
    "version()", "unnest(segments)", "range(1000000000)", "generate_series(1, 10)", "repeat('x', 1000000000)",
    "lpad('x', 1000000000, 'y')", "rpad('x', 1000000000, 'y')", "format('{:>1000000000}', 1)",
    "printf('%1000000000d', 1)", "bar(1, 0, 1, 1000000000)", "query('select 1')", "query_table('t')",
    "json_extract(level, '$')", "level -> 'a'", "level ->> 'a'", "level::json", "score::regclass", "score::int[]",
    "cast(score as struct(a int))", "cast(level as enum('a'))", "last_active::timestamptz", "try(score)",
    "e'\\x41'", "$$x$$", "x'41'", "error('x')", "sleep_ms(1)", "is_histogram_other_bin(1)", "list_aggregate(segments, 'sum')",
    "score collate nocase", "write_log('x')", "add_parquet_key('a', 'b')", "@score := 1",
    "case when score > 1 then (select 1) end", "coalesce(score, getenv('HOME'))", "concat(level, read_text('x'))",
    "main.getenv('HOME')", "system.main.getenv('HOME')", "level.upper()", "level.getenv()", "rowid", "user.plan.x",
    "", "   ", ";", "'", "(", ")", "score,", "score score", "score, level", "1e", "((((score)))", "\x00",
    "(" * 3000 + "score" + ")" * 3000, "score + " * 3000 + "1",
]  # fmt: skip


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_sql_is_one_scalar_expression_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        sql_expressions.compile(text, SCOPE)
    assert len(str(raised.value)) < 700
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", sql_expressions.FUNCTIONS)
def test_every_allowed_function_can_be_called(name: str) -> None:
    calls = {
        "chr": "chr(65)", "extract": "extract(year from last_active)", "if": "if(score > 1, 'a', 'b')",
        "position": "position('a' in level)", "date_part": "date_part('year', last_active)",
        "date_trunc": "date_trunc('month', last_active)", "date_diff": "date_diff('day', first_seen, last_seen)",
        "strftime": "strftime(last_active, '%Y')", "array_to_string": "array_to_string(segments, ',')",
        "list_contains": "list_contains(segments, 'New')", "list_position": "list_position(segments, 'New')",
        "split_part": "split_part(level, ' ', 1)", "concat_ws": "concat_ws(', ', level, trend)",
        "substring": "substring(level, 1, 2)", "replace": "replace(level, 'a', 'b')",
        "regexp_replace": "regexp_replace(level, 'a', 'b', 'g')", "left": "left(level, 2)", "right": "right(level, 2)",
    }  # fmt: skip
    two = ("coalesce", "concat", "contains", "ends_with", "greatest", "ifnull", "least", "nullif", "regexp_extract",
           "regexp_full_match", "regexp_matches", "split", "starts_with")  # fmt: skip
    numbers = (
        "abs",
        "ceil",
        "exp",
        "floor",
        "isfinite",
        "isnan",
        "ln",
        "log",
        "round",
        "sign",
        "sqrt",
        "trunc",
    )
    moments = (
        "day",
        "dayofweek",
        "dayofyear",
        "hour",
        "isodow",
        "minute",
        "month",
        "quarter",
        "second",
        "week",
        "year",
    )
    argument = "score / 2" if name in numbers else "last_active" if name in moments else "level"
    usual = (
        f"{name}(level, trend)"
        if name in two
        else "power(score, 2)"
        if name == "power"
        else f"{name}({argument})"
    )
    sql, references = sql_expressions.compile(calls.get(name, usual), SCOPE)
    assert sql
    assert references or name == "chr"


@pytest.mark.parametrize(
    ("text", "aliases"),
    [
        ("score + adoption.score", {"user.health.trait.score", "user.adoption.trait.score"}),
        ("user.\"First Name\" || ' ' || user.last", {"user.first name", "user.last"}),
        ("account.plan = 'pro' and account.health.score >= 50", {"account.plan", "account.health.trait.score"}),
        ("audience.new or audience.red_hot", {"user.health.audience.new", "user.health.audience.red_hot"}),
        ("CASE WHEN Score BETWEEN 1 AND 9 THEN 'few' ELSE null END", {"user.health.trait.score"}),
        ("(last_active + interval 3 days)::date", {"user.health.trait.last_active"}),
        ("score::decimal(10, 2) % 3 // 2", {"user.health.trait.score"}),
        ("level like 'H%' and level not in ('High', 'Low') and trend is not null", {
            "user.health.trait.level", "user.health.trait.trend"}),
    ],
)  # fmt: skip
def test_sql_can_use_every_kind_of_name(text: str, aliases: set[str]) -> None:
    _, references = sql_expressions.compile(text, SCOPE)
    assert {reference.alias for reference in references} == aliases


def test_every_vendor_accepts_its_names_of_the_standard_traits(tmp_path: Path) -> None:
    heatsync = HEATSYNC + '  intercom: {token: "${INTERCOM_TOKEN}", region: eu}\n'
    objects = {
        "hubspot": ("contacts", "companies"),
        "intercom": ("contacts", "companies"),
        "segment": ("users", "accounts"),
        "salesforce": ("Contact", "Account"),
    }
    files = {
        f"mappings/{destination}-{object.lower()}.yml": "version: 1\nprofile: health\nstandard_traits: true\n"
        f"destination: {destination}\nobject: {object}\n"
        for destination, pair in objects.items()
        for object in pair
    }
    of = config.load(write(tmp_path, files, heatsync), vendors=VENDORS_FOR_REAL)
    mappings = mapping_files.load(of)
    last = {name: created.fields[-1].name for name, created in mappings.items()}
    assert last == {
        "hubspot-contacts": "accoil_health_frequency",
        "hubspot-companies": "accoil_health_totalusers",
        "intercom-contacts": "Accoil_Health_Frequency",
        "intercom-companies": "Accoil_Health_Account_TotalUsers",
        "segment-users": "Accoil_Health_Frequency",
        "segment-accounts": "Accoil_Health_TotalUsers",
        "salesforce-contact": "Accoil_Health_Frequency__c",
        "salesforce-account": "Accoil_Health_TotalUsers__c",
    }
    assert {created.mode for name, created in mappings.items() if not name.startswith("segment")} == {
        "update"
    }
    assert of.destinations["intercom"].settings({"INTERCOM_TOKEN": "t"})["region"] == "eu"


def test_the_workspace_of_the_repository_has_no_problems() -> None:
    checked = mapping_files.check(Path(__file__).parents[2])
    assert checked.problems == ()
    assert checked.warnings == ()
