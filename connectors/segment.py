"""Segment: identify calls for users and group calls for accounts, over the Tracking API.

Segment cannot be read, and it answers 200 to nearly everything: it drops invalid ids, invalid write keys and repeated
messages later and silently (Segment documentation, copy of 2025-11). "Delivered" therefore means "handed over". A
message's id depends only on what the message says, so that Segment recognises a repeat: what is sent again after a crash
is the same message, a changed value is another one.

Messages carry no `timestamp`: a past one makes them a historical import, and without one Segment takes the time of
receipt. Traits hold only what changed: a trait that is left out keeps its value at the destination, a null clears it.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from connectors.answers import Answer, as_number, retry_after
from connectors.destination import Limits, ObjectKind, Setting, Throttle, Vendor, trait_name
from connectors.errors import ConfigurationError, Unauthorized, Unavailable
from connectors.http import VendorClient, VendorRules
from connectors.outcomes import invalid_value
from connectors.sdk_transport import SdkTransport, answer_over_requests, capture_requests
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
)
from connectors.values import encode_json

HOSTS = {"us": "https://api.segment.io", "eu": "https://events.eu1.segmentapis.com"}
TIMEOUT = (5.0, 30.0)
"""Seconds: to connect, and between two bytes of the answer."""
MESSAGES = 2_500
"""Per batch; what is beyond is dropped behind a 200 (documentation, copy of 2025-11)."""
BATCH_BYTES = 500_000
"""Documented as 500 KB (copy of 2025-11); the SDK's own queue, which is not used, stops at 475,000."""
MESSAGE_BYTES = 32 * 1024
ENVELOPE_BYTES = 512
"""Room for what surrounds the messages: time of sending and write key."""

Message = dict[str, Any]


def wait(answer: Answer) -> float | None:
    """Seconds to wait. Segment's X-RateLimit-Reset, unlike others', is in seconds (documentation, copy of 2025-11)."""
    seconds = retry_after(answer)
    if seconds is None:
        seconds = as_number(answer.headers.get("x-ratelimit-reset", ""))
    return None if seconds is None else max(float(seconds), 1.0)


RULES = VendorRules("Segment", wait=wait, credential="source's write key")


class Segment:
    """One source. Its messages may be sent again at any time: their ids make that harmless."""

    def __init__(
        self, settings: Mapping[str, str], throttle: Throttle, on_request: Callable[[], None]
    ) -> None:
        region = settings.get("region") or "us"
        if region not in HOSTS:
            raise ConfigurationError(
                f"Segment's region is {region!r}, but must be one of {', '.join(HOSTS)}. Use the region in which the "
                "workspace was created: the other one answers 200 and drops everything."
            )
        self._url = settings.get("url") or HOSTS[region]
        self.host = self._url.partition("://")[2]
        self._key = settings["write_key"]
        self._source = hashlib.sha256(self._key.encode()).hexdigest()[:12]
        client = VendorClient(RULES, throttle, on_request)
        self._transport = SdkTransport(client, self._url, lambda: (self._key,))

    def close(self) -> None:
        """Close idle connections; the next call opens them again. The SDK keeps one set per process."""
        if _sdk.cache_info().currsize:
            _sdk()._session.close()

    def account(self) -> Account:
        """The source, named by a part of its write key's hash: no call reports more."""
        return Account("source", self._source)

    def find(
        self,
        object: str,  # noqa: ARG002
        lookups: Sequence[Lookup],
        fields: Mapping[str, FieldType],  # noqa: ARG002
    ) -> Iterator[Found]:
        """Nothing is found, and no call is made."""
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
                cause = f"the message is {length:,} bytes long; Segment accepts {MESSAGE_BYTES:,}"
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
            return Outcome(
                change.key, Status.REJECTED, code="bad_value", cause=f"the record has no {id_field}"
            )
        traits = {}
        for name, value in change.fields.items():
            try:
                traits[name] = encode_json(value)
            except ValueError as error:
                return invalid_value(change.key, name, error)
        content = [self._source, object, change.key, id, change.version, traits]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        message: Message = {"messageId": f"heatsync-{digest[:40]}", "traits": traits}
        if kind.entity is Entity.USER:
            return {"type": "identify", "userId": id, **message}
        # A group call without a user is refused. An anonymous id creates a profile for the account.
        via = {"userId": change.via} if change.via else {"anonymousId": f"account:{id}"}
        return {"type": "group", "groupId": id, **via, **message}

    def _deliver(self, parcel: Sequence[tuple[str, Message]]) -> Iterator[Outcome]:
        messages = [message for _, message in parcel]
        answer = self._transport.call(lambda: self._post(messages))
        if answer.status in (400, 413) and len(parcel) > 1:
            # One answer for the whole batch: halves show which message it was.
            half = len(parcel) // 2
            yield from self._deliver(parcel[:half])
            yield from self._deliver(parcel[half:])
            return
        refusal = self._judge(answer)
        for key, _ in parcel:
            yield refusal(key) if refusal else Outcome(key, Status.DELIVERED)

    def _judge(self, answer: Answer) -> Callable[[str], Outcome] | None:
        """None for a batch that was accepted, else the outcome of its only message, by key."""
        if answer.status in (400, 413):
            code = "too_large" if answer.status == 413 else "refused"
            cause = f"Segment refused the message ({answer.status})"
            shown = self._transport.redacted(answer.body)
            return lambda key: Outcome(key, Status.REJECTED, code=code, cause=cause, answer=shown)
        if answer.status == 403:
            raise Unauthorized("Segment refused the credentials (403). Check the source's write key.")
        if answer.status in (410, 460):
            # The SDK repeats after these two (2.4.0).
            raise Unavailable(f"Segment answered {answer.status}", retry_after(answer))
        if not answer.ok or not isinstance(answer.body, dict) or answer.body.get("success") is False:
            self._transport.misread(answer, f"a batch at {self._url}")
        return None

    def _post(self, messages: list[Message]) -> Answer:
        return answer_over_requests(
            lambda: _sdk().post(self._key, self._url, gzip=True, timeout=TIMEOUT, batch=messages)
        )


@cache
def _sdk() -> Any:
    """The sending end of the SDK, which keeps one session for the whole process (2.4.0)."""
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
    session.hooks["response"].append(capture_requests)
    request._session = session


def name_trait(prefix: str, score_name: str, metric: str, entity: Entity) -> str:  # noqa: ARG001
    """Segment takes the standard names as they are."""
    return trait_name(prefix, score_name, metric)


REQUESTS_PER_10S = "9000"
"""Segment recommends at most 1,000 requests per second and workspace (documentation, copy of 2025-11). In a window
that short, late calls meet the next ones: a tenth stays free."""


def limits(settings: Mapping[str, str]) -> Limits:
    """The limits that follow from the settings."""
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
