"""Every value that the demo leaves in the four destinations, one by one, and nothing beside them.

The records at the destinations are those of the demo's CRM, and some already hold something: the right values (spelled in
another way that is just as right, so that writing them again would show), values from long ago, or some of each.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from cli_workspace import END, CliWorkspace, CommandResult, create_workspace
from expected_fields import (
    IF_EMPTY,
    METRICS,
    SPECS,
    Demo,
    Fields,
    Record,
    Spec,
    held,
    otherwise,
    spell,
    stale,
)

from heatsync.sandbox.demo_data import crm
from heatsync.sandbox.server import running

MADE = {"hubspot-companies": {"heatsync_trend"}, "intercom-contacts": {"engagement_trend", "is_new"}}
"""Fields that are not there yet, and that `create_fields` has to make."""
TYPES = {
    "hubspot": {
        "bool": {"type": "bool", "fieldType": "booleancheckbox"},
        "date": {"type": "date"},
        "datetime": {"type": "datetime"},
        "float": {"type": "number"},
        "int": {"type": "number"},
        "list": {"type": "string"},
        "str": {"type": "string"},
    },
    "intercom": {
        "bool": {"type": "boolean"},
        "datetime": {"type": "date"},
        "float": {"type": "float"},
        "int": {"type": "float"},
        "list": {"type": "string"},
        "str": {"type": "string"},
    },
}


@dataclass(frozen=True, slots=True)
class Synced:
    """The sandbox before and after one sync, what had to become of it, and what the sync said."""

    workspace: CliWorkspace
    demo: Demo
    before: dict[str, Any]
    wanted: dict[str, Any]
    changed: dict[str, dict[str, set[str]]]
    """Mapping -> our key -> fields whose value at the destination was another one."""
    covered: dict[str, int]
    """Mapping -> how many values had to be right."""
    after: dict[str, Any]
    stats: dict[str, Any]
    answer: CommandResult

    def touched(self, vendor: str, object: str) -> set[str]:
        """Ids of the records that a mapping covers."""
        ids = set()
        for spec in SPECS.values():
            if (spec.vendor, spec.object) == (vendor, object):
                for hits in self.demo.found(spec, self.before[vendor][object]).values():
                    ids |= {name(hits[0])} if len(hits) == 1 else set()
        return ids


def name(record: Record) -> str:
    return str(record.get("id", record.get("Id")))


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synced]:
    with running(quotas=False) as sandbox:
        workspace = create_workspace(tmp_path_factory.mktemp("exact") / "w", sandbox, users=600, days=120)
        demo = Demo(workspace.folder, END)
        before = furnished(demo, crm.state(workspace.folder / "data"))
        sandbox.seed(before)
        before = sandbox.state()
        answer = workspace.sync("--yes")
        assert answer.code == 1, answer.err  # a company is there twice, and so is a contact
        wanted, changed, covered = becomes(demo, before)
        yield Synced(
            workspace, demo, before, wanted, changed, covered, sandbox.state(), sandbox.stats(), answer
        )


def kinds(demo: Demo, spec: Spec) -> dict[str, type]:
    """The type of every field of a mapping."""
    found: dict[str, type] = {}
    for key in demo.keys(spec):
        found |= {field: type(value) for field, value in spec.wants(demo, key).items() if value is not None}
    return found


def furnished(demo: Demo, state: dict[str, Any]) -> dict[str, Any]:
    """The CRM's state, with values in two of five records that are right already or wrong, or both."""
    for mapping, spec in SPECS.items():
        if spec.vendor == "segment":
            continue
        records = state[spec.vendor][spec.object]
        owner = {name(hits[0]): key for key, hits in demo.found(spec, records).items() if len(hits) == 1}
        types = {f: kind for f, kind in kinds(demo, spec).items() if f not in MADE.get(mapping, ())}
        if spec.vendor in TYPES:
            defined = state["fields"][spec.vendor][spec.object]
            for field, kind in types.items():
                defined[field] = dict(TYPES[spec.vendor][kind.__name__])
        for position, record in enumerate(records):
            key = owner.get(name(record))
            wants = spec.wants(demo, key) if key is not None else {}
            for number, (field, kind) in enumerate(types.items()):
                value = wants.get(field)
                if position % 5 == 0 or (position % 5 == 2 and number % 2):
                    if value is not None and not held(record).get(field):
                        held(record)[field] = otherwise(spec.vendor, value)
                elif position % 5 in (1, 2) and field not in IF_EMPTY:
                    held(record)[field] = stale(kind, spec.vendor, value)
    for user in list(demo.scored["user"])[::7]:
        state["segment"]["users"][user] = {"email": f"{user}@old.example", "engagement_level": "as it was"}
    for account in list(demo.scored["account"])[::7]:
        state["segment"]["groups"][account] = {"industry": "shipping", "engagement_trend": "as it was"}
    return state


def becomes(
    demo: Demo, before: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, set[str]]], dict[str, int]]:
    """The state that has to be afterwards, the fields that had to be written for that, and how many were covered."""
    state = deepcopy(before)
    changed: dict[str, dict[str, set[str]]] = {}
    covered = dict.fromkeys(SPECS, 0)
    for mapping, spec in SPECS.items():
        changed[mapping] = {}
        records = state[spec.vendor][spec.object]
        matched = demo.found(spec, [] if spec.vendor == "segment" else records)
        for key, hits in matched.items():
            if spec.vendor == "segment":
                if spec.entity == "account" and demo.scored["account"][key]["member"] is None:
                    continue
                fields = records.setdefault(key, {})
            elif len(hits) == 1:
                fields = held(hits[0])
            else:
                continue
            wants = spec.wants(demo, key)
            covered[mapping] += len(wants)
            written = {field for field, value in wants.items() if write(spec, fields, field, value)}
            if written:
                changed[mapping][key] = written
    return state, changed, covered


def write(spec: Spec, fields: Fields, field: str, value: Any) -> bool:
    """Bring one field to its value; whether that was necessary."""
    if field in IF_EMPTY and fields.get(field):
        return False
    if spec.vendor == "segment":  # cannot be read: everything that is not nothing goes
        if value is not None:
            fields[field] = spell("segment", value)
        return value is not None
    if spec.vendor == "salesforce" and value is False and field not in fields:
        return False  # a checkbox that is not ticked
    there = json.dumps(fields.get(field))
    if there in (json.dumps(spell(spec.vendor, value)), json.dumps(otherwise(spec.vendor, value))):
        return False
    if value is None:
        del fields[field]
    else:
        fields[field] = spell(spec.vendor, value)
    return True


def differences(have: Any, want: Any, where: str = "") -> list[str]:
    """Where two trees differ, 20 and 20.0 included."""
    if isinstance(have, dict) and isinstance(want, dict):
        found = []
        for key in have | want:
            found += differences(have.get(key), want.get(key), f"{where}/{key}")
        return found
    if isinstance(have, list) and isinstance(want, list) and len(have) == len(want):
        return [
            each
            for i, pair in enumerate(zip(have, want, strict=True))
            for each in differences(*pair, f"{where}/{i}")
        ]
    return [] if json.dumps(have) == json.dumps(want) else [f"{where}: {have!r}, and not {want!r}"]


def test_every_field_that_the_demo_maps_is_compared(synced: Synced) -> None:
    files = {path.stem: path for path in (synced.workspace.folder / "mappings").glob("*.yml")}
    assert set(files) == set(SPECS)
    for mapping, path in files.items():
        tree = yaml.safe_load(path.read_text("utf-8"))
        looked_at = set(kinds(synced.demo, SPECS[mapping]))
        assert set(tree["fields"]) <= looked_at
        metrics = len(METRICS) - (0 if SPECS[mapping].entity == "account" else 2)
        standard = metrics if tree.get("standard_traits") else 0
        assert len(looked_at) == len(tree["fields"]) + standard


@pytest.mark.parametrize("vendor", ["hubspot", "intercom", "segment", "salesforce"])
def test_every_record_holds_exactly_the_values_that_the_definitions_prescribe(
    synced: Synced, vendor: str
) -> None:
    for object, want in synced.wanted[vendor].items():
        if object != "members":
            assert differences(synced.after[vendor][object], want)[:10] == [], object
    counted = sum(n for mapping, n in synced.covered.items() if SPECS[mapping].vendor == vendor)
    assert counted >= {"hubspot": 8_000, "intercom": 6_000, "segment": 7_000, "salesforce": 800}[vendor]


def test_a_group_call_is_made_through_the_most_recently_seen_member(synced: Synced) -> None:
    accounts = synced.demo.scored["account"]
    members = {key: [row["member"]] for key, row in accounts.items() if row["member"] is not None}
    assert synced.after["segment"]["members"] == members
    assert 0 < len(members) < len(accounts)


def test_unmatched_and_ambiguous_records_stay_as_they_were(synced: Synced) -> None:
    left = 0
    for vendor, object in {(spec.vendor, spec.object) for spec in SPECS.values() if spec.match}:
        ours = synced.touched(vendor, object)
        before, after = (
            {name(r): r for r in state[vendor][object]} for state in (synced.before, synced.after)
        )
        assert set(before) == set(after)  # no record was created or deleted
        for id in set(before) - ours:
            assert after[id] == before[id]
            left += "as it was" in held(before[id]).values()
    assert left >= 1
    assert synced.after["salesforce"]["Contact"] == synced.before["salesforce"]["Contact"]
    for mapping in ("hubspot-companies", "intercom-contacts"):
        assert synced.answer.mapping(mapping)["ambiguous"] == 1


def test_a_value_that_a_person_wrote_survives_write_if_empty(synced: Synced) -> None:
    notes = {
        name(record): held(record)["csm_note"]
        for record in synced.before["hubspot"]["companies"]
        if held(record).get("csm_note", "").startswith("Renewal")
    }
    after = {name(record): held(record).get("csm_note") for record in synced.after["hubspot"]["companies"]}
    assert len(notes) > 5
    assert {id: after[id] for id in notes} == notes


def test_values_that_were_right_already_are_not_written(synced: Synced) -> None:
    run = synced.workspace.run("show", synced.answer.json["run"], "--show", "100000", "--json").json
    listed = {
        mapping["mapping"]: {change["key"]: set(change["fields"]) for change in mapping["changes"]}
        for mapping in run["mappings"]
    }
    for mapping, changes in synced.changed.items():
        assert differences(lists(listed.get(mapping, {})), lists(changes))[:10] == [], mapping
    written = {mapping: len(changes) for mapping, changes in synced.changed.items()}
    counted = {
        f"{vendor} {endpoint}": counts["records"]
        for vendor, stats in synced.stats.items()
        for endpoint, counts in stats["endpoints"].items()
    }
    companies = written["hubspot-companies"] + written["hubspot-companies-cooling"]
    assert counted["hubspot POST contacts/batch/update"] == written["hubspot-contacts"]
    assert counted["hubspot POST companies/batch/update"] == companies
    assert counted["intercom PUT contacts/{id}"] == written["intercom-contacts"]
    assert counted["intercom PUT companies/{id}"] == written["intercom-companies"]
    assert counted["salesforce PATCH composite/sobjects"] == written["salesforce-accounts"]
    assert counted["segment POST v1/batch"] == written["segment-users"] + written["segment-accounts"]
    # In these every field was right in a fifth of the records: they needed no write.
    for mapping in ("hubspot-contacts", "salesforce-accounts"):
        assert synced.answer.mapping(mapping)["planned"]["unchanged"] > 0


def lists(changes: dict[str, set[str]]) -> dict[str, list[str]]:
    return {key: sorted(fields) for key, fields in changes.items()}


def test_missing_fields_are_created_with_the_right_type(synced: Synced) -> None:
    assert "heatsync_trend" not in synced.before["fields"]["hubspot"]["companies"]
    assert synced.after["fields"]["hubspot"]["companies"]["heatsync_trend"]["type"] == "string"
    created = synced.after["fields"]["intercom"]["contacts"]
    types = {field: created[field]["type"] for field in ("engagement_trend", "is_new")}
    assert types == {"engagement_trend": "string", "is_new": "boolean"}


def test_missing_traits_clear_and_missing_columns_keep_the_current_value(synced: Synced) -> None:
    """A time of last activity that is gone is gone; without an answer to the survey, the old one stays."""
    cleared, kept = 0, 0
    after = {name(record): held(record) for record in synced.after["hubspot"]["companies"]}
    for key, hits in synced.demo.found(
        SPECS["hubspot-companies"], synced.before["hubspot"]["companies"]
    ).items():
        wants = SPECS["hubspot-companies"].wants(synced.demo, key)
        if len(hits) == 1:
            old, new = held(hits[0]), after[name(hits[0])]
            if "heatsync_level_since" in old and wants["heatsync_level_since"] is None:
                assert "heatsync_level_since" not in new
                cleared += 1
            if "heatsync_nps" in old and "heatsync_nps" not in wants:
                assert new["heatsync_nps"] == old["heatsync_nps"]
                kept += 1
    assert cleared > 0
    assert kept > 0
