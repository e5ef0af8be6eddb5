"""What is wrong in the tables: the real command says what, where, and what to do, and loses nothing."""

import csv
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from cli_workspace import END, calls
from forked_workspace import MAPPING, ForkedWorkspace, Row, assert_refused, contacts, failures, rows

DAY = END.isoformat()
EVENTS, USERS, ACCOUNTS = "data/events.parquet", "data/users.csv", "data/accounts.csv"
FIELDS = "mappings/hubspot-contacts.yml"


def write_rows(workspace: ForkedWorkspace, changed: list[Row], path: str = USERS) -> None:
    with (workspace.folder / path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, changed[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(changed)


def events(workspace: ForkedWorkspace, change: Callable[[pa.Table], pa.Table]) -> None:
    path = workspace.folder / EVENTS
    pq.write_table(change(pq.read_table(path)), path)


def bytes_of(workspace: ForkedWorkspace, path: str, change: Callable[[bytes], bytes]) -> None:
    file = workspace.folder / path
    file.write_bytes(change(file.read_bytes()))


def column(name: str, values: Callable[[pa.Table], pa.Array]) -> Callable[[ForkedWorkspace], None]:
    """Put other values into a column of the events."""

    def spoil(workspace: ForkedWorkspace) -> None:
        events(workspace, lambda t: t.set_column(t.schema.get_field_index(name), name, values(t)))

    return spoil


def without(path: str, name: str) -> Callable[[ForkedWorkspace], None]:
    def spoil(workspace: ForkedWorkspace) -> None:
        write_rows(
            workspace, [{k: v for k, v in row.items() if k != name} for row in rows(workspace, path)], path
        )

    return spoil


def added(path: str, line: str) -> Callable[[ForkedWorkspace], None]:
    return lambda workspace: bytes_of(workspace, path, lambda old: old + line.encode())


def twice(path: str) -> Callable[[ForkedWorkspace], None]:
    return lambda workspace: write_rows(workspace, [*rows(workspace, path), rows(workspace, path)[0]], path)


def header_only(path: str) -> Callable[[ForkedWorkspace], None]:
    return lambda workspace: bytes_of(workspace, path, lambda old: old.partition(b"\n")[0] + b"\n")


def value(path: str, name: str, text: str) -> Callable[[ForkedWorkspace], None]:
    """Put a text into the fourth row."""

    def spoil(workspace: ForkedWorkspace) -> None:
        changed = rows(workspace, path)
        changed[3][name] = text
        write_rows(workspace, changed, path)

    return spoil


def removed(path: str) -> Callable[[ForkedWorkspace], None]:
    return lambda workspace: (workspace.folder / path).unlink()


Case = tuple[Callable[[ForkedWorkspace], None], tuple[str, ...]]
EVENTS_AT, USERS_AT, ACCOUNTS_AT = "heatsync.yml:17:14:", "heatsync.yml:20:12:", "heatsync.yml:23:12:"

TABLES: dict[str, Case] = {
    "no events": (removed(EVENTS), (EVENTS_AT, f"{EVENTS} does not exist")),
    "no users": (removed(USERS), (USERS_AT, f"{USERS} does not exist")),
    "no such table": (
        lambda workspace: workspace.replace("heatsync.yml", EVENTS, "eventz"),
        (EVENTS_AT, "no table `eventz`", ".parquet"),
    ),
    "empty events": (
        lambda workspace: events(workspace, lambda t: t.slice(0, 0)),
        (EVENTS_AT, f"{EVENTS} has no event at all", "check the export"),
    ),
    "empty users": (header_only(USERS), (USERS_AT, USERS, "check the export")),
    "empty accounts": (header_only(ACCOUNTS), (ACCOUNTS_AT, ACCOUNTS, "check the export")),
    "empty file": (lambda workspace: workspace.write(USERS, ""), (USERS_AT, f"{USERS} is empty", "expected")),
    "numbers for times": (
        column("timestamp", lambda t: pa.array([1.5] * len(t))),
        (EVENTS_AT, EVENTS, "column `timestamp`", "expected timestamps, found float64", "export it as"),
    ),
    "text for times": (
        column("timestamp", lambda t: pa.array(["2026-10-30T10:00:00Z", "soon"] + [""] * (len(t) - 2))),
        (EVENTS_AT, EVENTS, "row 2, column `timestamp`", "found `soon`", "2026-01-31T12:00:00Z", "Fix"),
    ),
    "fractions for ids": (
        column("user_id", lambda t: pa.array([1.5] * len(t))),
        (EVENTS_AT, EVENTS, "column `user_id`", "found float64", "export the column as text"),
    ),
    "no event column": (
        lambda workspace: events(workspace, lambda t: t.drop_columns(["event"])),
        (EVENTS_AT, f"{EVENTS} has no column `event`", "columns: {event: THEIR_NAME}"),
    ),
    "no user_id": (without(USERS, "user_id"), (USERS_AT, f"{USERS} has no column `user_id`", "columns:")),
    "a renamed column": (
        lambda workspace: workspace.replace(
            "heatsync.yml", f"{USERS}", f"{USERS}\n    columns: {{email: e_mail}}"
        ),
        (USERS_AT, f"{USERS} has no column `e_mail`", "did you mean `email`?"),
    ),
    "no mapped column": (
        without(USERS, "role"),
        (f"{FIELDS}:7:25:", "the users table had no column `role`", "email"),
    ),
    "no day": (
        value(USERS, "created_at", "soon"),
        (USERS_AT, USERS, "row 4, column `created_at`", "found `soon`", "Fix the export"),
    ),
    "a user twice": (twice(USERS), (USERS_AT, USERS, "rows 1 and ", "`user_id`", "`u0000", "Keep one row")),
    "an account twice": (
        twice(ACCOUNTS),
        (ACCOUNTS_AT, ACCOUNTS, "rows 1 and ", "`account_id`", "`a00001`"),
    ),
    "cut Parquet": (
        lambda workspace: bytes_of(workspace, EVENTS, lambda old: old[:500]),
        (EVENTS_AT, f"{EVENTS} cannot be read", "write the file again"),
    ),
    "corrupt Parquet": (
        lambda workspace: bytes_of(workspace, EVENTS, lambda old: old[:200] + b"\xff" * 300 + old[500:]),
        (EVENTS_AT, f"{EVENTS} cannot be read", "write the file again"),
    ),
    "no Parquet": (
        lambda workspace: bytes_of(workspace, EVENTS, lambda _: b"PAR1, or what looks like it"),
        (EVENTS_AT, f"{EVENTS} cannot be read", "write the file again"),
    ),
    "a folder": (
        lambda workspace: (
            (workspace.folder / USERS)
            .rename(workspace.folder / "data/old.csv")
            .parent.joinpath("users.csv")
            .mkdir()
        ),
        (USERS_AT, USERS, "is a folder"),
    ),
    "Latin-1": (
        lambda workspace: bytes_of(
            workspace, USERS, lambda old: old.replace(b"viewer", "Präsident".encode("latin-1"), 1)
        ),
        (USERS_AT, USERS, "UTF-8"),
    ),
    "a column too many": (
        added(USERS, "u9,nine@example.com,a00001,2026-01-01T00:00:00Z,Nine,viewer,more,and more\n"),
        (USERS_AT, f"{USERS} cannot be read", "30", "Fix the export"),
    ),
    "an open quote": (
        added(USERS, 'u9,"nine@example.com,a00001,2026-01-01T00:00:00Z,Nine,viewer\n'),
        (USERS_AT, f"{USERS} cannot be read", "quote", "Fix the export"),
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_an_invalid_table_is_named_and_nothing_is_sent(paper: ForkedWorkspace, case: str) -> None:
    spoil, sentence = TABLES[case]
    spoil(paper)
    assert_refused(paper.sync_with(), 2, *sentence)
    assert contacts(paper) == {}


def test_once_the_table_is_fixed_everything_arrives(live: ForkedWorkspace, small: ForkedWorkspace) -> None:
    for case in ("no users", "empty events", "no day", "cut Parquet"):
        TABLES[case][0](live)
        assert live.sync_with().code == 2
        for path in (EVENTS, USERS):
            (live.folder / path).write_bytes((small.folder / path).read_bytes())
    everybody = rows(live)
    assert live.sync_with().mapping("hubspot-contacts")["outcomes"]["delivered"] == len(everybody)
    assert contacts(live) == {user["email"]: user["role"] for user in everybody}


def test_events_of_the_future_and_without_a_zone_are_counted_and_mentioned(paper: ForkedWorkspace) -> None:
    future = pa.scalar(4_102_444_800_000_000, pa.int64()).cast(pa.timestamp("us"))

    def change(table: pa.Table) -> pa.Table:
        naive = pc.cast(table["timestamp"], pa.timestamp("us"))
        late = pa.array([future.as_py()] * 5, pa.timestamp("us"))
        stamps = pa.concat_arrays([late, *naive.slice(5).chunks])
        return table.set_column(3, "timestamp", stamps)

    events(paper, change)
    changed = rows(paper)
    for user in changed:
        user["created_at"] = user["created_at"].removesuffix("Z")
    write_rows(paper, changed)
    scored = paper.run("score", "--date", DAY)
    assert_refused(scored, 0, "5 events after_as_of", f"{EVENTS}: timestamps without a zone are read as UTC")
    assert_refused(scored, 0, f"{USERS}: timestamps without a zone", "set `time_zone:` in the source")


NAMES = (
    'O\'Brien "Bob", Jr.',
    "first line\nsecond line",
    "old\r\nMac",
    "😀 Zoë 漢字 👩‍👧",
    "=1+1",
    "<b>&amp;</b>",
    "back\\slash\\n",
    "tab\there",
    "null",
    "0123",
    "1e5",
    "true",
    "[1; {2}]",
    "a;b|c",
    "%s {0} ${HOME}",
    "'; DROP TABLE users; --",
    "عربى",
    "e\u0301 is not \u00e9",
)
EVERYWHERE = {
    "hubspot-contacts": "destination: hubspot\nobject: contacts\nmatch: {email: email}\nmode: upsert\n"
    "create_fields: true\nfields: {heatsync_name: user.name, heatsync_code: user.code, heatsync_number: user.number}",
    "intercom-contacts": "destination: intercom\nobject: contacts\nmatch: {external_id: user_id}\nmode: upsert\n"
    "create_fields: true\nfields: {heatsync_name: user.name, heatsync_code: user.code, heatsync_number: user.number}",
    "segment-users": "destination: segment\nobject: users\n"
    "fields: {heatsync_name: user.name, heatsync_code: user.code, heatsync_number: user.number}",
    "salesforce-contacts": "destination: salesforce\nobject: Contact\nmatch: {Email: email}\nmode: upsert\n"
    "fields: {Name__c: user.name, Code__c: user.code, Number__c: {from: user.number, as: text}, LastName: user.role}",
}


def test_odd_names_numbers_as_text_and_64_bit_ids_arrive_unchanged_in_all_four(live: ForkedWorkspace) -> None:
    for name, text in EVERYWHERE.items():
        live.write(f"mappings/{name}.yml", f"version: 1\nprofile: health\n{text}\n")
    length = {"type": "string", "length": 255}
    live.sandbox.seed(
        {"fields": {"salesforce": {"Contact": {f"{n}__c": length for n in ("Name", "Code", "Number")}}}}
    )
    people = rows(live)
    big = 9_007_199_254_740_993  # as a fraction it would be its even neighbour
    ids = {user["user_id"]: str(big + n) for n, user in enumerate(people)}
    for n, user in enumerate(people):
        user["user_id"] = ids[user["user_id"]]
        user |= {"name": NAMES[n % len(NAMES)], "code": f"{n:05}", "number": str(big + n)}
    write_rows(live, people)

    def numbered(table: pa.Table) -> pa.Table:
        known = [ids.get(user) for user in table["user_id"].to_pylist()]
        return table.set_column(
            0, "user_id", pa.array([None if i is None else int(i) for i in known], pa.int64())
        )

    events(live, numbered)
    synced = live.sync_with()
    assert synced.code == 0, synced.out
    state = live.sandbox.state()
    want = {u["email"]: (u["name"], u["code"], u["number"]) for u in people}
    by_id = {u["user_id"]: want[u["email"]] for u in people}
    ours = ("heatsync_name", "heatsync_code", "heatsync_number")

    def held(record: Any, names: tuple[str, ...] = ours) -> tuple[str, ...]:
        return tuple(str(record[name]) for name in names)

    hubspot, intercom = state["hubspot"]["contacts"], state["intercom"]["contacts"]
    salesforce = state["salesforce"]["Contact"]
    assert {c["properties"]["email"]: held(c["properties"]) for c in hubspot} == want
    assert {c["external_id"]: held(c["custom_attributes"]) for c in intercom} == by_id
    assert {key: held(traits) for key, traits in state["segment"]["users"].items()} == by_id
    assert {c["Email"]: held(c, ("Name__c", "Code__c", "Number__c")) for c in salesforce} == want
    live.sandbox.reset_stats()
    assert live.sync_with().code == 0
    assert calls(live.sandbox) == 0


def test_nan_infinity_and_words_are_rejected_one_by_one_and_arrive_once_fixed(live: ForkedWorkspace) -> None:
    live.write(
        FIELDS,
        MAPPING.replace("{", "{heatsync_number: {from: user.number, as: number}, ", 2).replace(
            "match: {heatsync_number: {from: user.number, as: number}, ", "match: {"
        ),
    )
    people = rows(live)
    bad = ["NaN", "inf", "-Infinity", "1e400", "a dozen"]
    for user, number in zip(people, [*bad, *["12.5"] * len(people)], strict=False):
        user["number"] = number
    write_rows(live, people)
    synced = live.sync_with()
    assert_refused(synced, 1)
    assert synced.mapping("hubspot-contacts")["outcomes"]["rejected"] == len(bad)
    found = failures(live)
    assert {code: group["count"] for code, group in found.items()} == {"not_a_number": 4, "bad_value": 1}
    (example,) = found["bad_value"]["examples"]
    assert (example["key"], example["field"], example["value"]) == (
        people[4]["user_id"],
        "heatsync_number",
        "a dozen",
    )
    assert "NaN and infinity" in found["not_a_number"]["cure"]
    assert len(contacts(live)) == len(people) - len(bad)
    for user in people:
        user["number"] = "12.5"
    write_rows(live, people)
    assert live.sync_with().mapping("hubspot-contacts")["outcomes"]["delivered"] == len(bad)
    assert set(contacts(live, "heatsync_number").values()) == {"12.5"}
    assert failures(live) == {}


def table(printed: str) -> dict[str, str]:
    """The only row of a table, by the names of its columns."""
    head, row = (line for line in printed.splitlines() if line.startswith(("mapping ", "hubspot-contacts ")))
    names = re.split(r"  +", head.strip())
    return dict(zip(names, re.split(r"  +", row.strip()), strict=True))


def test_a_plan_and_a_run_list_the_records_they_do_not_send(live: ForkedWorkspace) -> None:
    live.write(FIELDS, MAPPING.replace("user.role", "{from: user.role, as: number}"))
    live.replace(
        "heatsync.yml", "token: ${HUBSPOT_TOKEN}", "token: ${HUBSPOT_TOKEN}\n    requests_per_day: 1000"
    )
    people = rows(live)
    for user in people[1:]:
        user["role"] = "4"
    people[0]["role"], people[1]["email"] = "a dozen", ""
    write_rows(live, people)
    strangers = (
        live.run("plan", "--date", END.isoformat(), "--json").mapping("hubspot-contacts")["skipped"] - 1
    )
    planned = table(live.run("plan", "--date", END.isoformat()).out)
    numbers = {
        name: planned[name] for name in ("create", "update", "same", "unmatched", "refused", "skipped")
    }
    assert numbers == {
        "create": "0",
        "update": str(len(people) - 2),
        "same": "0",
        "unmatched": "0",
        "refused": "1",
        "skipped": str(strangers + 1),
    }
    assert planned["of the day"].endswith("%")
    first = table(live.run("sync", "--date", END.isoformat(), "--yes").out)
    assert (first["sent"], first["rejected"], first["parked"]) == (str(len(people) - 2), "1", "0")
    second = table(live.run("sync", "--date", END.isoformat(), "--yes").out)
    assert (second["same"], second["sent"], second["parked"]) == (first["sent"], "0", str(strangers + 2))


def test_duplicate_and_missing_addresses_stop_only_their_own_records(live: ForkedWorkspace) -> None:
    people = rows(live)
    first, second, third = people[0], people[1], people[2]
    addresses = second["email"], third["email"]
    second["email"], third["email"] = " " + first["email"].upper(), ""
    write_rows(live, people)
    synced = live.sync_with()
    assert_refused(synced, 1)
    mapping = synced.mapping("hubspot-contacts")
    strangers = mapping["records"] - len(people)  # they have events, and no row with an address
    outcomes = mapping["outcomes"]
    assert (outcomes["delivered"], outcomes["rejected"]) == (len(people) - 3, 2)
    assert outcomes["skipped"] == strangers + 1
    twice = failures(live)["duplicate_key"]
    assert {example["key"]: example["answer"] for example in twice["examples"]} == {
        first["user_id"]: second["user_id"],
        second["user_id"]: first["user_id"],
    }
    second["email"], third["email"] = addresses
    write_rows(live, people)
    fixed = live.sync_with()
    assert (fixed.code, fixed.mapping("hubspot-contacts")["outcomes"]["delivered"]) == (0, 3)
    assert contacts(live) == {user["email"]: user["role"] for user in people}
