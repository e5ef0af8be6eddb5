"""HubSpot: contacts and companies in batches of a hundred, through the SDK and under dated paths.

A contact is found by its e-mail address, also by a secondary one, or by any property with unique values. A company has no
natural key: `domain` is searched for, and must have exactly one hit. Records are written by their id. Each input carries a
trace id: one that is in neither the results nor the errors was not delivered, whatever the status says.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from connectors import lookup_rounds
from connectors.answers import Answer, as_object, is_id, objects_in
from connectors.destination import Limits, ObjectKind, Setting, Throttle, Vendor, trait_name
from connectors.errors import ConfigurationError, Misunderstood
from connectors.http import LostAnswer, VendorClient
from connectors.hubspot import records
from connectors.hubspot.client import CONNECTIONS, HOST, RAW, RULES, HubSpotClient
from connectors.hubspot.oauth import OAUTH
from connectors.hubspot.properties import Properties
from connectors.hubspot.records import BATCH, OWN_ID, Item
from connectors.lookup_rounds import Hit
from connectors.outcomes import already_exists, no_answer, not_found
from connectors.types import Account, Batch, Entity, FieldType, Found, Kind, Lookup, Outcome, Status

PAGE = 200
SEARCH_LENGTH = 2_900
"""Characters; a search whose body is longer than 3,000 is refused (search guide, 2026)."""
ALIASES = {"email": "hs_additional_emails", OWN_ID: "hs_merged_object_ids"}
"""Where else a record may hold the value it is looked up by: its other addresses, the ids of records merged into it."""
SEARCH_LAG = 60.0
"""Seconds. A search shows a new record "a few moments" later (search guide, 2026), without a number."""
SEARCHED = frozenset({("companies", "domain")})
"""Keys that are no unique property."""


class HubSpot(Properties):
    """One portal."""

    def __init__(
        self, settings: Mapping[str, str], throttle: Throttle, on_request: Callable[[], None]
    ) -> None:
        self.host = (settings.get("url") or HOST).partition("://")[2].rstrip("/")
        super().__init__(HubSpotClient(settings, VendorClient(RULES, throttle, on_request)))
        self._throttle = throttle

    def close(self) -> None:
        self._client.close()

    def account(self) -> Account:
        answer = self._client.get("/account-info/v3/details")
        portal = answer.field("portalId")
        if answer.status != 200 or not is_id(portal):
            self._client.transport.misread(answer, "GET /account-info")
        kind = str(answer.field("accountType") or "").replace("_", " ").lower()
        return Account("portal", str(portal), kind)

    def find(
        self, object: str, lookups: Sequence[Lookup], fields: Mapping[str, FieldType]
    ) -> Iterator[Found]:
        def ask(field: str, values: Sequence[str]) -> Mapping[str, list[Hit]]:
            hits: dict[str, list[Hit]] = {}
            usable = list(dict.fromkeys(_asked(field, value) for value in values if _can_be(field, value)))
            if (object, field) in SEARCHED:
                self._search(object, field, usable, fields, hits)
            else:
                for part in records.parts(usable, BATCH):
                    if not self._read(object, field, part, fields, hits) and len(part) > 1:
                        raise Misunderstood(
                            f"HubSpot refuses to look up any of {len(part)} {object} by {field!r}"
                        )
            return {value: hits.get(records.folded(value), []) for value in values}

        return lookup_rounds.find(lookups, OWN_ID, ask, records.decode, fields)

    def _read(
        self,
        object: str,
        field: str,
        values: Sequence[str],
        fields: Iterable[str],
        hits: dict[str, list[Hit]],
    ) -> bool:
        """Add what is found; False when every single value is refused."""
        alias = ALIASES.get(field)
        body = {
            "inputs": [{"id": value} for value in values],
            "properties": list(dict.fromkeys([*fields, field, *([alias] if alias else [])])),
            "propertiesWithHistory": [],
            **({} if field == OWN_ID else {"idProperty": field}),
        }
        api = self._client.batch(object)
        answer = self._client.ask(lambda: api.read(body, **RAW))
        if answer.status == 400 and "non-unique" in str(answer.body):
            raise ConfigurationError(
                f"HubSpot cannot look up {object} by {field!r}: its values are not unique. Match by a property that was "
                "created with unique values, or by the record's id."
            )
        if answer.status in (400, 414) and isinstance(answer.body, dict):
            # One value that HubSpot cannot read makes it refuse them all.
            half = len(values) // 2
            if not half:
                return False
            first = self._read(object, field, values[:half], fields, hits)
            return self._read(object, field, values[half:], fields, hits) or first
        _collect(self._client.results(answer, "batch/read"), field, alias, hits)
        return True

    def _search(
        self,
        object: str,
        field: str,
        values: Sequence[str],
        fields: Iterable[str],
        hits: dict[str, list[Hit]],
    ) -> None:
        wanted = list(dict.fromkeys([*fields, field]))
        room = SEARCH_LENGTH - 200 - sum(len(name) + 4 for name in wanted)
        for part in records.parts(values, BATCH, max(room, 400)):
            body: dict[str, Any] = {
                "filterGroups": [
                    {"filters": [{"propertyName": field, "operator": "IN", "values": list(part)}]}
                ],
                "properties": wanted,
                "limit": PAGE,
            }
            while True:
                answer = self._page(object, body)
                _collect(self._client.results(answer, "search"), field, None, hits)
                paging = answer.field("paging")
                following = as_object(paging).get("next")
                if not following and isinstance(paging, dict | None):
                    break
                after = as_object(following).get("after")
                # Half of a list must not be taken for the whole.
                if not is_id(after) or after == body.get("after"):
                    self._client.transport.misread(answer, "search")
                body = {**body, "after": after}

    def _page(self, object: str, body: Mapping[str, Any]) -> Answer:
        api = self._client.search(object)
        # Five searches a second per portal, whatever else the quota allows (documentation, 2026).
        searches = self._throttle.sub_quota("search", 9, 2.0)
        return self._client.ask(lambda: api.do_search(body, **RAW), sub_quota=searches)

    @property
    def _token(self) -> str:
        return self._client.token.secrets[0]

    def push(self, batch: Batch) -> Iterator[Outcome]:
        updates: list[Item] = []
        creates: list[Item] = []
        for position, change in enumerate(batch.changes):
            if change.kind is Kind.LEFT and change.remote_id is None:
                yield not_found(change)
                continue
            item = records.item(f"{batch.id}-{position}", change)
            if isinstance(item, Outcome):
                yield item
            else:
                (updates if change.remote_id else creates).append(item)
        # HubSpot refuses a batch that names a record twice.
        for part in records.distinct(updates):
            yield from self._write(batch.object, part)
        for part in records.parts(creates, BATCH):
            yield from self._write(batch.object, part)

    def _write(self, object: str, items: Sequence[Item]) -> Iterator[Outcome]:
        """Write items that are all updates or all new. Items that HubSpot refuses the batch for are taken out, or found by
        halving."""
        api = self._client.batch(object)
        new = items[0].change.remote_id is None
        body = {"inputs": [records.as_input(item) for item in items]}
        write = api.create if new else api.update
        try:
            answer = self._client.ask(lambda: write(body, **RAW), safe=not new)
        except LostAnswer as lost:
            yield from (no_answer(item.change.key, "HubSpot", lost) for item in items)
            return
        if answer.ok:
            yield from self._settle(object, answer, items)
            return
        if not answer.refused or not isinstance(answer.body, dict):
            self._client.transport.misread(answer, f"a write of {object}")
        at_fault = records.named(items, answer.body, self._token)
        at_fault |= records.at_fault([i for i in items if i.trace not in at_fault], answer.body, self._token)
        yield from at_fault.values()
        rest = [item for item in items if item.trace not in at_fault]
        if at_fault and rest:
            yield from self._write(object, rest)
        elif len(rest) > 1:
            half = len(rest) // 2
            yield from self._write(object, rest[:half])
            yield from self._write(object, rest[half:])
        elif rest:
            yield from self._refused(object, [(rest[0], answer.body)])

    def _settle(self, object: str, answer: Answer, items: Sequence[Item]) -> Iterator[Outcome]:
        """One outcome per item. An item that is in neither list has no answer."""
        results = self._client.results(answer, f"a write of {object}")
        left = {item.trace: item for item in items}
        refused = []
        for error in objects_in(answer.field("errors")):
            for item in records.named_by(error, left):
                refused.append((left.pop(item.trace), error))
        for result in results:
            found = records.matching(result, left)
            if found is not None:
                del left[found.trace]
                yield Outcome(found.change.key, Status.DELIVERED, remote_id=str(result["id"]))
        yield from self._refused(object, refused)
        for item in left.values():
            # Seen with whole batches that were fine the next time (hubspot-api-nodejs 548): the next sync reads them.
            yield Outcome(
                item.change.key,
                Status.UNKNOWN,
                remote_id=item.change.remote_id,
                code="unanswered",
                cause=f"HubSpot answered {answer.status} without a result for this record",
                answer=self._client.transport.redacted(answer.body),
            )

    def _refused(self, object: str, refused: Sequence[tuple[Item, Mapping[str, Any]]]) -> Iterator[Outcome]:
        """The outcomes of refused items. One that already exists is updated instead."""
        existing: list[Item] = []
        for item, error in refused:
            known = records.EXISTING.search(str(error.get("message") or ""))
            if known and item.change.remote_id is None and error.get("category") == "CONFLICT":
                change = replace(item.change, remote_id=known[1])
                again = records.item(item.trace, change)
                assert isinstance(again, Item)
                if again.properties:
                    existing.append(again)
                else:
                    yield already_exists(item.change.key, "HubSpot", known[1])
            else:
                yield records.refusal(item, error, self._token)
        for part in records.distinct(existing):
            yield from self._write(object, part)


def _asked(field: str, value: str) -> str:
    """A key as HubSpot stores it: addresses and domains in lower case."""
    return records.folded(value) if field in ("email", "domain") else value.strip()


def _can_be(field: str, value: str) -> bool:
    """Whether a key is worth asking for: one impossible key can make HubSpot refuse the whole call."""
    if field == OWN_ID:
        return value.isascii() and value.isdigit()
    if field == "email":
        name, at, host = value.strip().partition("@")
        return bool(name and at and "." in host) and not any(c.isspace() for c in value.strip())
    return bool(value.strip())


def _collect(
    results: Sequence[Mapping[str, Any]], field: str, alias: str | None, hits: dict[str, list[Hit]]
) -> None:
    for result in results:
        values = as_object(result.get("properties"))
        own = result["id"] if field == OWN_ID else values.get(field)
        others = str(values.get(alias) or "").split(";") if alias else []
        hit = Hit(str(result["id"]), values)
        for value in {records.folded(str(each)) for each in (own, *others) if each}:
            known = hits.setdefault(value, [])
            if all(each.remote_id != hit.remote_id for each in known):
                known.append(hit)


def name_trait(prefix: str, score_name: str, metric: str, entity: Entity) -> str:  # noqa: ARG001
    """HubSpot keeps names in lower case."""
    return trait_name(prefix, score_name, metric).lower()


REQUESTS_PER_10S = "100"
"""Free and Starter portals; Professional and Enterprise ones have 190 (usage guidelines, 2026)."""


def limits(settings: Mapping[str, str]) -> Limits:
    """The limits that follow from the settings."""
    return Limits(
        records_per_call=BATCH,
        lookups_per_call=BATCH,
        calls=int(settings.get("requests_per_10s") or REQUESTS_PER_10S),
        seconds=10.0,
        concurrency=CONNECTIONS,
    )


VENDOR = Vendor(
    type="hubspot",
    title="HubSpot",
    settings={
        "token": Setting(secret=True),
        "client_id": Setting(),
        "client_secret": Setting(secret=True),
        "refresh_token": Setting(secret=True),
        "url": Setting(),
        "requests_per_10s": Setting(default=REQUESTS_PER_10S, whole_number=True),
    },
    objects={
        "contacts": ObjectKind(Entity.USER, (("email", "email"),)),
        "companies": ObjectKind(
            Entity.ACCOUNT, (("domain", "domain"),), search_lag=SEARCH_LAG, name_field="name"
        ),
    },
    limits=limits,
    connect=HubSpot,
    name_trait=name_trait,
    field_name_pattern=r"[a-z][a-z0-9_]{0,99}",
    field_name_rule="up to 100 lower-case letters, digits and _, a letter first",
    credential_groups=(("token",), OAUTH),
    id_field=OWN_ID,
    account_settings=("token", "client_id", "client_secret", "refresh_token", "url"),
)
