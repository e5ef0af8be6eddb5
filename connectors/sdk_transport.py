"""What every connector does around its SDK: take the answer before the SDK reads it, and name what went wrong.

An SDK reads answers into models and raises its own errors, and some fail on an answer of another shape with an
AttributeError. Here the answer leaves the SDK from the HTTP library's response hook, as it came. No exception has to be
guessed at, and redirects are never followed: a redirected write would become a GET that succeeds and writes nothing.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from connectors.answers import Answer, read_answer, redacted
from connectors.destination import Throttle
from connectors.errors import Misunderstood, Unavailable
from connectors.http import LostAnswer, VendorClient

if TYPE_CHECKING:
    import httpx
    import requests


class Answered(BaseException):
    """Carries an answer out of an SDK. No `except Exception` of the SDK keeps it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def capture_requests(response: "requests.Response", *_: Any, **__: Any) -> NoReturn:
    """A response hook for sessions of requests."""
    raise Answered(read_answer(response.status_code, response.headers, response.content))


def capture_httpx(response: "httpx.Response") -> NoReturn:
    """A response hook for clients of httpx."""
    raise Answered(read_answer(response.status_code, response.headers, response.read()))


def answer_over_requests(ask: Callable[[], object]) -> Answer:
    """The answer to the one request that `ask` makes in a session with `capture_requests`. Raises LostAnswer."""
    import requests
    import urllib3

    try:
        ask()
    except Answered as answered:
        return answered.answer
    except requests.RequestException as error:
        reason = error.args[0] if error.args else None
        reason = getattr(reason, "reason", reason)
        unsent = isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError) or isinstance(
            reason, urllib3.exceptions.NewConnectionError
        )
        raise LostAnswer(type(error).__name__, sent=not unsent) from None
    raise RuntimeError("the call sent no request")


def answer_over_httpx(ask: Callable[[], object]) -> Answer:
    """The answer to the one request that `ask` makes with a client with `capture_httpx`. Raises LostAnswer."""
    import httpx

    try:
        ask()
    except Answered as answered:
        return answered.answer
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise LostAnswer(type(error).__name__, sent=False) from None
    except httpx.HTTPError as error:
        raise LostAnswer(type(error).__name__, sent=True) from None
    raise RuntimeError("the call sent no request")


class SdkTransport:
    """The calls of one connector. `host` is shown when it cannot be reached; `secrets` are kept out of every message."""

    def __init__(self, client: VendorClient, host: str, secrets: Callable[[], Iterable[str]]) -> None:
        self.title = client.rules.title
        self._client = client
        self._host = host
        self._secrets = secrets

    def call(
        self, send: Callable[[], Answer], safe: bool = True, sub_quota: Throttle | None = None
    ) -> Answer:
        """The answer, as `VendorClient.call` returns it.

        Raises LostAnswer only for a call that is not safe to repeat and that may have taken effect; Unauthorized,
        Unavailable.
        """
        try:
            return self._client.call(send, safe, sub_quota)
        except LostAnswer as lost:
            if lost.sent and not safe:
                raise
            raise Unavailable(
                f"{self.title} at {self._host} cannot be reached ({lost}): check the network"
            ) from None

    def redacted(self, body: Any) -> str:
        """An answer as it may be shown: shortened, without this connector's secrets and e-mail addresses."""
        return redacted(body, *self._secrets())

    def misread(self, answer: Answer, call: str, shown: str = "", hint: str = "") -> NoReturn:
        """Raises Misunderstood: the answer to this call has a shape that heatsync does not know."""
        raise Misunderstood(
            f"{self.title}'s answer to {call} ({answer.status}) is not one that heatsync knows{hint}",
            shown or self.redacted(answer.body),
        )
