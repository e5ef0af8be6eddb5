"""Answers of any shape: each is an outcome or an error with a message, and a bug of ours is neither."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from contract import Case
from fake_vendor import Reply, Request, Vendor, answering
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_proxy import forwarded
from test_contract import cases

from connectors import segment
from connectors.answers import Answer, as_number, is_token, moment_of, read_answer, retry_after
from connectors.destination import Destination, ReadableDestination
from connectors.errors import HeatsyncError
from connectors.hubspot import client as hubspot_client
from connectors.intercom import client as intercom_client
from connectors.salesforce import session as salesforce_session
from connectors.types import FieldType, JobEnded, JobState, Lookup, NewField, Outcome
from heatsync.sandbox.server import Running

ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    "",
    "x",
    "\x00é",
    [],
    {},
    [1],
    [None],
    [[]],
    [{}],
    {"a": 1},
]
"""What may stand in place of any part of an answer."""
STATUSES = (200, 201, 204, 302, 400, 401, 403, 404, 409, 410, 413, 422, 423, 429, 503)


def mutated(body: Any, chance: random.Random) -> Any:
    """The answer with something odd in the place of one of its parts, or of all of it."""
    if isinstance(body, dict) and body and chance.random() < 0.85:
        name = chance.choice(sorted(body))
        if chance.random() < 0.1:
            return {key: value for key, value in body.items() if key != name}
        return {**body, name: mutated(body[name], chance)}
    if isinstance(body, list) and body and chance.random() < 0.85:
        place = chance.randrange(len(body))
        return [*body[:place], mutated(body[place], chance), *body[place + 1 :]]
    return chance.choice(ODD)


@contextmanager
def spoiling(sandbox: Running) -> Iterator[tuple[Vendor, random.Random]]:
    """The sandbox with odd answers, and the generator that decides which ones."""
    chance = random.Random()

    def answer(request: Request) -> Reply:
        reply = forwarded(sandbox, request)
        if chance.random() < 0.3:
            return reply
        status = chance.choice(STATUSES) if chance.random() < 0.2 else reply.status
        try:
            return replace(reply, status=status, body=mutated(json.loads(reply.body), chance))
        except ValueError:  # a file
            return replace(reply, status=status, body=reply.body[: chance.randrange(len(reply.body) + 1)])

    with answering(answer) as vendor:
        yield vendor, chance


def use(destination: Destination, case: Case) -> Iterator[Outcome]:
    """Everything that a destination does. Only errors with a message may come of it."""
    lookups = [Lookup("u0", (case.match(0),)), Lookup("u1", (case.match(1),), case.id(1))]
    with suppress(HeatsyncError):
        assert destination.account().label
    with suppress(HeatsyncError):
        found = list(destination.find(case.object, lookups, {case.field: FieldType.INTEGER}))
        assert sorted(each.key for each in found) == ["u0", "u1"]
    if isinstance(destination, ReadableDestination):
        for ask in (
            destination.fields,
            destination.archived_fields,
            destination.fields_left,
            lambda name: destination.missing_permissions(name, True),
            lambda name: destination.create_fields(name, [NewField("new", FieldType.TEXT, "New")]),
        ):
            with suppress(HeatsyncError):
                ask(case.object)
    batch = case.batch(*(case.change(n, n, known=n < 2) for n in range(4)))
    for _ in range(4):
        with suppress(HeatsyncError):
            for each in destination.push(batch):
                if isinstance(each, JobState):
                    batch = replace(batch, job=each.text)
                elif isinstance(each, JobEnded):
                    batch = replace(batch, job=None)
                else:
                    batch = replace(batch, changes=tuple(c for c in batch.changes if c.key != each.key))
                    yield each


@pytest.mark.parametrize("seeds", [range(30), pytest.param(range(30, 200), marks=pytest.mark.long)], ids=len)
@pytest.mark.parametrize("case", cases(), ids=str)
def test_an_odd_answer_ends_in_an_outcome_or_in_an_error_with_a_message(
    case: Case, sandbox: Running, monkeypatch: pytest.MonkeyPatch, seeds: range
) -> None:
    monkeypatch.setattr("connectors.http.ATTEMPTS", 1)
    case.seed(sandbox, 2)
    with spoiling(sandbox) as (vendor, chance):
        for seed in seeds:
            chance.seed(seed)
            try:
                with case.opened(vendor.url) as destination:
                    outcomes = list(use(destination, case))
            except Exception as error:
                error.add_note(f"seed {seed}")
                raise
            assert len({each.key for each in outcomes}) == len(outcomes)
            assert {each.key for each in outcomes} <= {"u0", "u1", "u2", "u3"}


HEADERS = st.text(st.characters(max_codepoint=255), max_size=40) | st.sampled_from(
    [
        "²",
        "1" * 5000,
        "1e5",
        "-1",
        " ",
        "nan",
        "Wed, 21 Oct 0001 07:28:00 +1400",
        "Mon, 99 Foo 99999 25:61:00",
    ]
)
NAMES = (
    "retry-after",
    "date",
    "content-type",
    "link",
    "sforce-limit-info",
    "x-ratelimit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    *(
        f"x-hubspot-ratelimit-{name}"
        for name in ("max", "remaining", "daily", "daily-remaining", "interval-milliseconds")
    ),
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(NAMES), HEADERS), st.sampled_from(ODD), st.sampled_from(STATUSES))
def test_headers_of_any_content_are_read_or_ignored(headers: dict[str, str], body: Any, status: int) -> None:
    answer = Answer(status, headers, body)
    for wait in (
        retry_after,
        segment.wait,
        hubspot_client.wait,
        intercom_client.wait,
        salesforce_session.wait,
    ):
        seconds = wait(answer)
        assert seconds is None or seconds >= 0
    for quota in (hubspot_client.quota, intercom_client.quota, salesforce_session.quota):
        found = quota(answer)
        assert found is None or (found.calls is None or found.calls > 0)
    for text in headers.values():
        as_number(text), moment_of(text), is_token(text)


@given(st.binary(max_size=200) | st.sampled_from([b"[" * 100_000, b"9" * 10_000, b"NaN", b"\xff\xfe[\x00"]))
def test_a_body_of_any_bytes_is_read(content: bytes) -> None:
    body = read_answer(200, {"Content-Type": "application/json"}, content).body
    assert body is None or isinstance(body, str | int | float | bool | list | dict)


@pytest.mark.parametrize("bug", [AttributeError, TypeError, LookupError, KeyError, ValueError])
@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_bug_of_ours_is_not_taken_for_an_odd_answer(
    case: Case, bug: type[Exception], sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In what is called while an answer comes back, which is where an SDK fails on odd answers as well."""
    case.seed(sandbox, 2)

    def broken(*_: object) -> Answer:
        raise bug("ours")

    monkeypatch.setattr("connectors.sdk_transport.read_answer", broken)
    monkeypatch.setattr("connectors.hubspot.client.read_answer", broken)
    with case.opened(sandbox.url) as destination, pytest.raises(bug, match="ours"):
        list(destination.push(case.batch(*(case.change(n, n, known=True) for n in range(2)))))


@pytest.mark.parametrize("bug", [AttributeError, TypeError, LookupError])
@pytest.mark.parametrize("case", [case for case in cases() if case.readable], ids=str)
def test_a_bug_in_reading_values_surfaces_as_itself(
    case: Case, bug: type[Exception], sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.seed(sandbox, 2)

    def broken(*_: object) -> Any:
        raise bug("ours")

    monkeypatch.setattr(f"connectors.{case.vendor}.records.decode", broken)
    lookups = [Lookup("u1", (case.match(1),), case.id(1))]
    with case.opened(sandbox.url) as destination, pytest.raises(bug, match="ours"):
        list(destination.find(case.object, lookups, {case.field: FieldType.INTEGER}))
