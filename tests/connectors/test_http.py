"""One call: within the quota, counted, repeated where that is safe, with an error for each kind of failure."""

import pytest

from connectors.answers import Answer, redacted, retry_after
from connectors.destination import Quota
from connectors.errors import Unauthorized, Unavailable
from connectors.http import ATTEMPTS, LostAnswer, VendorClient, VendorRules
from connectors.rate_limit import LONGEST_WAIT


class Recorder:
    """A throttle that never waits, and remembers."""

    def __init__(self) -> None:
        self.acquired = 0
        self.pauses: list[float] = []
        self.quotas: list[Quota] = []

    def acquire(self) -> None:
        self.acquired += 1

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def on_quota(self, quota: Quota) -> None:
        self.quotas.append(quota)

    def sub_quota(self, name: str, calls: int, seconds: float) -> "Recorder":
        return Recorder()


class Vendor:
    """Answers, or raises, one after the other."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.calls = 0

    def __call__(self) -> Answer:
        self.calls += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def client(throttle: Recorder, created: list[int]) -> VendorClient:
    return VendorClient(VendorRules("Vendor", backoff=0.0), throttle, lambda: created.append(1))


def answer(status: int, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, {})


def test_every_request_is_counted_and_takes_a_place_in_the_quota() -> None:
    throttle, created = Recorder(), []
    vendor = Vendor(answer(503), LostAnswer("cut", sent=True), answer(200))
    assert client(throttle, created).call(vendor).status == 200
    assert vendor.calls == throttle.acquired == len(created) == 3


def test_a_rate_limit_pauses_all_calls_and_uses_up_no_attempt() -> None:
    throttle, created = Recorder(), []
    vendor = Vendor(*[answer(429, retry_after="1")] * (ATTEMPTS + 2), answer(200))
    assert client(throttle, created).call(vendor).status == 200
    assert throttle.pauses == [1.0] * (ATTEMPTS + 2)


def test_a_long_rate_limit_is_an_error_instead_of_a_wait() -> None:
    throttle = Recorder()
    with pytest.raises(Unavailable) as caught:
        client(throttle, []).call(Vendor(answer(429, retry_after=str(int(LONGEST_WAIT) + 1))))
    assert caught.value.retry_after == LONGEST_WAIT + 1
    assert throttle.pauses == [LONGEST_WAIT + 1]


def test_a_rate_limit_without_a_time_pauses_for_the_default() -> None:
    throttle = Recorder()
    client(throttle, []).call(Vendor(answer(429), answer(200)))
    assert throttle.pauses == [10.0]


@pytest.mark.parametrize("reply", ["0", "0.0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_rate_limit_of_zero_seconds_does_not_cause_endless_calls(reply: str) -> None:
    throttle, created = Recorder(), []
    with pytest.raises(Unavailable):
        client(throttle, created).call(Vendor(*[answer(429, retry_after=reply)] * 100))
    assert len(created) <= LONGEST_WAIT + 1
    assert min(throttle.pauses) >= 1.0


def test_refused_credentials_are_not_tried_again() -> None:
    vendor = Vendor(answer(401))
    with pytest.raises(Unauthorized):
        client(Recorder(), []).call(vendor)
    assert vendor.calls == 1


@pytest.mark.parametrize("failure", [answer(500), answer(408), LostAnswer("cut", sent=True)])
def test_a_call_that_may_have_taken_effect_is_repeated_only_where_that_is_safe(
    failure: Answer | LostAnswer,
) -> None:
    vendor = Vendor(failure, answer(200))
    with pytest.raises((Unavailable, LostAnswer)):
        client(Recorder(), []).call(vendor, safe=False)
    assert vendor.calls == 1


@pytest.mark.parametrize("body", ["<html>Please log in</html>", '{"results": ['])
def test_a_garbled_answer_is_requested_again_where_that_is_safe(body: str) -> None:
    spoilt = Answer(200, {"content-type": "application/json"}, body)
    vendor = Vendor(spoilt, answer(200))
    assert client(Recorder(), []).call(vendor).body == {}
    vendor = Vendor(*[spoilt] * ATTEMPTS)
    assert client(Recorder(), []).call(vendor) is spoilt
    for patient, once in (True, Answer(200, {"content-type": "text/csv"}, "Id")), (False, spoilt):
        vendor = Vendor(once)
        assert client(Recorder(), []).call(vendor, safe=patient) is once


def test_a_call_that_never_left_is_always_repeated() -> None:
    vendor = Vendor(LostAnswer("refused", sent=False), answer(201))
    assert client(Recorder(), []).call(vendor, safe=False).status == 201


def test_after_some_attempts_it_gives_up() -> None:
    vendor = Vendor(*[answer(502)] * 10)
    with pytest.raises(Unavailable):
        client(Recorder(), []).call(vendor)
    assert vendor.calls == ATTEMPTS


@pytest.mark.parametrize(("text", "seconds"), [("3", 3.0), ("0.5", 0.5), ("", None), ("soon", None)])
def test_retry_after_is_read(text: str, seconds: float | None) -> None:
    assert retry_after(answer(429, retry_after=text)) == seconds


def test_retry_after_may_be_a_date_in_the_past() -> None:
    assert retry_after(answer(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")) == 0.0


def test_a_short_limit_of_a_sub_quota_pauses_only_that_sub_quota() -> None:
    whole, part = Recorder(), Recorder()
    vendor = Vendor(answer(429, retry_after="1"), answer(200))
    assert VendorClient(VendorRules("Vendor"), whole, lambda: None).call(vendor, sub_quota=part).status == 200
    assert (part.pauses, whole.pauses) == ([1.0], [])
    assert (part.acquired, whole.acquired) == (2, 2)


def test_the_quota_in_an_answer_reaches_the_throttle() -> None:
    throttle = Recorder()
    line = VendorClient(VendorRules("Vendor", quota=lambda a: Quota(a.status)), throttle, lambda: None)
    line.call(Vendor(answer(200)))
    assert throttle.quotas == [Quota(200)]


@pytest.mark.parametrize("reply", ["x", "x@", "x.", "<"])
def test_a_long_answer_is_redacted_in_linear_time(reply: str) -> None:
    assert redacted(f"{reply * 500_000} a@b.com") == (reply * 500_000)[:500]
    assert redacted(f"{reply * 10} a.b@c-d.example, e@f.org!") == f"{reply * 10} (e-mail), (e-mail)!"
