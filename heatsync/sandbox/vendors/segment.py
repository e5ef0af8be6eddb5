"""Segment: POST /v1/batch.

It answers 200 to everything except unreadable JSON, a request that is too large, and too many requests; a wrong
write key or an unusable item is dropped silently. Sources: segment.com/docs, 2025-11.
"""

import json
import math
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from heatsync.sandbox.calls import Call, Reply, Route, Unreadable, account_of, is_refused
from heatsync.sandbox.fault_types import VendorFaults
from heatsync.sandbox.quotas import Quota
from heatsync.sandbox.simulator import DemoData, Simulator
from heatsync.sandbox.state import mapped, only

BATCH_BYTES = 500 * 1024
ITEM_BYTES = 32 * 1024
ITEMS = 2500
MESSAGE_ID = 100
"""Characters."""


class Store:
    """Profiles by user id, groups by group id, and the members of groups.

    `anonymous` holds the profiles without a user id. It and `members` are shown unless they are empty.
    """

    def __init__(self, account: str) -> None:
        self.account = account
        self.users: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, dict[str, Any]] = {}
        self.anonymous: dict[str, dict[str, Any]] = {}
        self.members: dict[str, dict[str, None]] = {}
        self.seen: set[str] = set()
        """Message ids. Segment remembers them for at least 24 h; the sandbox until the state is replaced."""

    def load(self, part: Mapping[str, Any], _fields: Mapping[str, Any]) -> None:
        only(part, ("users", "groups", "anonymous", "members"), "segment")
        for name, kept in (("users", self.users), ("groups", self.groups), ("anonymous", self.anonymous)):
            of = mapped(part, name, "segment")
            kept |= {str(id): dict(mapped(of, id, f"segment.{name}")) for id in of}
        for group, users in mapped(part, "members", "segment").items():
            self.members[group] = dict.fromkeys(map(str, users))

    def dump(self) -> dict[str, Any]:
        body: dict[str, Any] = {"users": _copied(self.users), "groups": _copied(self.groups)}
        if self.anonymous:
            body["anonymous"] = _copied(self.anonymous)
        if self.members:
            body["members"] = {group: list(users) for group, users in self.members.items()}
        return body

    def dump_fields(self) -> None:
        return None

    def take(self, item: Mapping[str, Any]) -> bool:
        """Store an item; False where Segment drops it."""
        kind, traits = item.get("type"), item.get("traits") or {}
        user, anonymous = _id(item, "userId"), _id(item, "anonymousId")
        if not user and not anonymous:
            return False
        if kind == "identify" and isinstance(traits, dict):
            kept = self.users.setdefault(user, {}) if user else self.anonymous.setdefault(anonymous, {})
            kept.update(traits)
            return True
        if kind == "group" and isinstance(traits, dict):
            group = _id(item, "groupId")
            if not group:
                return False
            self.groups.setdefault(group, {}).update(traits)
            self.members.setdefault(group, {})[user or anonymous] = None
            return True
        return kind in ("track", "page", "screen", "alias")


def _copied(kept: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {id: dict(traits) for id, traits in kept.items()}


def _id(item: Mapping[str, Any], name: str) -> str:
    found = item.get(name)
    if isinstance(found, str | int) and not isinstance(found, bool):
        return str(found)
    return ""


def _bad(message: str) -> Reply:
    return Reply(400, {"success": False, "code": "invalid_request", "message": message})


def batch(call: Call, store: Store) -> Reply:
    body = call.object()
    if len(call.body) > BATCH_BYTES:
        return _bad("Exceeded max request size")
    items = body.get("batch")
    if not isinstance(items, list):
        return _bad("batch must be a list")
    # An item fails the whole request only when it is too large; most bodies are too small for that.
    if len(call.body) > ITEM_BYTES and any(_bytes(item) > ITEM_BYTES for item in items):
        return _bad("Exceeded max message size")
    taken = duplicates = 0
    key = _write_key(call)
    for item in items[:ITEMS] if key and not is_refused(key) else []:
        message = item.get("messageId") if isinstance(item, dict) else None
        if not isinstance(item, dict) or (message is not None and not _fits(message)):
            continue
        if message is not None and message in store.seen:
            duplicates += 1
        elif store.take(item):
            taken += 1
            if message is not None:
                store.seen.add(message)
    counts = {"duplicates": duplicates, "dropped": len(items) - taken - duplicates}
    return Reply(200, {"success": True}, records=len(items), counts=counts)


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _bytes(item: Any) -> int:
    return len(_encode(item).encode(errors="replace"))


def _fits(message: Any) -> bool:
    return isinstance(message, str) and 0 < len(message) <= MESSAGE_ID


def _write_key(call: Call) -> str:
    """From Basic authentication (`WRITE_KEY:`), else from the body."""
    kind, _, rest = call.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            return b64decode(rest, validate=True).decode().removesuffix(":")
        except ValueError:
            return ""
    try:
        return str(call.object().get("writeKey", ""))
    except Unreadable:
        return ""


def _account(call: Call) -> str:
    return account_of(_write_key(call))


def _limited(_call: Call, _window: str, wait: float) -> Reply:
    seconds = str(max(1, math.ceil(wait)))
    headers = {"Retry-After": seconds, "X-RateLimit-Reset": seconds}
    return Reply(429, {"success": False, "code": "rate_limited", "message": "Too many requests"}, headers)


def _unknown(_call: Call) -> Reply:
    return Reply(404, {"success": False, "code": "not_found", "message": "Not found"})


SIMULATOR = Simulator(
    name="segment",
    title="Segment",
    prefixes=("/v1/",),
    routes=[Route("POST", "/v1/batch", "POST v1/batch", batch, ("burst",))],
    store=Store,
    quotas={"burst": Quota(1000, 1.0)},
    main_quota="burst",
    account=_account,
    limited=_limited,
    unreadable=lambda message: _bad(f"Invalid JSON: {message}"),
    unknown=_unknown,
    faults=VendorFaults(lambda code, message: {"success": False, "code": code, "message": message}),
    counts=("duplicates", "dropped"),
    demo=DemoData(lambda _users, _accounts: {"users": {}, "groups": {}}),
)
