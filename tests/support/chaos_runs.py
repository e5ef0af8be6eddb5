"""Syncs while things go wrong: generated days, each synced until nothing is due, and what is then true.

Time does not pass by itself: every wait moves the clock.
"""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sync_stage import DAY, HEATSYNC, Stage, environment
from write_journal import WRITES, Journal, Written

from connectors.rate_limit import SlotRequest, Slots
from heatsync.sandbox import server
from heatsync.sandbox.faults import Faults
from heatsync.sandbox.server import Running
from heatsync.sync import run as sync_run
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import Context


@dataclass(frozen=True)
class Case:
    """A mapping, and where its values are seen: `field` of the records that `shown` lists by our key."""

    name: str
    text: str
    vendor: str
    object: str
    entity: str
    field: str

    def seen(self, state: Mapping[str, Any]) -> dict[str, list[tuple[set[str], Any]]]:
        """By our key: for each record the names it may have at the destination, and its value."""
        found: dict[str, list[tuple[set[str], Any]]] = {}
        records = state[self.vendor][{"users": "users", "accounts": "groups"}.get(self.object, self.object)]
        if self.vendor == "segment":
            return {key: [({key}, traits.get(self.field))] for key, traits in records.items()}
        for each in records:
            values = each.get("properties") or {**each, **each.get("custom_attributes", {})}
            id = str(each.get("id") or each.get("Id"))
            known = [values.get(n) for n in ("email", "domain", "external_id", "company_id", "Key__c")]
            key = next(str(value) for value in known if value).partition("@")[0].partition(".com")[0]
            names = {id, *(str(value) for value in known if value)}
            found.setdefault(key, []).append((names, values.get(self.field)))
        return found


CASES = [
    Case(
        "hs-contacts",
        "destination: hubspot\nobject: contacts\nmatch: {email: email}\nmode: upsert\nfields: {role: {from: user.role, when_null: clear}}\n",
        "hubspot",
        "contacts",
        "user",
        "role",
    ),
    Case(
        "hs-companies",
        "destination: hubspot\nobject: companies\nmatch: {domain: account.domain}\nmode: upsert\n"
        "fields: {plan: {from: account.plan, when_null: clear}}\n",
        "hubspot",
        "companies",
        "account",
        "plan",
    ),
    Case(
        "ic-contacts",
        "destination: intercom\nobject: contacts\nmatch: [{external_id: user_id}, {email: email}]\nmode: upsert\n"
        "fields: {tier: {from: user.role, when_null: clear}}\n",
        "intercom",
        "contacts",
        "user",
        "tier",
    ),
    Case(
        "ic-companies",
        "destination: intercom\nobject: companies\nmatch: {company_id: account_id}\nmode: upsert\n"
        "fields: {grade: {from: account.plan, when_null: clear}}\n",
        "intercom",
        "companies",
        "account",
        "grade",
    ),
    Case(
        "sf-accounts",
        "destination: salesforce\nobject: Account\nmatch: {Key__c: account_id}\nmode: upsert\n"
        "fields: {Plan__c: {from: account.plan, when_null: clear}, Name: account.domain}\n",
        "salesforce",
        "Account",
        "account",
        "Plan__c",
    ),
    Case(
        "sg-users",
        "destination: segment\nobject: users\nfields: {role: {from: user.role, when_null: clear}}\n",
        "segment",
        "users",
        "user",
        "role",
    ),
    Case(
        "sg-accounts",
        "destination: segment\nobject: accounts\nfields: {plan: {from: account.plan, when_null: clear}}\n",
        "segment",
        "accounts",
        "account",
        "plan",
    ),
]
FIELDS = {
    "hubspot": {"contacts": {"role": {"type": "string"}}, "companies": {"plan": {"type": "string"}}},
    "intercom": {"contacts": {"tier": {"type": "string"}}, "companies": {"grade": {"type": "string"}}},
    "salesforce": {
        "Account": {
            "Key__c": {"type": "string", "length": 64, "externalId": True, "unique": True},
            "Plan__c": {"type": "string", "length": 64},
        }
    },
}


FILES = HEATSYNC.replace(
    "requests_per_10s: 100000}\nguards", "requests_per_10s: 100000, bulk_above: 1}\nguards"
)
"""Two or more changes go to Salesforce in a file."""

PRESENT: Mapping[str, Any] = {
    "hubspot": {
        "contacts": [
            {"id": f"10{n}", "properties": {"email": f"u{n}@x.com", "role": "old"}} for n in (1, 4, 7)
        ],
        "companies": [{"id": f"20{n}", "properties": {"domain": f"a{n}.com", "plan": "old"}} for n in (1, 4)],
    },
    "intercom": {
        "contacts": [
            {
                "id": f"c{n}",
                "external_id": f"u{n}",
                "email": f"u{n}@x.com",
                "custom_attributes": {"tier": "old"},
            }
            for n in (1, 4, 7)
        ],
        "companies": [
            {"id": f"d{n}", "company_id": f"a{n}", "custom_attributes": {"grade": "old"}} for n in (1, 4)
        ],
    },
    "salesforce": {
        "Account": [
            {"Id": f"00100000000000{n}AAA", "Name": f"a{n}", "Key__c": f"a{n}", "Plan__c": "old"}
            for n in (1, 4)
        ]
    },
}
"""The records that exist before the first sync."""


class FreeQuotas:
    """A quota store without waits: only answers go wrong here."""

    ahead = 0.0

    def take_slots(self, request: SlotRequest) -> Slots:
        return Slots(0.0, 1, request.gap)

    def pause_calls(self, name: str, seconds: float) -> None: ...

    def paused_for(self, _name: str) -> float:
        return 0.0

    def set_gap(self, name: str, gap: float) -> None: ...


@dataclass
class FastClock:
    """A clock that every wait moves on."""

    passed: float = 0.0

    @contextmanager
    def hanging(self) -> Iterator[None]:
        real = time.time

        class NoSleep:
            sleep = staticmethod(lambda seconds: None)

        def rest(context: Context, seconds: float = 0.0) -> None:
            self.passed += seconds

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: real() + self.passed)
            patch.setattr("tenacity.nap.time", NoSleep)
            patch.setattr(Context, "wait", rest)
            yield


@dataclass(frozen=True)
class Scene:
    """What a run begins with: heatsync.yml, the records and fields of the destinations, and by vendor what a call
    writes."""

    heatsync: str = HEATSYNC
    present: Mapping[str, Any] = field(default_factory=lambda: PRESENT)
    fields: Mapping[str, Any] = field(default_factory=lambda: FIELDS)
    written: Mapping[str, Written] = field(default_factory=lambda: WRITES)


ALL_VENDORS = Scene()
IN_FILES = Scene(FILES)


@dataclass
class ChaosStage(Stage):
    """A stage under faults, with a clock of its own."""

    clock: FastClock = field(default_factory=FastClock)
    journal: Journal = field(default_factory=lambda: Journal(Scene().written))

    def context(self, token: str | None = None) -> Context:
        workspace = self.opened()
        environ = environment(workspace, self.sandbox.url, "t")
        return Context(workspace, quota_store=FreeQuotas(), environ=environ)

    def until_nothing_is_due(self, most: int = 80) -> int:
        """Sync, resume and wait until a sync has nothing to say to anybody; answers how many it took."""
        for turn in range(most):
            self.calls()
            with self.context() as context:
                for name in context.mappings:
                    context.ledger.resume(name)
                result = sync_run.sync(context, context.choose([]), DAY, Scope(), lambda plan: True)
                for one in result.results:
                    assert "with an unexpected error" not in str(one.error), one.error
                quiet = all(one.error is None for one in result.results)
            if quiet and self.calls() == 0:
                return turn
            # The next sync sometimes comes early, and sometimes after more than the hour that a vendor asks for.
            self.clock.passed += (5, 600, 5, 4000)[turn % 4]
        raise AssertionError(f"after {most} syncs there is still something due")


@contextmanager
def chaos_stage(folder: Path, faults: Faults, cases: list[Case], scene: Scene) -> Iterator[ChaosStage]:
    """A stage with these mappings, an empty sandbox, and these faults."""
    with server.running(quotas=False, faults=faults, clock=lambda: time.time()) as running:
        running.seed({**scene.present, "fields": scene.fields})
        stage = ChaosStage(folder, running, scene.heatsync, journal=Journal(scene.written))
        stage.journal.listen(running.sandbox)
        for case in cases:
            stage.mapping(case.name, case.text)
        with stage.clock.hanging():
            yield stage


def run_under_faults(
    folder: Path,
    faults: Faults,
    cases: list[Case],
    seed: int,
    days: int = 3,
    people: int = 12,
    scene: Scene = ALL_VENDORS,
) -> None:
    """Generated days under faults, and what is promised after each of them."""
    chance = random.Random(seed)
    with chaos_stage(folder, faults, cases, scene) as stage:
        roles: dict[str, str | None] = {}
        plans: dict[str, str | None] = {}
        for day in range(days):
            roles |= {
                f"u{n}": f"role {chance.randrange(9)}" if chance.random() < 0.9 else None
                for n in range(people)
                if chance.random() < 0.6
            }
            plans |= {
                f"a{n}": f"plan {chance.randrange(9)}" for n in range(people // 2) if chance.random() < 0.6
            }
            if not roles or not plans:
                continue
            stage.users(roles)
            stage.accounts(plans, member=dict.fromkeys(plans, "u1"))
            stage.until_nothing_is_due()
            check(
                stage,
                stage.sandbox,
                faults,
                cases,
                {"user": roles, "account": plans},
                f"seed {seed}, day {day}",
            )


TAGGED = {
    "contacts": Case(
        "ic-tags",
        "destination: intercom\nobject: contacts\nmatch: {external_id: user_id}\ntags: audiences\n"
        "fields: {tier: {from: user.role, when_null: clear}}\n",
        "intercom",
        "contacts",
        "user",
        "tier",
    ),
    "companies": Case(
        "ic-company-tags",
        "destination: intercom\nobject: companies\nmatch: {company_id: account_id}\ntags: audiences\n"
        "fields: {grade: {from: account.plan, when_null: clear}}\n",
        "intercom",
        "companies",
        "account",
        "grade",
    ),
}
SHIPPED = {"new": "New", "red_hot": "Red Hot", "ice_cold": "Ice Cold"}


def tagged(folder: Path, faults: Faults, object: str, seed: int, days: int, people: int) -> None:
    """Generated days on which people enter and leave audiences, and the tags of each record after each day."""
    chance = random.Random(seed)
    case = TAGGED[object]
    letter, key = {"contacts": ("u", "external_id"), "companies": ("a", "company_id")}[object]
    with chaos_stage(folder, faults, [case], ALL_VENDORS) as stage:
        present = [{"id": f"x{n}", key: f"{letter}{n}", "tags": ["New"] * (n % 2)} for n in range(people)]
        stage.sandbox.seed({"intercom": {object: present}, "fields": FIELDS})
        values: dict[str, str | None] = {}
        members: dict[str, list[str]] = {}
        for day in range(days):
            for n in range(people):
                values[f"{letter}{n}"] = f"role {chance.randrange(3)}" if chance.random() < 0.9 else None
                members[f"{letter}{n}"] = [each for each in SHIPPED if chance.random() < 0.3]
            (stage.users if object == "contacts" else stage.accounts)(values, audiences=members)
            stage.until_nothing_is_due()
            for each in stage.sandbox.state()["intercom"][object]:
                if faults.refuses("intercom", object, each["id"]):
                    continue
                where = f"seed {seed}, day {day}: {each}, and should be in {members[each[key]]}"
                assert set(each.get("tags", ())) == {SHIPPED[name] for name in members[each[key]]}, where
                assert each["custom_attributes"].get(case.field) == values[each[key]], where
        assert not stage.journal.repeated, stage.journal.repeated[:5]


def check(
    stage: ChaosStage,
    sandbox: Running,
    faults: Faults,
    cases: list[Case],
    desired: dict[str, Any],
    where: str,
) -> None:
    """Every record is as desired and exists once, every rejection is listed, and nothing was done twice."""
    state = sandbox.state()
    with stage.context() as context:
        # The newest outcome of a record counts.
        listed = {(row.mapping, row.entity): row for row in reversed(context.ledger.failures())}
    for case in cases:
        seen = case.seen(state)
        others = {key: records for key, records in seen.items() if key not in desired[case.entity]}
        assert all([value for _, value in records] == ["old"] for records in others.values()), where
        for key, value in desired[case.entity].items():
            records = seen.get(key, [])
            text = f"{where}: {case.name} {key} is {records} and should be {value!r}"
            assert len(records) <= 1, text
            if value is None and not records:
                continue
            names = {key, f"{key}@x.com", f"{key}.com"} | (records[0][0] if records else set())
            refuses = any(faults.refuses(case.vendor, case.object, name) for name in names)
            if records and records[0][1] == value:
                # A record that no search showed is cleared unread, and may be rejected although it was empty.
                assert (case.name, key) not in listed or (value is None and refuses), (
                    f"{text}, but is listed: {listed.get((case.name, key))}"
                )
                continue
            assert refuses, text
            row = listed[case.name, key]
            assert (row.status, "The sandbox refuses" in row.answer) == ("rejected", True), f"{text}: {row}"
    assert not stage.journal.repeated, f"{where}: {stage.journal.repeated[:5]}"
