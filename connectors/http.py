"""One call: within the quota, counted, repeated where that is safe, with an error for each kind of failure.

A connector wraps each SDK call into a function that returns an `Answer` or raises `LostAnswer`. What the vendor's words
mean is the connector's business.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tenacity

from connectors.answers import Answer, is_garbled, retry_after
from connectors.destination import Quota, Throttle
from connectors.errors import Unauthorized, Unavailable
from connectors.rate_limit import LONGEST_WAIT, unavailable_for

ATTEMPTS = 4
LONGEST_BACKOFF = 8.0
"""Seconds between two attempts, at most."""


class LostAnswer(Exception):
    """No answer came. `sent`: the request may still have taken effect."""

    def __init__(self, message: str, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class RateLimited(Exception):
    """The vendor refuses calls for now: `seconds` to wait, and a sentence on the quota that is `spent`."""

    def __init__(self, seconds: float, spent: str) -> None:
        super().__init__(seconds, spent)
        self.seconds = seconds
        self.spent = spent


@dataclass(frozen=True, slots=True)
class VendorRules:
    """How a vendor answers about waiting, quotas and credentials.

    `wait` reads the seconds to wait from a 429 (None: not said, so `default_wait` holds), `quota` reads what is left from
    any answer. `credential` is what a 401 refuses. After a status in `maybe_done` a write may have taken effect.
    """

    title: str
    wait: Callable[[Answer], float | None] = retry_after
    quota: Callable[[Answer], Quota | None] = lambda _: None
    credential: str = "token"
    maybe_done: frozenset[int] = frozenset()
    default_wait: float = 10.0
    backoff: float = 0.5


class VendorClient:
    """The one way from a connector to its vendor. `on_request` is called for every request."""

    def __init__(self, rules: VendorRules, throttle: Throttle, on_request: Callable[[], None]) -> None:
        self.rules = rules
        self._throttle = throttle
        self._on_request = on_request

    def call(
        self, send: Callable[[], Answer], safe: bool = True, sub_quota: Throttle | None = None
    ) -> Answer:
        """The answer, whatever its status below 500 except 401, 408 and 429.

        A rate limit pauses everyone who shares the throttle, and uses up no attempt. A call that is not `safe` to repeat
        is not repeated once it may have taken effect. For a safe one, an answer that stays garbled is returned as it came.
        `sub_quota` is a further quota that the call takes from; a short limit pauses that one. Raises Unauthorized,
        Unavailable, LostAnswer.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: _worth_repeating(error, safe))
            | tenacity.retry_if_result(lambda answer: safe and is_garbled(answer)),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(self.rules.backoff, max=LONGEST_BACKOFF),
            retry_error_callback=_last_result,
        )
        waited = 0.0
        while True:
            try:
                return attempts(self._once, send, safe, sub_quota)
            except RateLimited as limit:
                short = sub_quota is not None and limit.seconds <= LONGEST_WAIT
                (sub_quota if sub_quota is not None and short else self._throttle).pause(limit.seconds)
                waited += limit.seconds
                if waited > LONGEST_WAIT:
                    reason = limit.spent or f"{self.rules.title} asks to wait {limit.seconds:.0f} s."
                    raise unavailable_for(reason, limit.seconds) from None

    def _once(self, send: Callable[[], Answer], safe: bool, sub_quota: Throttle | None) -> Answer:
        rules = self.rules
        if sub_quota is not None:
            sub_quota.acquire()
        self._throttle.acquire()
        self._on_request()
        answer = send()
        if answer.status in rules.maybe_done and not safe:
            raise LostAnswer(f"{rules.title} answered {answer.status}", sent=True)
        quota = rules.quota(answer)
        if quota is not None:
            self._throttle.on_quota(quota)
        if answer.status == 429:
            wait = rules.wait(answer)
            # A date in the past, or 0, does not allow to ask again at once.
            seconds = rules.default_wait if wait is None else max(1.0, wait)
            raise RateLimited(seconds, quota.spent if quota else "")
        if answer.status == 401:
            raise Unauthorized(f"{rules.title} refused the credentials (401). Check the {rules.credential}.")
        if answer.status == 408 or answer.status >= 500:
            raise Unavailable(f"{rules.title} answered {answer.status}", retry_after(answer))
        return answer


def _worth_repeating(error: BaseException, safe: bool) -> bool:
    if isinstance(error, LostAnswer):
        return safe or not error.sent
    if isinstance(error, Unavailable):
        return safe and (error.retry_after or 0.0) <= 2.0
    return False


def _last_result(state: tenacity.RetryCallState) -> Answer:
    """The last attempt's answer or error, in place of tenacity's own error."""
    assert state.outcome is not None
    answer: Answer = state.outcome.result()
    return answer
