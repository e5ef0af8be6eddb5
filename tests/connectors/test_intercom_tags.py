"""Tags of Intercom's contacts and companies: few calls, and nothing believed that was not answered."""

from typing import Any

import pytest
from fake_vendor import RecordingThrottle, Reply, Request, answering
from intercom_calls import SCORE, change, find, lookup, push, refusal, seed, workspace
from openapi_proxy import KNOWN, faults

from connectors.errors import Unauthorized, Unavailable
from connectors.types import Batch, Change, FieldType, Kind, Outcome, Status
from heatsync.sandbox.server import Running

VIP, QUIET = "tag:VIP", "tag:Quiet ones"
IS = FieldType.BOOLEAN


def tags(sandbox: Running, object: str = "contacts") -> dict[str, list[str]]:
    """The tags of every record that has any, by id."""
    records = sandbox.state()["intercom"][object]
    return {each["id"]: sorted(each["tags"]) for each in records if each.get("tags")}


def test_many_contacts_are_tagged_in_one_call_and_untagged_in_another(sandbox: Running) -> None:
    seed(sandbox, [{"id": f"c{n}", "tags": ["vip"] if n < 20 else []} for n in range(40)])
    watched = RecordingThrottle()
    changes = [change(f"u{n}", {VIP: n >= 20}, id=f"c{n}") for n in range(40)]
    with workspace(sandbox.url, watched) as destination:
        outcomes = push(destination, *changes)
    assert set(outcomes.values()) == {Outcome(f"u{n}", Status.DELIVERED, f"c{n}") for n in range(40)}
    assert tags(sandbox) == {f"c{n}": ["vip"] for n in range(20, 40)}
    # One tags, one untags, and two read a contact before and after: whether untagging worked.
    assert watched.calls == 4


def test_companies_are_tagged_and_untagged_many_at_a_time(sandbox: Running) -> None:
    seed(
        sandbox,
        companies=[{"id": f"c{n}", "company_id": f"a{n}", "tags": ["VIP"] * (n < 5)} for n in range(10)],
    )
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        changes = [change(f"a{n}", {VIP: n >= 5, QUIET: True}, id=f"c{n}") for n in range(10)]
        outcomes = push(destination, *changes, object="companies")
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    assert tags(sandbox, "companies") == {
        f"c{n}": ["Quiet ones", "VIP"] if n >= 5 else ["Quiet ones"] for n in range(10)
    }
    assert watched.calls == 3


def test_attributes_are_written_beside_the_tags_and_only_where_they_differ(sandbox: Running) -> None:
    seed(sandbox, [{"id": f"c{n}"} for n in range(6)])
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        changes = [change(f"u{n}", {VIP: True} | ({SCORE: n} if n < 2 else {}), id=f"c{n}") for n in range(6)]
        outcomes = push(destination, *changes)
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    assert len(tags(sandbox)) == 6
    assert [each["custom_attributes"] for each in sandbox.state()["intercom"]["contacts"]] == [
        {SCORE: 0}, {SCORE: 1}, {}, {}, {}, {},
    ]  # fmt: skip
    assert watched.calls == 3


def test_a_created_record_is_tagged_as_well(sandbox: Running) -> None:
    seed(sandbox)
    with workspace(sandbox.url) as destination:
        (outcome,) = push(destination, change("u1", {VIP: True, SCORE: 5}, external_id="u1")).values()
    assert outcome.status is Status.DELIVERED
    assert tags(sandbox) == {outcome.remote_id: ["VIP"]}


def test_tagging_twice_changes_nothing(sandbox: Running) -> None:
    seed(sandbox, [{"id": "c1"}, {"id": "c2", "tags": ["VIP"]}])
    changes = [change("u1", {VIP: True}, id="c1"), change("u2", {VIP: False}, id="c2")]
    with workspace(sandbox.url) as destination:
        push(destination, *changes)
        once = sandbox.state()
        outcomes = push(destination, *changes)
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    assert sandbox.state() == once


def test_tags_are_read_regardless_of_case(sandbox: Running) -> None:
    """OpenAPI description 2.14: names are case insensitive, and a contact shows ten tags by their ids."""
    many = [f"other {n}" for n in range(11)]
    seed(
        sandbox,
        [
            {"id": "c1", "tags": ["vip"]},
            {"id": "c2", "tags": [*many, "quiet ONES"]},
            {"id": "c3", "tags": many},
            {"id": "c4"},
        ],
        [{"id": "d1", "company_id": "a1", "tags": [*many, "vip"]}, {"id": "d2", "company_id": "a2"}],
    )
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        wanted = (lookup(f"u{n}", id=f"c{n}") for n in range(1, 5))
        found = find(destination, *wanted, **{VIP: IS, QUIET: IS})
        # The search, the names of the tags, and all tags of the two contacts that have more than they show.
        assert watched.calls == 4
        assert {key: (each.values[VIP], each.values[QUIET]) for key, each in found.items()} == {
            "u1": (True, False),
            "u2": (False, True),
            "u3": (False, False),
            "u4": (False, False),
        }
        wanted = (lookup(f"a{n}", company_id=f"a{n}") for n in (1, 2))
        found = find(destination, *wanted, object="companies", **{VIP: IS, QUIET: IS})
        assert {key: each.values[VIP] for key, each in found.items()} == {"a1": True, "a2": False}
        assert watched.calls == 6


def test_a_record_without_tags_costs_no_further_call(sandbox: Running) -> None:
    seed(sandbox, [{"id": f"c{n}"} for n in range(150)])
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        found = find(destination, *(lookup(f"u{n}", id=f"c{n}") for n in range(150)), **{VIP: IS})
    assert {each.values[VIP] for each in found.values()} == {False}
    assert watched.calls == 1


@pytest.mark.parametrize("object", ["contacts", "companies"])
@pytest.mark.parametrize("on", [True, False])
def test_a_record_that_is_gone_does_not_prevent_tagging_the_others(
    object: str, on: bool, sandbox: Running
) -> None:
    """intercom-node issue 263 (2020): a record that does not exist makes it refuse the whole call, without naming it."""
    present = [{"id": f"c{n}", "tags": [] if on else ["VIP"]} for n in range(50) if n != 17]
    seed(sandbox, **{object: present})
    watched = RecordingThrottle()
    changes = [change(f"u{n}", {VIP: on, SCORE: 5} if n == 17 else {VIP: on}, id=f"c{n}") for n in range(50)]
    with workspace(sandbox.url, watched) as destination:
        outcomes = push(destination, *changes, object=object)
    assert {key for key, each in outcomes.items() if each.status is not Status.DELIVERED} == {"u17"}
    assert (outcomes["u17"].code, outcomes["u17"].partly_written) == ("not_found", False)
    assert len(tags(sandbox, object)) == (49 if on else 0)
    # Halves of halves, and a look at whom they leave; once somebody is looked at, untagged alone, and looked at again.
    assert watched.calls <= 17


def test_a_record_with_refused_attributes_keeps_its_tag_and_is_read_again(sandbox: Running) -> None:
    seed(sandbox, [{"id": "c1"}, {"id": "c2"}])
    with workspace(sandbox.url) as destination:
        outcomes = push(
            destination,
            change("u1", {VIP: True, SCORE: "many"}, id="c1"),
            change("u2", {VIP: True, SCORE: 5}, id="c2"),
        )
    assert (outcomes["u1"].code, outcomes["u1"].field, outcomes["u1"].partly_written) == (
        "bad_value",
        SCORE,
        True,
    )
    assert outcomes["u2"].status is Status.DELIVERED


def test_a_record_that_cannot_be_sent_is_not_tagged(sandbox: Running) -> None:
    seed(sandbox, [{"id": "c1"}])
    with workspace(sandbox.url) as destination:
        outcomes = push(destination, change("u1", {VIP: True, SCORE: "x" * 300}, id="c1"))
    assert outcomes["u1"].code == "too_long"
    assert tags(sandbox) == {}


def test_a_refused_tag_is_named_and_nothing_else_of_the_record_is_written(sandbox: Running) -> None:
    def answer(request: Request) -> Reply:
        people = [each["id"] for each in request.body.get("users", ())]
        if request.body["name"] == "VIP" and "c1" in people:
            return Reply(422, refusal("data_invalid", "not this one"))
        return Reply(200, {"type": "tag", "id": "7", "name": request.body["name"]})

    with answering(answer) as vendor, workspace(vendor.url) as destination:
        outcomes = push(
            destination,
            change("u1", {QUIET: True, VIP: True, SCORE: 5}, id="c1"),
            change("u2", {QUIET: True, VIP: True}, id="c2"),
        )
    assert (outcomes["u1"].code, outcomes["u1"].field, outcomes["u1"].partly_written) == (
        "refused",
        VIP,
        True,
    )
    assert outcomes["u2"].status is Status.DELIVERED
    assert {request.method for request in vendor.requests} == {"POST"}


class Elder:
    """An Intercom whose `POST /tags` does not untag contacts: it takes no notice, or refuses."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.tagged = {f"c{n}": {"VIP"} for n in range(4)}

    def answer(self, request: Request) -> Reply:
        tag = {"type": "tag", "id": "7", "name": "VIP"}
        path = request.path.strip("/").split("/")
        if request.path == "/tags":
            if request.method == "POST" and self.status == 400:
                return Reply(400, refusal("parameter_invalid", "invalid tag parameters"))
            return Reply(200, tag if request.method == "POST" else {"type": "list", "data": [tag]})
        if path[1] not in self.tagged:
            return Reply(404, refusal("not_found", "User Not Found"))
        if request.method == "GET":
            return Reply(200, {"type": "list", "data": [tag] if self.tagged[path[1]] else []})
        if not self.tagged[path[1]]:
            return Reply(404, refusal("not_found", "Resource Not Found"))
        self.tagged[path[1]].clear()
        return Reply(200, tag)


@pytest.mark.parametrize("status", [200, 400])
def test_contacts_are_untagged_one_by_one_where_one_call_cannot(status: int) -> None:
    """OpenAPI description 2.14: `POST /tags` untags companies; a contact has a call of its own."""
    elder = Elder(status)
    elder.tagged["c3"].clear()
    changes = [change(f"u{n}", {VIP: False}, id=f"c{n}") for n in range(5)]
    with answering(elder.answer) as vendor, workspace(vendor.url) as destination:
        outcomes = push(destination, *changes[:3])
        before = len(vendor.requests)
        outcomes |= push(destination, *changes[3:])
    assert [each.status for each in outcomes.values()] == [Status.DELIVERED] * 4 + [Status.REJECTED]
    assert outcomes["u4"].code == "not_found"
    assert not any(elder.tagged.values())
    assert {request.method for request in vendor.requests[before:]} == {"GET", "DELETE"}, "it is tried once"
    found = [fault for request in vendor.requests for fault in faults(request)[1]]
    assert [each for each in found if not KNOWN.fullmatch(each)] == []


def test_a_token_that_may_not_tag_is_unauthorized() -> None:
    reply = Reply(403, refusal("api_plan_restricted", "Active subscription needed"))
    with answering(lambda request: reply) as vendor, workspace(vendor.url) as destination:
        with pytest.raises(Unauthorized, match="Active subscription"):
            push(destination, change("u1", {VIP: True}, id="c1"))
        assert len(vendor.requests) == 1


def test_a_record_that_leaves_loses_its_tag_and_its_attribute(sandbox: Running) -> None:
    seed(sandbox, [{"id": "c1", "tags": ["VIP"], "custom_attributes": {SCORE: 5}}])
    left = Change(Kind.LEFT, "u1", (), {SCORE: None, VIP: False}, remote_id="c1")
    with workspace(sandbox.url) as destination:
        (outcome,) = push(destination, left).values()
    assert outcome.status is Status.DELIVERED
    state: dict[str, Any] = sandbox.state()["intercom"]["contacts"][0]
    assert (state.get("tags"), state["custom_attributes"]) == (None, {})


def test_all_are_untagged_although_someone_else_untagged_one() -> None:
    elder = Elder(200)
    elder.tagged["c3"].clear()
    with answering(elder.answer) as vendor, workspace(vendor.url) as destination:
        outcomes = push(destination, *(change(f"u{n}", {VIP: False}, id=f"c{n}") for n in range(4)))
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    assert not any(elder.tagged.values())


def test_two_equal_refusals_do_not_stand_for_the_other_records() -> None:
    def answer(request: Request) -> Reply:
        if {each["id"] for each in request.body.get("users", ())} & {"c0", "c1"}:
            return Reply(422, refusal("data_invalid", "not this one"))
        return Reply(200, {"type": "tag", "id": "7", "name": request.body["name"]})

    with answering(answer) as vendor, workspace(vendor.url) as destination:
        outcomes = push(destination, *(change(f"u{n}", {VIP: True}, id=f"c{n}") for n in range(8)))
    assert {key for key, each in outcomes.items() if each.status is Status.REJECTED} == {"u0", "u1"}


def test_a_tag_that_is_refused_for_every_record_takes_few_calls() -> None:
    reply = Reply(400, refusal("parameter_invalid", "tag name is too long"))
    with answering(lambda _: reply) as vendor, workspace(vendor.url) as destination:
        outcomes = push(destination, *(change(f"u{n}", {VIP: True}, id=f"c{n}") for n in range(50)))
    assert {each.status for each in outcomes.values()} == {Status.REJECTED}
    assert len(vendor.requests) == 7


def test_created_records_keep_their_outcomes_when_the_next_call_fails() -> None:
    def answer(request: Request) -> Reply:
        if request.path == "/contacts" and request.body["external_id"] == "u3":
            return Reply(429, {}, {"retry-after": "300"})
        return Reply(200, {"type": "contact", "id": "c-" + request.body.get("external_id", "x")})

    changes = tuple(change(f"u{n}", {VIP: True}, external_id=f"u{n}") for n in range(4))
    earned = []
    with answering(answer) as vendor, workspace(vendor.url) as destination:
        found = destination.push(Batch("b", "intercom", "contacts", changes))
        for _ in range(3):
            earned.append(next(found))
        with pytest.raises(Unavailable):
            next(found)
    assert [(each.key, each.remote_id) for each in earned if isinstance(each, Outcome)] == [
        ("u0", "c-u0"), ("u1", "c-u1"), ("u2", "c-u2"),
    ]  # fmt: skip


def test_a_merged_contact_is_written_and_tagged_as_the_remaining_one(sandbox: Running) -> None:
    """OpenAPI description 2.14: 410 contact_merged, with the survivor in the Link header; a call that tags follows nobody."""
    gone = [{"id": f"c{n}", "merged_into": "c9"} for n in (1, 2)]
    seed(sandbox, [*gone, {"id": "c3"}, {"id": "c9", "tags": ["Quiet ones"]}])
    with workspace(sandbox.url) as destination:
        outcomes = push(
            destination,
            change("u1", {VIP: True, QUIET: False, SCORE: 5}, id="c1"),
            change("u3", {VIP: True}, id="c3"),
            change("u4", {VIP: True, SCORE: 5}, id="c4"),
        )
        left = push(destination, Change(Kind.LEFT, "u2", (), {VIP: False, SCORE: None}, remote_id="c2"))
    assert outcomes["u1"] == Outcome("u1", Status.DELIVERED, "c9")
    assert outcomes["u3"].status is Status.DELIVERED
    assert (outcomes["u4"].status, outcomes["u4"].code) == (Status.REJECTED, "not_found")
    assert left["u2"] == Outcome("u2", Status.DELIVERED, "c9")
    assert tags(sandbox) == {"c3": ["VIP"]}
    (survivor,) = [each for each in sandbox.state()["intercom"]["contacts"] if each["id"] == "c9"]
    assert survivor["custom_attributes"] == {}
