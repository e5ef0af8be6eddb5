"""One disciplined call: within the quota, counted, retried where that is safe, and told apart when it fails.

Connectors wrap each SDK call into a function that answers an `Answer` (or raises `LostAnswer`); what the vendor's
words mean stays in the connector.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import tenacity

from connectors.destination import Quota, Throttle
from connectors.errors import Unauthorized, Unavailable
from connectors.rate_limit import LONGEST_WAIT, unavailable_for

ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: header names in lower case, the body parsed as JSON or, failing that, as text."""

    status: int
    headers: Mapping[str, str]
    body: Any


class LostAnswer(Exception):
    """No answer came. `sent` tells whether the request may have taken effect all the same."""

    def __init__(self, message: str, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class RateLimited(Exception):
    """The vendor said: not now. Its arguments are the seconds to wait, and which quota is used up."""


def is_garbled(answer: Answer) -> bool:
    """Whether this is what came of a good answer on its way: a page of a proxy, or JSON that was cut short.

    Files of a bulk job are no JSON by nature.
    """
    good = 200 <= answer.status < 300
    text = isinstance(answer.body, str) and bool(answer.body.strip())
    return good and text and "csv" not in answer.headers.get("content-type", "")


def retry_after(answer: Answer) -> float | None:
    """Seconds to wait according to `Retry-After` (RFC 9110: seconds or a date), None if it is not there."""
    text = answer.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


# From where a word begins: from each of its letters on, a long text would take minutes.
E_MAIL = re.compile(r"(?<![\w.+%&'~-])[\w.+%&'~-]+@[\w-]+(?:\.[\w-]+)+")


def redacted(body: Any, *secrets: str) -> str:
    """What was answered, as one may show it: shortened, without secrets and e-mail addresses."""
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    for secret in secrets:
        # What is shorter is no secret, and would tear words apart.
        if len(secret) >= 6:
            text = text.replace(secret, "***")
    return E_MAIL.sub("(e-mail)", text)[:500]


def _worth_repeating(error: BaseException, safe: bool) -> bool:
    if isinstance(error, LostAnswer):
        return safe or not error.sent
    if isinstance(error, Unavailable):
        return safe and (error.retry_after or 0.0) <= 2.0
    return False


def _as_it_came(state: tenacity.RetryCallState) -> Answer:
    """The last attempt's answer or error, in place of tenacity's own."""
    assert state.outcome is not None
    answer: Answer = state.outcome.result()
    return answer


class VendorClient:
    """The one way from a connector to its vendor.

    `wait` reads from a 429 how many seconds to stay away (None: not said), `quota` from any answer what is left.
    `made` is told of every request. `credential` is what the vendor calls that which a 401 refuses.
    """

    def __init__(
        self,
        title: str,
        throttle: Throttle,
        made: Callable[[], None],
        wait: Callable[[Answer], float | None] = retry_after,
        unsaid: float = 10.0,
        backoff: float = 0.5,
        quota: Callable[[Answer], Quota | None] = lambda _: None,
        credential: str = "token",
    ) -> None:
        self.title = title
        self._credential = credential
        self._throttle = throttle
        self._made = made
        self._wait = wait
        self._unsaid = unsaid
        self._backoff = backoff
        self._quota = quota

    def call(self, send: Callable[[], Answer], safe: bool = True, part: Throttle | None = None) -> Answer:
        """The answer, whatever its status below 500 except 401, 408 and 429.

        Being limited pauses everyone who shares the throttle and burns no attempt. A call that is not `safe`
        to repeat is not repeated once it may have taken effect; of one that is, an answer that stays garbled is given as
        it came. `part` is a quota of its own that it takes from as
        well, and that is meant when it is limited. Raises Unauthorized, Unavailable, LostAnswer.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda e: _worth_repeating(e, safe))
            | tenacity.retry_if_result(lambda answer: safe and is_garbled(answer)),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(self._backoff, max=8),
            retry_error_callback=_as_it_came,
        )
        waited = 0.0
        while True:
            try:
                return attempts(self._once, send, part)
            except RateLimited as limited:
                seconds, spent = limited.args
                (part if part is not None and seconds <= LONGEST_WAIT else self._throttle).pause(seconds)
                waited += seconds
                if waited > LONGEST_WAIT:
                    raise unavailable_for(
                        spent or f"{self.title} asks to wait {seconds:.0f} s.", seconds
                    ) from None

    def _once(self, send: Callable[[], Answer], part: Throttle | None) -> Answer:
        if part is not None:
            part.acquire()
        self._throttle.acquire()
        self._made()
        answer = send()
        quota = self._quota(answer)
        if quota is not None:
            self._throttle.on_quota(quota)
        if answer.status == 429:
            said = self._wait(answer)
            # A date that is past, or 0, is no licence to ask again at once.
            raise RateLimited(self._unsaid if said is None else max(1.0, said), quota.spent if quota else "")
        if answer.status == 401:
            raise Unauthorized(f"{self.title} refused the credentials (401). Check the {self._credential}.")
        if answer.status == 408 or answer.status >= 500:
            raise Unavailable(f"{self.title} answered {answer.status}", retry_after(answer))
        return answer
