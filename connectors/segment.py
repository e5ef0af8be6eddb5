"""Segment: identify for users and group for accounts, over the Tracking API.

Segment cannot be read, and it answers 200 to nearly everything: bad ids, bad write keys and repeated messages
are dropped later and in silence (Segment documentation, copy of 2025-11). "Delivered" therefore means "handed
over". Each message has an id that only depends on what it says, so that a repeat is recognised: what is sent
again after a crash is the same message, a changed value is another.

Messages carry no `timestamp`: a past one makes them a historical import, and Segment takes the time of receipt
where there is none. Traits hold what changed and nothing else; a trait that is left out keeps its value over
there, and a null empties it.
"""

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any

from connectors.destination import Limits, ObjectKind, Setting, Throttle, Vendor, trait_name
from connectors.errors import ConfigurationError, Misunderstood, Unauthorized, Unavailable
from connectors.http import Answer, LostAnswer, VendorClient, redacted, retry_after
from connectors.types import (
    Account,
    Batch,
    Change,
    Entity,
    FieldType,
    Found,
    Lookup,
    Outcome,
    Status,
    Value,
)

HOSTS = {"us": "https://api.segment.io", "eu": "https://events.eu1.segmentapis.com"}
TIMEOUT = (5.0, 30.0)
"""Seconds: to connect, and between two bytes of the answer."""
MESSAGES = 2_500
"""Per batch; what is beyond is dropped behind a 200 (documentation, copy of 2025-11)."""
BATCH_BYTES = 500_000
"""Documented as 500 KB (copy of 2025-11); the SDK's own queue, which is not used, stops at 475,000."""
MESSAGE_BYTES = 32 * 1024
ENVELOPE_BYTES = 512
"""Room for what stands around the messages: time of sending and write key."""

Message = dict[str, Any]


def encode(value: Value) -> Any:
    """The value as JSON. Raises ValueError for a number that JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a number that can be sent")
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def wait(answer: Answer) -> float | None:
    """Segment's X-RateLimit-Reset is, unlike others', in seconds to wait (documentation, copy of 2025-11)."""
    said = retry_after(answer)
    if said is None:
        reset = answer.headers.get("x-ratelimit-reset", "")
        said = float(reset) if reset.isdigit() else None
    return None if said is None else max(said, 1.0)


class Segment:
    """One source. Its messages may be sent again at any time: their ids make that harmless."""

    def __init__(self, settings: Mapping[str, str], throttle: Throttle, made: Callable[[], None]) -> None:
        region = settings.get("region") or "us"
        if region not in HOSTS:
            raise ConfigurationError(
                f"Segment's region is {region!r}, but must be one of {', '.join(HOSTS)}. Take the one that the "
                "workspace was made in: the other one answers 200 and forgets."
            )
        self._host = settings.get("url") or HOSTS[region]
        self.host = self._host.partition("://")[2]
        self._key = settings["write_key"]
        self._source = hashlib.sha256(self._key.encode()).hexdigest()[:12]
        self._line = VendorClient("Segment", throttle, made, wait=wait, credential="source's write key")

    def close(self) -> None:
        """Close idle connections; the next call opens them again. The SDK keeps one set per process."""
        if _sdk.cache_info().currsize:
            _sdk()._session.close()

    def account(self) -> Account:
        """A source is known by its write key alone, and by a part of its hash: no call can tell more."""
        return Account("source", self._source)

    def find(
        self,
        object: str,  # noqa: ARG002
        lookups: Sequence[Lookup],
        fields: Mapping[str, FieldType],  # noqa: ARG002
    ) -> Iterator[Found]:
        """Nobody is found, and nothing is asked."""
        return (Found(lookup.key, ()) for lookup in lookups)

    def push(self, batch: Batch) -> Iterator[Outcome]:
        parcel: list[tuple[str, Message]] = []
        size = ENVELOPE_BYTES
        for change in batch.changes:
            message = self._message(batch.object, change)
            if isinstance(message, Outcome):
                yield message
                continue
            length = len(json.dumps(message)) + 2
            if length > MESSAGE_BYTES:
                cause = f"the message is {length:,} bytes long; Segment takes {MESSAGE_BYTES:,}"
                yield Outcome(change.key, Status.REJECTED, code="too_large", cause=cause)
                continue
            if len(parcel) == MESSAGES or (parcel and size + length > BATCH_BYTES):
                yield from self._deliver(parcel)
                parcel, size = [], ENVELOPE_BYTES
            parcel.append((change.key, message))
            size += length
        if parcel:
            yield from self._deliver(parcel)

    def _message(self, object: str, change: Change) -> Message | Outcome:
        kind = VENDOR.objects[object]
        id_field = kind.match[0][0]
        id = next((match.value for match in change.match if match.field == id_field and match.value), None)
        if id is None:
            return Outcome(change.key, Status.REJECTED, code="bad_value", cause=f"there is no {id_field}")
        traits = {}
        for name, value in change.fields.items():
            try:
                traits[name] = encode(value)
            except ValueError as error:
                return Outcome(
                    change.key, Status.REJECTED, code="bad_value", cause=f"{name}: {error}", field=name
                )
        said = [self._source, object, change.key, id, change.version, traits]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        message: Message = {"messageId": f"heatsync-{digest[:40]}", "traits": traits}
        if kind.entity is Entity.USER:
            return {"type": "identify", "userId": id, **message}
        # A group call without a user is refused; an id of its own makes it a profile of its own.
        via = {"userId": change.via} if change.via else {"anonymousId": f"account:{id}"}
        return {"type": "group", "groupId": id, **via, **message}

    def _deliver(self, parcel: Sequence[tuple[str, Message]]) -> Iterator[Outcome]:
        messages = [message for _, message in parcel]
        try:
            answer = self._line.call(lambda: self._post(messages))
        except LostAnswer as lost:
            raise Unavailable(
                f"Segment at {self._host} cannot be reached ({lost}): check the network"
            ) from None
        if answer.status in (400, 413) and len(parcel) > 1:
            # One answer for the whole batch: halves tell which message it was.
            half = len(parcel) // 2
            yield from self._deliver(parcel[:half])
            yield from self._deliver(parcel[half:])
            return
        refusal = self._judge(answer)
        for key, _ in parcel:
            yield refusal(key) if refusal else Outcome(key, Status.DELIVERED)

    def _judge(self, answer: Answer) -> Callable[[str], Outcome] | None:
        """None for a batch that was taken, else what to say of its only message."""
        said = redacted(answer.body, self._key)
        if 200 <= answer.status < 300:
            if not isinstance(answer.body, dict) or answer.body.get("success") is False:
                raise Misunderstood("Segment's answer does not say that the batch was taken", said)
            return None
        if answer.status in (400, 413):
            code = "too_large" if answer.status == 413 else "refused"
            cause = f"Segment refused the message ({answer.status})"
            return lambda key: Outcome(key, Status.REJECTED, code=code, cause=cause, answer=said)
        if answer.status == 403:
            raise Unauthorized("Segment refused the credentials (403). Check the source's write key.")
        if answer.status in (410, 460):
            # The SDK counts these two among the passing ones (2.4.0).
            raise Unavailable(f"Segment answered {answer.status}", retry_after(answer))
        raise Misunderstood(f"Segment answered {answer.status} at {self._host}", said)

    def _post(self, messages: list[Message]) -> Answer:
        import requests
        from segment.analytics.request import APIError

        response: Any
        try:
            response = _sdk().post(self._key, self._host, gzip=True, timeout=TIMEOUT, batch=messages)
        except (APIError, requests.TooManyRedirects) as error:
            response = error.response
        except requests.RequestException as error:
            raise LostAnswer(
                type(error).__name__, sent=not isinstance(error, requests.ConnectTimeout)
            ) from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        try:
            return Answer(response.status_code, headers, response.json())
        except ValueError:
            return Answer(response.status_code, headers, response.text)


@cache
def _sdk() -> Any:
    """The SDK's sending end, tamed: it keeps one session for the whole process (2.4.0)."""
    from segment.analytics import request

    # It logs whole bodies, write key and traits included, and errors that we report ourselves.
    logging.getLogger("segment").setLevel(logging.CRITICAL)
    _renew(request)
    os.register_at_fork(after_in_child=lambda: _renew(request))
    return request


def _renew(request: Any) -> None:
    """A new session: two processes must not share a connection."""
    import requests

    session = requests.Session()
    # A redirected POST becomes a GET, which is answered with 200 and delivers nothing.
    session.max_redirects = 0
    request._session = session


def name_trait(prefix: str, score_name: str, metric: str, entity: Entity) -> str:  # noqa: ARG001
    return trait_name(prefix, score_name, metric)


REQUESTS_PER_10S = "9000"
"""Segment recommends at most 1,000 requests per second and workspace (documentation, copy of 2025-11). In a window that
short, calls that are late meet the next ones: a tenth stays free."""


def limits(settings: Mapping[str, str]) -> Limits:
    return Limits(
        records_per_call=MESSAGES,
        lookups_per_call=MESSAGES,
        calls=int(settings.get("requests_per_10s") or REQUESTS_PER_10S),
        seconds=10.0,
        concurrency=4,
        bytes=BATCH_BYTES,
        record_bytes=MESSAGE_BYTES,
        # Calls are filled by bytes: what is left over at the end of a batch is one call more.
        changes_per_push=10 * MESSAGES,
    )


VENDOR = Vendor(
    type="segment",
    title="Segment",
    settings={
        "write_key": Setting(required=True, secret=True),
        "region": Setting(default="us", options=tuple(HOSTS)),
        "url": Setting(),
        "requests_per_10s": Setting(default=REQUESTS_PER_10S, whole_number=True),
    },
    objects={
        "users": ObjectKind(Entity.USER, (("userId", "user_id"),), frozenset({"userId"})),
        "accounts": ObjectKind(Entity.ACCOUNT, (("groupId", "account_id"),), frozenset({"groupId"})),
    },
    limits=limits,
    connect=Segment,
    name_trait=name_trait,
    readable=False,
    modes=("upsert",),
    accepts_lists=True,
    anonymous_accounts=True,
    counts_profiles=True,
    account_settings=("write_key",),
)
