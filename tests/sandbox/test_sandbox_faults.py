"""Faults are the ones that were asked for, depend on the seed, and look like those of the vendor."""

import re

import pytest
import requests

from heatsync.cli.commands import app
from heatsync.sandbox.faults import ALL, Faults, kinds, parse
from heatsync.sandbox.server import running

CONTACTS = {
    "hubspot": {"contacts": [{"id": str(n), "properties": {"email": f"u{n}@x.com"}} for n in range(10)]},
    "fields": {"hubspot": {"contacts": {"score": {"type": "number"}}}},
}
UPDATE = "/crm/objects/2026-09/contacts/batch/update"
BEARER = {"Authorization": "Bearer t"}


def update(url: str, *ids: int) -> requests.Response:
    inputs = [{"id": str(n), "properties": {"score": "1"}, "objectWriteTraceId": f"t{n}"} for n in ids]
    return requests.post(url + UPDATE, json={"inputs": inputs}, headers=BEARER, timeout=10)


def statuses(spec: str, calls: int = 40) -> list[int]:
    """The statuses of this many calls to HubSpot; 0 for a call without an answer."""
    found = []
    with running(quotas=False, faults=spec, state=CONTACTS) as sandbox:
        for _ in range(calls):
            try:
                found.append(update(sandbox.url, 1).status_code)
            except requests.ConnectionError:
                found.append(0)
    return found


def test_a_specification_of_faults_is_read() -> None:
    faults = parse("server=0.1, lost=0.02,seed=7")
    assert (faults.rates, faults.seed) == ({"server": 0.1, "lost": 0.02}, 7)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sever=0.1", "There is no fault 'sever'. Faults: server, html,"),
        ("server", "server needs a share between 0 and 1, as in server=0.05."),
        ("server=2", "server needs a share between 0 and 1"),
        ("server=nan", "server needs a share between 0 and 1"),
        ("seed=x", "seed needs a whole number, as in seed=7."),
        ("server=0.6,lost=0.6", "add up to 1.2, and cannot be more than 1"),
    ],
)
def test_an_invalid_specification_of_faults_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(spec)


def test_the_help_names_every_kind_of_fault() -> None:
    from typer.testing import CliRunner

    output = CliRunner().invoke(app, ["sandbox", "--help"]).output
    assert all(f"  {name} " in output for name in (*kinds(), ALL))


def test_the_same_seed_strikes_the_same_calls_and_another_seed_other_calls() -> None:
    first, again, other = (statuses(f"server=0.3,cut=0.2,seed={seed}") for seed in (1, 1, 2))
    assert first == again != other
    assert {0, 200} < set(first) <= {0, 200, 500, 502, 503}


@pytest.mark.parametrize(
    ("kind", "done"), [("cut", False), ("lost", True), ("garbled", True), ("noop", False)]
)
def test_a_call_without_a_good_answer_may_have_taken_effect(kind: str, done: bool) -> None:
    with running(quotas=False, faults=f"{kind}=1", state=CONTACTS) as sandbox:
        if kind in ("cut", "lost"):
            with pytest.raises(requests.ConnectionError):
                update(sandbox.url, 3)
        elif kind == "garbled":
            with pytest.raises(requests.JSONDecodeError):
                update(sandbox.url, 3).json()
        else:
            assert update(sandbox.url, 3).json() == {"status": "COMPLETE", "results": []}
        stored = sandbox.state()["hubspot"]["contacts"][3]["properties"].get("score")
    assert stored == ("1" if done else None)


def test_a_slow_answer_is_complete() -> None:
    with running(quotas=False, faults=Faults({"slow": 1.0}, slow=0.05), state=CONTACTS) as sandbox:
        answer = update(sandbox.url, 3)
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() >= 0.05


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        ("limit", 429, "TEN_SECONDLY_ROLLING"),
        ("quota", 429, "DAILY"),
        ("expired", 401, "EXPIRED_AUTHENTICATION"),
        ("locked", 423, "two seconds"),
        ("moving", 477, "another data center"),
    ],
)
def test_hubspot_refuses_in_its_own_words(kind: str, status: int, message: str) -> None:
    with running(faults=f"{kind}=1", state=CONTACTS) as sandbox:
        answer = update(sandbox.url, 3)
        # HubSpot's guide on limits, 2026: the headers come with every answer.
        assert answer.headers["X-HubSpot-RateLimit-Max"] == "190"
    assert (answer.status_code, message in answer.text) == (status, True)
    assert answer.headers.get("Retry-After") == ("60" if kind == "moving" else None)


@pytest.mark.parametrize(("kind", "status"), [("refused", 207), ("named", 400), ("unnamed", 400)])
def test_a_refused_record_is_refused_for_good(kind: str, status: int) -> None:
    faults = Faults({kind: 0.4}, seed=7)
    bad = [n for n in range(10) if faults.refuses("hubspot", "contacts", str(n))]
    assert 0 < len(bad) < 10
    with running(quotas=False, faults=faults, state=CONTACTS) as sandbox:
        for _ in range(2):
            answer = update(sandbox.url, *range(10))
            assert answer.status_code == status
            assert (f"t{bad[0]}" in answer.text) == (kind != "unnamed")
        good = [n for n in range(10) if n not in bad]
        assert update(sandbox.url, *good).status_code == 200


def test_salesforce_refuses_and_locks_single_records_and_expires_sessions() -> None:
    records = [{"attributes": {"type": "Account"}, "id": f"001{n:012}AAA", "Name": "new"} for n in range(20)]
    state = {"salesforce": {"Account": [{"Id": each["id"], "Name": "old"} for each in records]}}
    path = "/services/data/v64.0/composite/sobjects"
    with running(quotas=False, faults="refused=0.2,row=0.3,seed=3", state=state) as sandbox:
        answers = [
            requests.patch(
                sandbox.url + path, json={"allOrNone": False, "records": records}, headers=BEARER, timeout=10
            ).json()
            for _ in range(2)
        ]
        names = [each["Name"] for each in sandbox.state()["salesforce"]["Account"]]
    codes = [
        [each["errors"][0]["statusCode"] if each["errors"] else "" for each in answer] for answer in answers
    ]
    assert {*codes[0]} == {"", "FIELD_CUSTOM_VALIDATION_EXCEPTION", "UNABLE_TO_LOCK_ROW"}
    assert [c == "FIELD_CUSTOM_VALIDATION_EXCEPTION" for c in codes[0]] == [
        c == "FIELD_CUSTOM_VALIDATION_EXCEPTION" for c in codes[1]
    ]
    assert [c == "UNABLE_TO_LOCK_ROW" for c in codes[0]] != [c == "UNABLE_TO_LOCK_ROW" for c in codes[1]]
    assert [name == "new" for name in names] == ["" in pair for pair in zip(*codes, strict=True)]
    with running(quotas=False, faults="expired=1") as sandbox:
        answer = requests.get(sandbox.url + "/services/data/v64.0/limits", headers=BEARER, timeout=10)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")


def test_searches_do_not_show_a_new_record_for_a_while() -> None:
    query = {"filterGroups": [{"filters": [{"propertyName": "domain", "operator": "EQ", "value": "x.com"}]}]}
    now = [1_800_000_000.0]
    with running(quotas=False, faults="stale=1", clock=lambda: now[0]) as sandbox:
        url = sandbox.url + "/crm/objects/2026-09/companies"
        created = {"inputs": [{"properties": {"domain": "x.com"}, "associations": []}]}
        assert (
            requests.post(url + "/batch/create", json=created, headers=BEARER, timeout=10).status_code == 201
        )

        def shown() -> int:
            return len(
                requests.post(url + "/search", json=query, headers=BEARER, timeout=10).json()["results"]
            )

        assert shown() == 0
        now[0] += 29
        assert shown() == 0
        now[0] += 1
        assert shown() == 1
