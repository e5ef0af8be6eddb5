"""As many calls as the vendor's limits make necessary, by the sandbox's own count, and no more."""

import json
from collections.abc import Sequence
from itertools import count

import pytest
from fake_vendor import RecordingThrottle
from push_until_done import pushed

from connectors.registry import VENDORS
from connectors.types import Batch, Change, Kind, Match, Outcome, Status
from heatsync.sandbox.faults import Faults
from heatsync.sandbox.server import Running, running

SETTINGS = {
    "hubspot": {"token": "pat-4711"},
    "intercom": {"token": "tok-4711"},
    "segment": {"write_key": "key-4711"},
    "salesforce": {"session_id": "00D-4711", "instance_url": "https://acme.my.salesforce.com"},
}


def delivered(sandbox: Running, vendor: str, object: str, changes: Sequence[Change]) -> dict[str, Outcome]:
    """What becomes of changes that are cut into batches as the story cuts them."""
    watched = RecordingThrottle()
    settings = {**SETTINGS[vendor], "url": sandbox.url}
    destination = VENDORS[vendor].connect(settings, watched, watched.on_request)
    size = VENDORS[vendor].limits(settings).batch_size(len(changes))
    outcomes: dict[str, Outcome] = {}
    for start in range(0, len(changes), size):
        batch = Batch(f"b{start}", vendor, object, tuple(changes[start : start + size]))
        outcomes |= {each.key: each for each in pushed(destination, batch).outcomes}
    destination.close()
    return outcomes


def contacts(sandbox: Running, number: int) -> list[Change]:
    """So many contacts that HubSpot knows, each with another score from now on."""
    records = [{"id": str(n), "properties": {"email": f"u{n}@x.com"}} for n in range(number)]
    fields = {"hubspot": {"contacts": {"score": {"type": "number"}}}}
    sandbox.seed({"hubspot": {"contacts": records}, "fields": fields})
    return [Change(Kind.CHANGED, f"u{n}", (), {"score": n}, remote_id=str(n)) for n in range(number)]


@pytest.mark.parametrize(("kind", "more"), [("refused", 0), ("named", 2), ("unnamed", 14)])
def test_one_refused_record_of_ten_thousand_costs_few_calls_and_the_others_arrive(
    kind: str, more: int
) -> None:
    for seed in count():
        faults = Faults({kind: 1e-4}, seed)
        bad = [n for n in range(10_000) if faults.refuses("hubspot", "contacts", str(n))]
        if len(bad) == 1:
            break
    with running(quotas=False, faults=faults) as sandbox:
        changes = contacts(sandbox, 10_000)
        outcomes = delivered(sandbox, "hubspot", "contacts", changes)
        calls = sandbox.stats()["hubspot"]["calls"]
        state = sandbox.state()["hubspot"]["contacts"]
    refused = {key: each for key, each in outcomes.items() if each.status is not Status.DELIVERED}
    assert [*refused] == [f"u{bad[0]}"]
    assert refused[f"u{bad[0]}"].answer == "The sandbox refuses this record"
    assert {each["id"] for each in state if each["properties"].get("score") == each["id"]} == {
        str(n) for n in range(10_000) if n != bad[0]
    }
    print(f"{kind}: {calls - 100} more calls than 100")
    assert calls <= 100 + more


def test_hubspot_updates_take_a_call_per_hundred(sandbox: Running) -> None:
    changes = contacts(sandbox, 1_050)
    assert {each.status for each in delivered(sandbox, "hubspot", "contacts", changes).values()} == {
        Status.DELIVERED
    }
    assert sandbox.stats()["hubspot"]["calls"] == 11


def test_salesforce_updates_take_a_call_per_two_hundred(sandbox: Running) -> None:
    records = [{"Id": f"001{n:012}AAA", "Name": f"a{n}"} for n in range(1_050)]
    fields = {"salesforce": {"Account": {"Score__c": {"type": "double"}}}}
    sandbox.seed({"salesforce": {"Account": records}, "fields": fields})
    changes = [
        Change(Kind.CHANGED, f"a{n}", (), {"Score__c": n}, remote_id=f"001{n:012}AAA") for n in range(1_050)
    ]
    assert {each.status for each in delivered(sandbox, "salesforce", "Account", changes).values()} == {
        Status.DELIVERED
    }
    assert sandbox.stats()["salesforce"]["calls"] == 6


def test_salesforce_takes_ten_thousand_in_fifty_calls_and_more_in_a_file(sandbox: Running) -> None:
    """Create, upload, close, two polls, and the list of successes."""
    for number, calls in ((10_000, 50), (10_001, 6)):
        records = [{"Id": f"001{n:012}AAA", "Name": f"a{n}"} for n in range(number)]
        fields = {"salesforce": {"Account": {"Score__c": {"type": "double"}}}}
        sandbox.seed({"salesforce": {"Account": records}, "fields": fields})
        sandbox.reset_stats()
        changes = [
            Change(Kind.CHANGED, f"a{n}", (), {"Score__c": n}, remote_id=f"001{n:012}AAA")
            for n in range(number)
        ]
        outcomes = delivered(sandbox, "salesforce", "Account", changes)
        assert (len(outcomes), {each.status for each in outcomes.values()}) == (number, {Status.DELIVERED})
        assert sandbox.stats()["salesforce"]["calls"] == calls


def test_intercom_updates_take_a_call_each(sandbox: Running) -> None:
    records = [{"id": f"c{n}", "external_id": f"u{n}", "custom_attributes": {}} for n in range(60)]
    fields = {"intercom": {"contacts": {"score": {"type": "integer"}}}}
    sandbox.seed({"intercom": {"contacts": records}, "fields": fields})
    changes = [Change(Kind.CHANGED, f"u{n}", (), {"score": n}, remote_id=f"c{n}") for n in range(60)]
    assert {each.status for each in delivered(sandbox, "intercom", "contacts", changes).values()} == {
        Status.DELIVERED
    }
    assert sandbox.stats()["intercom"]["calls"] == 60


@pytest.mark.parametrize(("object", "leaving"), [("contacts", 22), ("companies", 20)])
def test_intercom_tags_a_thousand_in_a_call_per_fifty(object: str, leaving: int, sandbox: Running) -> None:
    sandbox.seed({"intercom": {object: [{"id": f"c{n}"} for n in range(1_000)]}})
    for on, calls in ((True, 20), (False, leaving)):
        changes = [
            Change(Kind.CHANGED, f"u{n}", (), {"tag:At risk": on}, remote_id=f"c{n}") for n in range(1_000)
        ]
        outcomes = delivered(sandbox, "intercom", object, changes)
        assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
        tagged = [each for each in sandbox.state()["intercom"][object] if each.get("tags") == ["At risk"]]
        assert len(tagged) == 1_000 * on
        # Whether contacts can be untagged together is seen once, by a look before and one after.
        assert sandbox.stats()["intercom"]["calls"] == calls
        sandbox.reset_stats()


def test_segment_takes_the_fewest_batches_of_500_kb(sandbox: Running) -> None:
    changes = [
        Change(Kind.CHANGED, f"u{n}", (Match("userId", f"u{n}"),), {"note": "x" * 900}) for n in range(6_000)
    ]
    sizes = [len(json.dumps({"type": "identify", "userId": c.key, "messageId": "heatsync-" + "0" * 40,
                             "traits": dict(c.fields)})) + 2 for c in changes]  # fmt: skip
    assert {each.status for each in delivered(sandbox, "segment", "users", changes).values()} == {
        Status.DELIVERED
    }
    assert sandbox.stats()["segment"]["calls"] == -(-sum(sizes) // 500_000)
