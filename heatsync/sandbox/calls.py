"""What goes through the sandbox: a call, a reply, a route.

What is the same for every vendor (reading a call, its account, its quota, the counts) is in `app`.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from heatsync.sandbox.quotas import Window


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. A `body` of None is empty; a `raw` body is sent as text, not as JSON.

    `records` is how many records the call carried, `counts` what else its vendor counts. `fault` names a fault that
    struck the call: the answer is delayed by `delay` seconds, or the connection is `cut` instead.
    """

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    records: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    raw: bool = False
    delay: float = 0.0
    cut: bool = False
    fault: str = ""


class Refusal(Exception):
    """Ends a call with the vendor's reply, from wherever it is raised."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Unreadable(Exception):
    """The body is not JSON, or not an object where one is needed."""


def _no_constant(name: str) -> NoReturn:
    raise Unreadable(f"{name} is not JSON")


@dataclass(slots=True)
class Call:
    """One request. Header names are in lower case; `now` is in unix seconds; `origin` is the scheme and host of its address."""

    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    origin: str
    now: float
    account: str = "default"
    size: int = 0
    """Bytes of the request line's address."""
    accounts: Collection[str] = ()
    """The accounts that exist in the sandbox."""
    windows: Mapping[str, Window] = field(default_factory=dict)
    """The account's quotas, by name."""
    used: Mapping[str, int] = field(default_factory=dict)
    """Calls so far in each of them, this one included; empty while quotas are off."""

    def json(self) -> Any:
        """The body as strict JSON, without NaN and Infinity. Raises Unreadable."""
        try:
            return json.loads(self.body, parse_constant=_no_constant)
        except ValueError as error:
            raise Unreadable(str(error)) from error

    def object(self) -> dict[str, Any]:
        found = self.json()
        if not isinstance(found, dict):
            raise Unreadable("an object was expected")
        return found

    def token(self) -> str:
        """The token of the Authorization header (`Bearer TOKEN`); empty without one."""
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if kind.lower() == "bearer" else ""


class Store(Protocol):
    """What one vendor holds for one account."""

    def load(self, part: Mapping[str, Any], fields: Mapping[str, Any], /) -> None:
        """Load records and fields in the shape of /_state. Raises ValueError with a sentence."""

    def dump(self) -> dict[str, Any]: ...

    def dump_fields(self) -> dict[str, Any] | None:
        """The fields in the shape of /_state; None for a vendor without a schema."""


Handler = Callable[[Call, Any], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """A path of a vendor. `label` is its name in /_stats, where `{object}` is replaced by the object.

    `windows` are the quotas that a call takes from. An `open` path needs no credential.
    """

    method: str
    path: str
    label: str
    handler: Handler
    windows: tuple[str, ...]
    open: bool = False


def account_of(token: str) -> str:
    """`acme:anything` belongs to the account acme, any other token to default."""
    name, colon, _ = token.partition(":")
    return name if colon and name else "default"


def is_refused(token: str) -> bool:
    return token.rpartition(":")[2] == "refused"
