"""What every destination promises alike: the tests, and a `Case` for each object of a vendor that they run for.

`test_contract` runs them for every vendor in the registry. What a vendor cannot keep is declared in its case, with the
reason.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fake_vendor import RecordingThrottle, Reply, Request, answering
from push_until_done import pushed

from connectors.destination import Destination, ReadableDestination, Vendor
from connectors.errors import HeatsyncError, Misunderstood, Unauthorized, Unavailable
from connectors.registry import VENDORS
from connectors.types import Batch, Change, FieldType, Kind, Lookup, Match, NewField, Outcome, Status, Value
from heatsync.sandbox.registry import SIMULATORS
from heatsync.sandbox.server import Running, running

SECRET = "sk-4711-very-secret"
PERSON = "ada.lovelace@example.com"


@dataclass(frozen=True)
class Case:
    """One object of one vendor, with records by number. `seed` creates the first ones."""

    vendor: str
    object: str
    settings: Mapping[str, str]
    """The settings of the destination; the credential is SECRET."""
    records: Callable[[int], Any]
    """A record in the shape of /_state."""
    definitions: Mapping[str, Any]
    """The fields of the object in the shape of /_state; empty for a vendor without a schema."""
    match: Callable[[int], Match]
    id: Callable[[int], str | None]
    read: Callable[[dict[str, Any], int], Any]
    """(state, number) -> the value of `field`."""
    field: str
    """A field for whole numbers."""
    bad: Value
    """A value that the vendor refuses for `field`."""
    new: Mapping[str, Value] = field(default_factory=dict)
    """Further fields that a new record needs."""
    way: str = ""
    """In the name of the test, where an object has several cases."""
    missing: str = "nowhere"
    """The name of a field that does not exist."""
    natural_key: bool = True
    """A repeated create finds the record by its key, and creates no second one."""
    logins: int = 0
    """Calls of a login before the first other call."""
    calls_for_three: int = 3
    """Calls for one change more than two calls can hold."""
    lookups_together: bool = True
    """Many records are looked up in one call."""
    login: tuple[str, Reply] | None = None
    """The path of a login, and a good answer to it."""

    @property
    def data(self) -> Vendor:
        return VENDORS[self.vendor]

    @property
    def readable(self) -> bool:
        return self.data.readable

    @property
    def creates_fields(self) -> bool:
        """Whether fields can be created without a further setting."""
        return self.readable and not self.data.create_fields_setting

    def answering(self, answer: Callable[[Request], Reply]) -> Callable[[Request], Reply]:
        """The same answers, except for a good answer to a login."""
        login = self.login
        return lambda request: login[1] if login and request.path.startswith(login[0]) else answer(request)

    def __str__(self) -> str:
        return f"{self.vendor} {self.object}{self.way}"

    @contextmanager
    def opened(
        self, url: str, watched: RecordingThrottle | None = None, **more: str
    ) -> Iterator[Destination]:
        watched = watched or RecordingThrottle()
        settings = {**self.settings, "url": url, **more}
        destination = VENDORS[self.vendor].connect(settings, watched, watched.on_request)
        yield destination
        close = getattr(destination, "close", None)
        if close:
            close()

    def seed(self, sandbox: Running, known: int) -> None:
        records = {self.object: [self.records(n) for n in range(known)]} if self.definitions else {}
        state: dict[str, Any] = {self.vendor: records}
        if self.definitions:
            state["fields"] = {self.vendor: {self.object: self.definitions}}
        sandbox.seed(state)

    def change(self, n: int, value: Value, known: bool = False) -> Change:
        id = self.id(n) if known else None
        fields = {self.field: value} if id else {**self.new, self.field: value}
        return Change(Kind.CHANGED, f"u{n}", (self.match(n),), fields, remote_id=id)

    def batch(self, *changes: Change) -> Batch:
        return Batch("b1", self.vendor, self.object, changes)


def found(records: list[dict[str, Any]], name: str, value: str) -> dict[str, Any]:
    return next(each for each in records if each.get(name) == value)


def parametrize(metafunc: pytest.Metafunc, cases: Sequence[Case]) -> None:
    """Run a promise for the cases that it is made for, by the name of its argument."""
    chosen = {
        "case": cases,
        "readable": [case for case in cases if case.readable],
        "unreadable": [case for case in cases if not case.readable],
        "creating": [case for case in cases if case.creates_fields],
    }
    for name, found in chosen.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, found, ids=str)


def push(destination: Destination, batch: Batch) -> dict[str, Outcome]:
    outcomes = pushed(destination, batch).outcomes
    assert sorted(each.key for each in outcomes) == sorted(each.key for each in batch.changes)
    return {each.key: each for each in outcomes}


def test_every_change_is_answered_exactly_once_and_delivered(case: Case, sandbox: Running) -> None:
    case.seed(sandbox, 3)
    changes = [case.change(n, 10 + n, known=n < 3) for n in range(6)]
    with case.opened(sandbox.url) as destination:
        outcomes = push(destination, case.batch(*changes))
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    state = sandbox.state()
    assert [case.read(state, n) for n in range(6)] == [10, 11, 12, 13, 14, 15]
    if VENDORS[case.vendor].readable:
        assert [outcomes[f"u{n}"].remote_id for n in range(3)] == [case.id(n) for n in range(3)]
        assert all(each.remote_id for each in outcomes.values())


def test_pushing_twice_changes_nothing(case: Case, sandbox: Running) -> None:
    case.seed(sandbox, 2)
    changes = [case.change(n, 7, known=n < 2) for n in range(4)]
    with case.opened(sandbox.url) as destination:
        first = push(destination, case.batch(*changes))
        before = sandbox.state()
        if not case.natural_key:
            # A repeated create would create a second record. The ledger remembers the ids.
            changes = [
                Change(Kind.CHANGED, each.key, each.match, each.fields, remote_id=first[each.key].remote_id)
                for each in changes
            ]
        again = push(destination, case.batch(*changes))
    assert {each.status for each in again.values()} == {Status.DELIVERED}
    assert {key: each.remote_id for key, each in again.items()} == {
        key: each.remote_id for key, each in first.items()
    }
    assert sandbox.state() == before


def test_one_bad_record_does_not_sink_the_others(case: Case, sandbox: Running) -> None:
    case.seed(sandbox, 12)
    values: list[Value] = [case.bad if n in (3, 9, 14) else n for n in range(16)]
    changes = [case.change(n, value, known=n < 12) for n, value in enumerate(values)]
    with case.opened(sandbox.url) as destination:
        outcomes = push(destination, case.batch(*changes))
    rejected = {key: each for key, each in outcomes.items() if each.status is Status.REJECTED}
    assert sorted(rejected) == ["u14", "u3", "u9"]
    assert all(each.code in ("bad_value", "too_large") and each.cause for each in rejected.values())
    assert {each.status for key, each in outcomes.items() if key not in rejected} == {Status.DELIVERED}
    state = sandbox.state()
    assert [case.read(state, n) for n in (0, 8, 11, 12, 15)] == [0, 8, 11, 12, 15]


def test_a_missing_field_is_named_for_every_record_that_has_it(readable: Case, sandbox: Running) -> None:
    readable.seed(sandbox, 4)
    missing = readable.missing
    changes = [readable.change(n, n, known=True) for n in range(2)] + [
        Change(Kind.CHANGED, f"u{n}", (readable.match(n),), {missing: "x"}, remote_id=readable.id(n))
        for n in (2, 3)
    ]
    with readable.opened(sandbox.url) as destination:
        outcomes = push(destination, readable.batch(*changes))
    assert [outcomes[f"u{n}"].status for n in range(2)] == [Status.DELIVERED] * 2
    assert [(outcomes[f"u{n}"].code, outcomes[f"u{n}"].field) for n in (2, 3)] == [
        ("field_missing", missing)
    ] * 2


def test_a_deleted_record_is_rejected_and_never_created_again(readable: Case, sandbox: Running) -> None:
    readable.seed(sandbox, 1)
    with readable.opened(sandbox.url) as destination:
        outcomes = push(
            destination, readable.batch(readable.change(0, 1, known=True), readable.change(8, 1, known=True))
        )
    assert outcomes["u0"].status is Status.DELIVERED
    assert (outcomes["u8"].status, outcomes["u8"].code) == (Status.REJECTED, "not_found")
    assert len(sandbox.state()[readable.vendor][readable.object]) == 1


def test_find_answers_exactly_once_per_lookup(readable: Case, sandbox: Running) -> None:
    readable.seed(sandbox, 3)
    lookups = [
        Lookup("by key", (readable.match(0),)),
        Lookup("by id", (), readable.id(1)),
        Lookup("gone, then by key", (readable.match(2),), readable.id(7)),
        Lookup("unknown", (readable.match(8),)),
        Lookup("unknown id", (), readable.id(9)),
        Lookup("the same key again", (readable.match(0),)),
        Lookup("nothing to find it by", ()),
    ]
    with readable.opened(sandbox.url) as destination:
        push(destination, readable.batch(*(readable.change(n, 40 + n, known=True) for n in range(2))))
        answers = list(destination.find(readable.object, lookups, {readable.field: FieldType.INTEGER}))
    assert sorted(each.key for each in answers) == sorted(each.key for each in lookups)
    by_key = {each.key: each for each in answers}
    ids = {key: each.remote_ids for key, each in by_key.items()}
    assert ids == {
        "by key": (readable.id(0),),
        "by id": (readable.id(1),),
        "gone, then by key": (readable.id(2),),
        "unknown": (),
        "unknown id": (),
        "the same key again": (readable.id(0),),
        "nothing to find it by": (),
    }
    values = {key: each.values for key, each in by_key.items() if each.remote_ids}
    assert values == {
        "by key": {readable.field: 40},
        "by id": {readable.field: 41},
        "gone, then by key": {readable.field: None},
        "the same key again": {readable.field: 40},
    }
    assert by_key["by key"].matched_by == readable.match(0).field


def test_a_vendor_that_cannot_be_read_finds_nothing_without_a_call(
    unreadable: Case, sandbox: Running
) -> None:
    watched = RecordingThrottle()
    with unreadable.opened(sandbox.url, watched) as destination:
        lookups = [Lookup(f"u{n}", (unreadable.match(n),)) for n in range(3)]
        answers = list(destination.find(unreadable.object, lookups, {unreadable.field: FieldType.INTEGER}))
        assert not isinstance(destination, ReadableDestination)
    assert sorted(each.key for each in answers) == ["u0", "u1", "u2"]
    assert not any(each.remote_ids for each in answers)
    assert watched.calls == 0


def test_calls_keep_to_the_limits_and_none_is_wasted(case: Case, sandbox: Running) -> None:
    watched = RecordingThrottle()
    with case.opened(sandbox.url, watched) as destination:
        size = VENDORS[case.vendor].limits({}).records_per_call
        count = 2 * size + 1
        case.seed(sandbox, count)
        changes = [case.change(n, n, known=True) for n in range(count)]
        outcomes = push(destination, case.batch(*changes))
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    stats = sandbox.stats()[case.vendor]
    assert stats["refused"] == {}
    assert stats["calls"] == watched.calls == watched.acquired
    assert watched.calls - case.logins == case.calls_for_three


def test_many_records_are_looked_up_in_one_call(readable: Case, sandbox: Running) -> None:
    watched = RecordingThrottle()
    with readable.opened(sandbox.url, watched) as destination:
        count = 2 * VENDORS[readable.vendor].limits({}).lookups_per_call
        readable.seed(sandbox, count)
        lookups = [Lookup(f"u{n}", (readable.match(n),)) for n in range(count)]
        answers = list(destination.find(readable.object, lookups, {readable.field: FieldType.INTEGER}))
    assert {each.key: each.remote_ids for each in answers} == {
        f"u{n}": (readable.id(n),) for n in range(count)
    }
    assert watched.calls <= (4 if readable.lookups_together else count)


def test_a_refused_credential_is_unauthorized_everywhere(case: Case) -> None:
    body = [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]
    with answering(lambda request: Reply(401, body)) as vendor, case.opened(vendor.url) as destination:
        with pytest.raises(Unauthorized):
            list(destination.push(case.batch(case.change(0, 1))))
        if case.readable:
            with pytest.raises(Unauthorized):
                destination.account()
            with pytest.raises(Unauthorized):
                list(destination.find(case.object, [Lookup("u0", (case.match(0),))], {}))
            with pytest.raises(Unauthorized):
                destination.fields(case.object)


def test_the_sandbox_refuses_what_the_vendor_would(readable: Case, sandbox: Running) -> None:
    refused = {name: "refused" for name, value in readable.settings.items() if value == SECRET}
    with readable.opened(sandbox.url, **refused) as destination, pytest.raises(Unauthorized):
        destination.account()


def test_another_credential_is_another_account_and_the_same_one_the_same(
    case: Case, sandbox: Running
) -> None:
    def account(secret: str) -> str:
        name = next(name for name, value in case.settings.items() if value == SECRET)
        with case.opened(sandbox.url, **{name: secret}) as destination:
            return destination.account().label

    assert account("acme:one") == account("acme:one") != account("globex:one")


ECHOES = [
    Reply(200, f"<html>{SECRET} of {PERSON} is not JSON"),
    Reply(302, "", {"Location": f"https://elsewhere.example.com/?{SECRET}={PERSON}"}),
    Reply(
        400,
        {
            "message": f"{SECRET} {PERSON}",
            "category": "VALIDATION_ERROR",
            "errors": [{"message": f"{SECRET} {PERSON}"}],
        },
    ),
    Reply(400, [{"message": f"{SECRET} {PERSON}", "errorCode": "MALFORMED_QUERY"}]),
    Reply(403, {"message": f"{SECRET} {PERSON}"}),
    Reply(404, {"error": SECRET, "error_description": PERSON}),
]


@pytest.mark.parametrize("reply", ECHOES, ids=lambda reply: str(reply.status))
def test_errors_contain_no_token_and_no_address(case: Case, reply: Reply) -> None:
    def answer(_request: Request) -> Reply:
        return reply

    # A 404 answers the login, too.
    answers = answer if reply.status == 404 else case.answering(answer)
    found: list[str] = []
    with answering(answers) as vendor, case.opened(vendor.url) as destination:
        lookups = [Lookup("u0", (Match(case.match(0).field, PERSON),))]
        for attempt in (
            lambda: [destination.account()],
            lambda: destination.find(case.object, lookups, {}),
            lambda: destination.push(case.batch(case.change(0, PERSON))),
            lambda: destination.push(case.batch(case.change(0, PERSON, known=True))),
            lambda: [destination.fields(case.object)] if case.readable else [],
        ):
            try:
                found += [repr(each) for each in attempt() if isinstance(each, Outcome)]
            except HeatsyncError as error:
                found += [str(error), getattr(error, "evidence", "")]
    assert found or not case.readable
    assert not any(SECRET in each or PERSON in each for each in found), found


def test_an_unreadable_answer_is_not_a_success(case: Case) -> None:
    def answer(_request: Request) -> Reply:
        return Reply(200, "<html>All is well</html>", {"Content-Type": "text/html"})

    with answering(case.answering(answer)) as vendor, case.opened(vendor.url) as destination:
        with pytest.raises(Misunderstood, match="answer"):
            list(destination.push(case.batch(case.change(0, 1, known=True))))
        if case.readable:
            with pytest.raises(Misunderstood):
                destination.account()
            with pytest.raises(Misunderstood):
                list(destination.find(case.object, [Lookup("u0", (case.match(0),))], {}))


def test_a_long_limit_says_when_to_come_back(case: Case) -> None:
    quotas = SIMULATORS[case.vendor].quotas
    longest = max(quotas, key=lambda name: quotas[name].seconds)
    none_left = {case.vendor: {longest: 0}}
    watched = RecordingThrottle()
    with running(limits=none_left) as sandbox, case.opened(sandbox.url, watched) as destination:
        with pytest.raises(Unavailable) as caught:
            list(destination.push(case.batch(case.change(0, 1, known=True))))
        assert sandbox.state()[case.vendor].get(case.object, []) in ([], {})
    assert caught.value.retry_after
    assert watched.pauses
    assert watched.calls == watched.acquired


def test_an_unreachable_vendor_is_unavailable(case: Case, monkeypatch: Any) -> None:
    monkeypatch.setattr("connectors.http.ATTEMPTS", 1)
    with answering(lambda request: Reply()) as vendor:
        url = vendor.url
    with case.opened(url) as destination, pytest.raises(Unavailable):
        list(destination.push(case.batch(case.change(0, 1))))


MADE = [
    NewField(f"new_{type.value}", type, f"New {type.value}")
    for type in FieldType
    if type is not FieldType.LIST
]


def test_missing_fields_are_created_and_can_be_written(creating: Case, sandbox: Running) -> None:
    creating.seed(sandbox, 1)
    with creating.opened(sandbox.url) as destination:
        destination.create_fields(creating.object, MADE)
        destination.create_fields(creating.object, MADE)
        known = destination.fields(creating.object)
        assert known is not None
        assert {field.name for field in MADE} <= {name for name, field in known.items() if field.writable}
        values: dict[str, Value] = {"new_integer": 5, "new_boolean": True, "new_text": "a"}
        change = Change(Kind.CHANGED, "u0", (creating.match(0),), values, remote_id=creating.id(0))
        assert push(destination, creating.batch(change))["u0"].status is Status.DELIVERED


def test_a_destination_that_needs_closing_can_be_closed_twice(case: Case, sandbox: Running) -> None:
    with case.opened(sandbox.url) as destination:
        destination.account()
        close = getattr(destination, "close", None)
        if close:
            close()


def test_opening_a_destination_makes_no_call(case: Case) -> None:
    watched = RecordingThrottle()
    with case.opened("http://127.0.0.1:9", watched):
        pass
    assert watched.calls == watched.acquired == 0
