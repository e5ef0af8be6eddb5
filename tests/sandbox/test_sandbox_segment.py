"""Segment, raw and through its own SDK."""

import gzip
import json

import pytest
import requests
from segment.analytics.request import APIError, post


@pytest.fixture
def source(client):
    return client


def send(source, *items, key=None):
    body = {"batch": list(items), "writeKey": key or f"{source.account}:key"}
    return source.http.post(f"{source.url}/v1/batch", json=body, headers={"Authorization": ""}, timeout=10)


def identify(user="u1", message="m1", **traits):
    return {"type": "identify", "userId": user, "messageId": message, "traits": traits}


def group(id="a1", message="g1", user="u1", **traits):
    return {"type": "group", "groupId": id, "userId": user, "messageId": message, "traits": traits}


def test_identify_merges_traits_and_null_is_a_value(source):
    send(source, identify(message="1", plan="pro", score=5), identify(message="2", score=None, tags=["a"]))
    assert source.state("segment") == {
        "users": {"u1": {"plan": "pro", "score": None, "tags": ["a"]}},
        "groups": {},
    }


def test_group_keeps_traits_and_members(source):
    send(source, group(message="1", name="Acme"), group(message="2", user="u2", score=5))
    assert source.state("segment") == {
        "users": {},
        "groups": {"a1": {"name": "Acme", "score": 5}},
        "members": {"a1": ["u1", "u2"]},
    }


def test_a_message_is_accepted_once(source):
    send(source, identify(message="1", score=1))
    answer = send(source, identify(message="1", score=2), identify(message="2", user="u2", score=3))
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert source.state("segment")["users"] == {"u1": {"score": 1}, "u2": {"score": 3}}
    stats = source.stats("segment")
    assert (stats["calls"], stats["records"], stats["duplicates"], stats["dropped"]) == (2, 3, 1, 0)


def test_replacing_the_state_forgets_the_messages(source):
    send(source, identify(message="1", score=1))
    source.seed()
    send(source, identify(message="1", score=1))
    assert source.state("segment")["users"] == {"u1": {"score": 1}}


@pytest.mark.parametrize(
    "item",
    [
        "text",
        {},
        {"type": "identify", "traits": {}},
        {"type": "identify", "userId": "", "traits": {}},
        {"type": "identify", "userId": "u", "traits": [1]},
        {"type": "group", "userId": "u", "traits": {}},
        {"type": "group", "groupId": "g", "traits": {}},
        {"type": "nope", "userId": "u"},
        {"type": "identify", "userId": "u", "messageId": "m" * 101},
    ],
)
def test_an_unusable_item_is_dropped_silently(source, item):
    answer = send(source, item, identify(message="good"))
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert source.state("segment") == {"users": {"u1": {}}, "groups": {}}
    assert source.stats("segment")["dropped"] == 1


def test_an_item_without_a_message_id_is_accepted(source):
    item = identify(score=1)
    del item["messageId"]
    send(source, item)
    assert source.state("segment")["users"] == {"u1": {"score": 1}}


def test_a_refused_write_key_is_answered_like_a_valid_one(source):
    answer = send(source, identify(score=1), key=f"{source.account}:refused")
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert source.state("segment")["users"] == {}
    assert source.stats("segment")["dropped"] == 1


def test_items_after_the_first_2500_are_dropped(source):
    send(source, *(identify(user=f"u{i}", message=f"m{i}") for i in range(2501)))
    assert len(source.state("segment")["users"]) == 2500
    assert source.stats("segment")["dropped"] == 1


def test_a_request_that_is_too_large_is_refused(source):
    items = [identify(user=f"u{i}", message=f"m{i}", note="x" * 20_000) for i in range(26)]
    answer = send(source, *items)
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_request"
    assert source.state("segment")["users"] == {}
    assert send(source, *items[:24]).status_code == 200


def test_an_item_that_is_too_large_refuses_the_request(source):
    assert send(source, identify(note="x" * 33_000)).status_code == 400
    assert send(source, identify(note="x" * 32_000)).status_code == 200


@pytest.mark.parametrize("body", [b"{", b'{"batch": [{"traits": {"x": NaN}}]}', b"[]", b'{"batch": 1}'])
def test_what_is_not_json_is_refused(source, body):
    headers = {"Content-Type": "application/json", "Authorization": "Basic a2V5Og=="}
    answer = source.http.post(f"{source.url}/v1/batch", data=body, headers=headers, timeout=10)
    assert answer.status_code == 400


def test_a_body_may_be_compressed(source):
    body = json.dumps({"batch": [identify(score=1)], "writeKey": f"{source.account}:key"}).encode()
    headers = {"Content-Encoding": "gzip", "Authorization": ""}
    for data, status in ((gzip.compress(body), 200), (b"not packed", 400)):
        answer = source.http.post(f"{source.url}/v1/batch", data=data, headers=headers, timeout=10)
        assert answer.status_code == status


@pytest.mark.parametrize("packed", [False, True])
def test_the_sdk_works_with_the_sandbox(source, packed, monkeypatch):
    # The SDK keeps one session for the whole process, which our connector hooks into.
    monkeypatch.setattr("segment.analytics.request._session", requests.Session())
    key = f"{source.account}:key"
    answer = post(key, host=source.url, gzip=packed, batch=[identify(score=1), group(name="Acme")])
    assert answer.status_code == 200
    assert source.state("segment")["users"] == {"u1": {"score": 1}}
    with pytest.raises(APIError) as refused:
        post(key, host=source.url, gzip=packed, batch=[identify(note="x" * 40_000)])
    assert (refused.value.status, refused.value.code) == (400, "invalid_request")
