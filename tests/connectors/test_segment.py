import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import contract
import pytest
from contract import Case
from fake_vendor import HANG_UP, RecordingThrottle, Reply, Request, answering
from hypothesis import given
from hypothesis import strategies as st

from connectors import segment
from connectors.destination import ReadableDestination
from connectors.errors import ConfigurationError, Misunderstood, Unauthorized, Unavailable
from connectors.http import ATTEMPTS
from connectors.segment import Segment
from connectors.types import (
    Account,
    Batch,
    Change,
    Entity,
    FieldType,
    Found,
    Kind,
    Lookup,
    Match,
    Outcome,
    Status,
    Value,
)
from connectors.values import encode_json
from heatsync.sandbox.server import Running

KEY = "wk-4711-secret"
TAKEN = Reply(200, {"success": True})


@contextmanager
def source(url: str, watched: RecordingThrottle | None = None, **settings: str) -> Iterator[Segment]:
    watched = watched or RecordingThrottle()
    destination = Segment({"write_key": KEY, "url": url, **settings}, watched, watched.on_request)
    yield destination
    destination.close()


def user(key: str, fields: Mapping[str, Value], version: int = 0) -> Change:
    return Change(Kind.CHANGED, key, (Match("userId", key),), fields, version=version)


def account(key: str, fields: Mapping[str, Value], via: str | None = None) -> Change:
    return Change(Kind.CHANGED, key, (Match("groupId", key),), fields, via=via)


def push(destination: Segment, *changes: Change, object: str = "users") -> dict[str, Outcome]:
    outcomes = list(destination.push(Batch("b1", "segment", object, changes)))
    assert sorted(each.key for each in outcomes) == sorted(each.key for each in changes)
    return {each.key: each for each in outcomes}


def test_users_are_identified_by_their_id(sandbox: Running) -> None:
    moment = datetime(2026, 11, 22, 5, 30, tzinfo=UTC)
    fields: dict[str, Value] = {
        "Accoil_Health_Score": 71,
        "Accoil_Health_Segments": ("At risk", "New"),
        "Accoil_Health_LastActive": moment,
        "since": date(2026, 2, 1),
        "share": 66.5,
        "paying": True,
        "note": 'Zoë "Z" 🐝\nLtd, Co',
    }
    with source(sandbox.url) as destination:
        assert push(destination, user("u1", fields))["u1"].status is Status.DELIVERED
    assert sandbox.state()["segment"]["users"]["u1"] == {
        "Accoil_Health_Score": 71,
        "Accoil_Health_Segments": ["At risk", "New"],
        "Accoil_Health_LastActive": "2026-11-22T05:30:00Z",
        "since": "2026-02-01",
        "share": 66.5,
        "paying": True,
        "note": 'Zoë "Z" 🐝\nLtd, Co',
    }


def test_a_group_call_goes_through_a_member_or_else_through_the_account_itself(sandbox: Running) -> None:
    """segment-analytics-python 2.4.0, probed: a group call needs a user or anonymous id."""
    with source(sandbox.url) as destination:
        push(destination, account("a1", {"s": 1}, via="u7"), account("a2", {"s": 2}), object="accounts")
    state = sandbox.state()["segment"]
    assert state["groups"] == {"a1": {"s": 1}, "a2": {"s": 2}}
    assert state["members"] == {"a1": ["u7"], "a2": ["account:a2"]}


def test_null_clears_a_trait_and_an_omitted_trait_keeps_its_value(sandbox: Running) -> None:
    """Segment, group specification (2025-11): traits merge, and null is a value."""
    sandbox.seed({"segment": {"users": {"u1": {"email": "ada@example.com", "a": 1, "b": 2}}}})
    with source(sandbox.url) as destination:
        push(destination, user("u1", {"a": None}))
    assert sandbox.state()["segment"]["users"]["u1"] == {"email": "ada@example.com", "a": None, "b": 2}


def test_a_repeat_is_the_same_message_and_a_changed_value_is_another() -> None:
    """Segment (2025-11): messages are de-duplicated by messageId, over at least 24 h."""
    with answering(lambda request: TAKEN) as vendor, source(vendor.url) as destination:
        push(destination, user("u1", {"a": 1, "b": 2}))
        push(destination, user("u1", {"b": 2, "a": 1}))
        push(destination, user("u1", {"a": 1, "b": 3}))
        push(destination, user("u1", {"a": 1, "b": 2}, version=1))
        push(destination, account("u1", {"a": 1, "b": 2}), object="accounts")
    first, again, *others = (request.body["batch"][0]["messageId"] for request in vendor.requests)
    assert first == again
    assert len({first, *others}) == 4
    assert all(len(each) <= 100 for each in (first, *others))


def test_a_message_has_no_timestamp_and_only_changed_traits() -> None:
    """Segment (2025-11): a past timestamp makes a historical import."""
    with answering(lambda request: TAKEN) as vendor, source(vendor.url) as destination:
        push(destination, user("u1", {"a": 1}))
    (request,) = vendor.requests
    assert (request.method, request.path) == ("POST", "/v1/batch")
    (message,) = request.body["batch"]
    assert message.keys() == {"type", "userId", "traits", "messageId"}
    assert message["traits"] == {"a": 1}


def test_many_messages_take_as_few_calls_as_the_limits_allow(sandbox: Running) -> None:
    """Segment (2025-11): up to 2,500 messages in a batch; what is beyond is dropped behind a 200."""
    watched = RecordingThrottle()
    with source(sandbox.url, watched) as destination:
        push(destination, *(user(f"u{n}", {"a": n}) for n in range(5001)))
    assert watched.calls == watched.acquired == 3
    stats = sandbox.stats()["segment"]
    assert len(sandbox.state()["segment"]["users"]) == 5001
    assert stats["calls"] == 3


def test_batches_are_filled_up_to_500_000_bytes() -> None:
    watched = RecordingThrottle()
    with answering(lambda request: TAKEN) as vendor, source(vendor.url, watched) as destination:
        changes = [user(f"u{n}", {"a": "ü" * (n % 50) * 100}) for n in range(150)]
        outcomes = push(destination, *changes)
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    assert len(vendor.requests) > 2
    for request, following in zip(vendor.requests, vendor.requests[1:], strict=False):
        size = len(request.text.encode())
        assert size <= 500_000 < size + len(json.dumps(following.body["batch"][0])) + 512
    sent = [message["userId"] for request in vendor.requests for message in request.body["batch"]]
    assert sent == [each.key for each in changes]


def test_a_message_that_is_too_large_is_rejected_before_anything_is_sent(sandbox: Running) -> None:
    """Segment (2025-11): 32 KB a message."""
    watched = RecordingThrottle()
    with source(sandbox.url, watched) as destination:
        outcomes = push(destination, user("u1", {"a": "x" * 33_000}))
    assert (outcomes["u1"].status, outcomes["u1"].code) == (Status.REJECTED, "too_large")
    assert "32,768" in outcomes["u1"].cause
    assert watched.calls == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_never_sent_and_affect_no_other_record(sandbox: Running, bad: float) -> None:
    """segment-analytics-python 2.4.0, probed: NaN goes out as such, and the whole batch is answered 400."""
    with source(sandbox.url) as destination:
        outcomes = push(destination, user("u1", {"a": bad}), user("u2", {"a": 1}))
    assert (outcomes["u1"].code, outcomes["u1"].field) == ("bad_value", "a")
    assert outcomes["u2"].status is Status.DELIVERED
    assert sandbox.state()["segment"]["users"] == {"u2": {"a": 1}}


def test_a_record_without_its_id_is_rejected(sandbox: Running) -> None:
    with source(sandbox.url) as destination:
        outcomes = push(destination, Change(Kind.CHANGED, "u1", (), {"a": 1}))
    assert (outcomes["u1"].status, outcomes["u1"].code) == (Status.REJECTED, "bad_value")


def test_one_refused_message_is_found_by_halving_and_the_others_are_delivered() -> None:
    def answer(request: Request) -> Reply:
        return Reply(400, {"code": "invalid", "message": "bad item"}) if "poison" in request.text else TAKEN

    with answering(answer) as vendor, source(vendor.url) as destination:
        outcomes = push(destination, *(user(f"u{n}", {"a": "poison" if n == 5 else n}) for n in range(9)))
    assert [key for key, each in outcomes.items() if each.status is Status.REJECTED] == ["u5"]
    assert (outcomes["u5"].code, "bad item" in outcomes["u5"].answer) == ("refused", True)
    assert len(vendor.requests) <= 9


@pytest.mark.parametrize("header", ["Retry-After", "X-RateLimit-Reset"])
def test_a_rate_limit_pauses_all_calls_for_as_long_as_segment_says(header: str) -> None:
    """Segment (2025-11): Retry-After and X-RateLimit-Reset are both in seconds to wait."""
    answers = iter([Reply(429, {"message": "slow down"}, {header: "7"}), TAKEN])
    watched = RecordingThrottle()
    with answering(lambda request: next(answers)) as vendor, source(vendor.url, watched) as destination:
        assert push(destination, user("u1", {"a": 1}))["u1"].status is Status.DELIVERED
    assert watched.pauses == [7.0]
    assert watched.calls == len(vendor.requests) == 2
    assert vendor.requests[0].body["batch"] == vendor.requests[1].body["batch"]


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_unauthorized_and_not_shown(status: int) -> None:
    with (
        answering(lambda request: Reply(status, {"code": "x", "message": KEY})) as vendor,
        source(vendor.url) as destination,
        pytest.raises(Unauthorized) as caught,
    ):
        push(destination, user("u1", {"a": 1}))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "attempts"),
    [
        (Reply(200, "<html>hello</html>"), ATTEMPTS),
        (Reply(200, {"success": False, "message": f"no such source {KEY}"}), 1),
        (Reply(302, "", {"Location": "/elsewhere"}), 1),
        (Reply(304, ""), 1),
        (Reply(404, "not here"), 1),
    ],
)
def test_an_answer_without_a_result_is_not_a_success(reply: Reply, attempts: int) -> None:
    with (
        answering(lambda request: reply) as vendor,
        source(vendor.url) as destination,
        pytest.raises(Misunderstood) as caught,
    ):
        push(destination, user("u1", {"a": 1}))
    assert KEY not in str(caught.value) + caught.value.evidence
    assert len(vendor.requests) == attempts


def test_outcomes_are_kept_when_the_next_call_fails() -> None:
    def answer(request: Request) -> Reply:
        return Reply(503, "", {"Retry-After": "60"}) if "u2500" in request.text else TAKEN

    batch = Batch("b1", "segment", "users", tuple(user(f"u{n}", {"a": 1}) for n in range(2501)))
    earned: list[Outcome] = []
    with answering(answer) as vendor, source(vendor.url) as destination:
        with pytest.raises(Unavailable) as caught:
            earned.extend(destination.push(batch))
        assert caught.value.retry_after == 60.0
    assert [each.status for each in earned] == [Status.DELIVERED] * 2500


def test_after_a_lost_answer_the_same_message_is_sent_again() -> None:
    answers = iter([HANG_UP, TAKEN])
    with answering(lambda request: next(answers)) as vendor, source(vendor.url) as destination:
        assert push(destination, user("u1", {"a": 1}))["u1"].status is Status.DELIVERED
    assert vendor.requests[0].body["batch"] == vendor.requests[1].body["batch"]


def test_a_closed_port_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.http.ATTEMPTS", 1)
    with answering(lambda request: TAKEN) as vendor:
        pass
    with source(vendor.url) as destination, pytest.raises(Unavailable, match="cannot be reached"):
        push(destination, user("u1", {"a": 1}))


def test_the_log_contains_no_key_and_no_trait(sandbox: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), source(sandbox.url) as destination:
        push(destination, user("u1", {"email": "ada@example.com"}))
    assert KEY not in caplog.text
    assert "ada@example.com" not in caplog.text


def test_segment_cannot_be_read_and_find_makes_no_call(sandbox: Running) -> None:
    watched = RecordingThrottle()
    with source(sandbox.url, watched) as destination:
        lookups = [Lookup("u1", (Match("userId", "u1"),))]
        assert list(destination.find("users", lookups, {"a": FieldType.TEXT})) == [Found("u1", ())]
        assert not isinstance(destination, ReadableDestination)
        assert destination.account() == Account("source", hashlib.sha256(KEY.encode()).hexdigest()[:12])
    assert watched.calls == 0


def test_another_write_key_is_another_source() -> None:
    with source("http://127.0.0.1:1") as one, source("http://127.0.0.1:1", write_key="other") as other:
        assert one.account() != other.account()


def test_a_region_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'asia'.*us, eu"), source("", region="asia"):
        pass


def test_standard_trait_names_are_unchanged() -> None:
    assert (
        segment.name_trait("Accoil", "Big Health", "last_active", Entity.USER)
        == "Accoil_BigHealth_LastActive"
    )
    assert segment.name_trait("Accoil", "Health", "score", Entity.ACCOUNT) == "Accoil_Health_Score"


def _python(program: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_sdk_is_loaded_by_the_first_message() -> None:
    _python("import connectors.segment, sys; assert not {'segment', 'requests'} & set(sys.modules)")


def test_a_forked_process_has_its_own_connections() -> None:
    _python(
        "import os\n"
        "from connectors import segment\n"
        "mine = segment._sdk()._session\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(int(segment._sdk()._session is mine))\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert segment._sdk()._session is mine\n"
    )


moments = st.datetimes(datetime(1000, 1, 1), timezones=st.just(UTC)).map(
    lambda each: each.replace(microsecond=0)
)
BACK: dict[FieldType, tuple[st.SearchStrategy[Any], Any]] = {
    FieldType.TEXT: (st.text(), str),
    FieldType.INTEGER: (st.integers(), int),
    FieldType.NUMBER: (st.floats(allow_nan=False, allow_infinity=False), float),
    FieldType.BOOLEAN: (st.booleans(), bool),
    FieldType.DATE: (st.dates(), date.fromisoformat),
    FieldType.DATETIME: (moments, datetime.fromisoformat),
    FieldType.LIST: (st.lists(st.text()).map(tuple), tuple),
}


@pytest.mark.parametrize("type", FieldType)
@given(data=st.data())
def test_every_value_is_unchanged_by_encoding(type: FieldType, data: st.DataObject) -> None:
    values, back = BACK[type]
    value = data.draw(values)
    assert back(json.loads(json.dumps(encode_json(value)))) == value


# What every destination promises

USERS = Case(
    "segment",
    "users",
    {"write_key": contract.SECRET},
    records=lambda n: {},
    definitions={},
    match=lambda n: Match("userId", f"u{n}"),
    id=lambda n: None,
    read=lambda state, n: state["segment"]["users"][f"u{n}"]["score"],
    field="score",
    bad="x" * 40_000,
)
ACCOUNTS = Case(
    "segment",
    "accounts",
    {"write_key": contract.SECRET},
    records=lambda n: {},
    definitions={},
    match=lambda n: Match("groupId", f"u{n}"),
    id=lambda n: None,
    read=lambda state, n: state["segment"]["groups"][f"u{n}"]["score"],
    field="score",
    bad="x" * 40_000,
)
CONTRACT = (USERS, ACCOUNTS)


def test_segment_accepts_any_write_key(sandbox: Running) -> None:
    """Segment (2025-11): a bad write key is dropped silently behind a 200."""
    with USERS.opened(sandbox.url, write_key="refused") as destination:
        outcomes = contract.push(destination, USERS.batch(USERS.change(0, 1)))
    assert outcomes["u0"].status is Status.DELIVERED
    assert sandbox.state()["segment"]["users"] == {}
