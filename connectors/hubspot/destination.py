"""HubSpot: contacts and companies in batches of a hundred, through the SDK and under dated paths.

A contact is found by its e-mail address or any property with unique values, whatever other address it has as its
first. A company has no natural key: `domain` is searched for, and must have exactly one hit. Records are written by
their id; each input carries a trace id, and one that is neither among the results nor among the errors was not
delivered, whatever the status says.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from connectors import lookup_rounds
from connectors.destination import Limits, ObjectKind, Setting, Throttle, Vendor, trait_name
from connectors.errors import ConfigurationError, Misunderstood, Unauthorized
from connectors.http import Answer, LostAnswer, VendorClient, redacted
from connectors.hubspot import records
from connectors.hubspot.client import API_VERSION, CONNECTIONS, HOST, RAW, HubSpotClient, quota, wait
from connectors.hubspot.oauth import OAUTH
from connectors.hubspot.records import BATCH, OWN_ID, Item
from connectors.lookup_rounds import Hit
from connectors.types import (
    Account,
    Batch,
    Entity,
    FieldType,
    Found,
    Kind,
    Lookup,
    NewField,
    Outcome,
    RemoteField,
    Status,
    already_exists,
)

PAGE = 200
SEARCH_LENGTH = 2_900
"""Characters; a search whose body is longer than 3,000 is refused (search guide, 2026)."""
ALIASES = {"email": "hs_additional_emails", OWN_ID: "hs_merged_object_ids"}
"""Where else a record may have what it was asked by: its other addresses, the ids of what was merged into it."""
SEARCH_LAG = 60.0
"""Seconds. A search shows a new record "a few moments" later (search guide, 2026); how many is not said."""
RIGHTS = "/oauth/v2/private-apps/get/access-token-info"
SEARCHED = frozenset({("companies", "domain")})
"""Keys that are no unique property."""


class HubSpot:
    """One portal."""

    def __init__(self, settings: Mapping[str, str], throttle: Throttle, made: Callable[[], None]) -> None:
        self.host = (settings.get("url") or HOST).partition("://")[2].rstrip("/")
        line = VendorClient("HubSpot", throttle, made, wait=wait, quota=quota)
        self._wire = HubSpotClient(settings, line)
        self._throttle = throttle

    @property
    def _token(self) -> str:
        return self._wire.token.secrets[0]

    def close(self) -> None:
        self._wire.close()

    def account(self) -> Account:
        answer = self._ask(lambda: self._wire.get("/account-info/v3/details"))
        portal = answer.body.get("portalId") if isinstance(answer.body, dict) else None
        if answer.status != 200 or not portal:
            self._misread(answer, "GET /account-info")
        return Account(
            "portal", str(portal), str(answer.body.get("accountType") or "").replace("_", " ").lower()
        )

    def fields(self, object: str) -> Mapping[str, RemoteField]:
        return records.described(self._properties(object))

    def archived_fields(self, object: str) -> Mapping[str, RemoteField]:
        # The SDK would write True, as Python does (12.0.0).
        return records.archived(self._properties(object, archived="true"))

    def _properties(self, object: str, **which: str) -> list[Mapping[str, Any]]:
        properties = self._wire.properties.core_api
        answer = self._ask(lambda: self._wire.call(lambda: properties.get_all(object, **which, **RAW)))
        listed = answer.body.get("results") if isinstance(answer.body, dict) else None
        if answer.status != 200 or not isinstance(listed, list):
            self._misread(answer, "GET /crm/properties")
        return listed

    def fields_left(self, object: str) -> int | None:  # noqa: ARG002 (one limit for all objects)
        answer = self._ask(lambda: self._wire.get(f"/crm/limits/{API_VERSION}/custom-properties"))
        body = answer.body if isinstance(answer.body, dict) else {}
        limit, used = body.get("overallLimit"), body.get("overallUsage")
        if answer.status != 200 or not isinstance(limit, int) or not isinstance(used, int):
            self._misread(answer, "GET /crm/limits")
        return max(0, limit - used)

    def missing_permissions(self, object: str, create_fields: bool) -> tuple[str, ...]:
        """The scopes, where HubSpot knows them: of the token of a private app and of a service key (private apps guide,
        2026; seen live by others), not of an OAuth app."""
        if self._wire.token.renewable:
            return ()
        try:
            answer = self._wire.post(RIGHTS, {"tokenKey": self._token})
        except Unauthorized:
            # What is asked of the objects themselves tells whether the token is good; this only knows some kinds.
            return ()
        held = answer.body.get("scopes") if isinstance(answer.body, dict) else None
        if answer.status != 200 or not isinstance(held, list):
            return ()
        needed = [f"crm.objects.{object}.read", f"crm.objects.{object}.write"]
        needed += [f"crm.schemas.{object}.write"] if create_fields else []
        return tuple(scope for scope in needed if scope not in held)

    def create_fields(self, object: str, fields: Sequence[NewField]) -> None:
        if not fields:
            return
        properties = self._wire.properties
        group = {"name": records.GROUP, "label": records.GROUP}
        answer = self._wire.call(lambda: properties.groups_api.create(object, group, **RAW))
        if answer.status not in (201, 409):
            self._unmade(answer, f"the group {records.GROUP!r}", answer.body)
        for part in records.parts(fields, BATCH):
            inputs = {"inputs": [records.definition(field) for field in part]}
            answer = self._made(properties, object, inputs)
            for error in answer.body.get("errors") or ():
                if error.get("category") != "OBJECT_ALREADY_EXISTS":
                    names = (error.get("context") or {}).get("name") or ["?"]
                    self._unmade(answer, f"the property {names[0]!r}", error)
            # A name that was archived comes back as it was (seen live, 2026-09-29).
            wanted = {field.name: records.TYPES[field.type][0] for field in part}
            for result in answer.body["results"]:
                name, type = result.get("name"), result.get("type")
                if name in wanted and type != wanted[name]:
                    raise ConfigurationError(
                        f"HubSpot brought the archived property {name!r} of {object} back, which is a {type} and "
                        f"not a {wanted[name]}. Delete it there for good, or name another field in the mapping."
                    )

    def _made(self, properties: Any, object: str, inputs: Mapping[str, Any]) -> Answer:
        answer = self._wire.call(lambda: properties.batch_api.create(object, inputs, **RAW))
        if 400 <= answer.status < 500:
            self._unmade(answer, "properties", answer.body)
        if not isinstance(answer.body, dict) or not isinstance(answer.body.get("results"), list):
            self._misread(answer, "POST /crm/properties")
        return answer

    def _unmade(self, answer: Answer, what: str, error: Any) -> NoReturn:
        said = error.get("message") if isinstance(error, dict) else None
        scope = " or ".join(records.scopes_lacking(error)) or "crm.schemas.*.write"
        raise ConfigurationError(
            f"HubSpot does not make {what} ({answer.status}): {redacted(said or error, self._token)} "
            f"Make it there by hand, grant the token {scope}, or leave create_fields out of the mapping."
        )

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
        api = self._wire.batch(object)
        answer = self._ask(lambda: self._wire.call(lambda: api.read(body, **RAW)))
        if answer.status == 400 and "non-unique" in str(answer.body):
            raise ConfigurationError(
                f"HubSpot does not find {object} by {field!r}: it is no property with unique values. Match by one "
                "that is (it has to be made as such), or by the record's id."
            )
        if answer.status in (400, 414) and isinstance(answer.body, dict):
            # One value that it cannot read has them all refused.
            half = len(values) // 2
            if not half:
                return False
            first = self._read(object, field, values[:half], fields, hits)
            return self._read(object, field, values[half:], fields, hits) or first
        _collect(self._results(answer, "batch/read"), field, alias, hits)
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
                _collect(self._results(answer, "search"), field, None, hits)
                following = (answer.body.get("paging") or {}).get("next")
                if not following:
                    break
                body = {**body, "after": following["after"]}

    def _page(self, object: str, body: Mapping[str, Any]) -> Answer:
        api = self._wire.search(object)
        # Five searches a second and portal, whatever else the quota allows (documentation, 2026).
        searches = self._throttle.sub_quota("search", 9, 2.0)
        return self._ask(lambda: self._wire.call(lambda: api.do_search(body, **RAW), part=searches))

    def push(self, batch: Batch) -> Iterator[Outcome]:
        updates: list[Item] = []
        creates: list[Item] = []
        for position, change in enumerate(batch.changes):
            if change.kind is Kind.LEFT and change.remote_id is None:
                yield Outcome(
                    change.key, Status.SKIPPED, code="not_found", cause="there is no record to leave"
                )
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
        """Write items that are all updates or all new. What sinks the batch is taken out of it, or found by halves."""
        api = self._wire.batch(object)
        new = items[0].change.remote_id is None
        body = {"inputs": [records.as_input(item) for item in items]}
        write = api.create if new else api.update
        try:
            answer = self._ask(lambda: self._wire.call(lambda: write(body, **RAW), safe=not new))
        except LostAnswer as lost:
            cause = f"HubSpot's answer was lost ({lost}): the record may have been made"
            for item in items:
                yield Outcome(item.change.key, Status.UNKNOWN, code="no_answer", cause=cause)
            return
        if 200 <= answer.status < 300:
            yield from self._settle(object, answer, items)
            return
        if not 400 <= answer.status < 500 or not isinstance(answer.body, dict):
            self._misread(answer, f"a write of {object}")
        guilty = records.named(items, answer.body, self._token)
        guilty |= records.convicted([i for i in items if i.trace not in guilty], answer.body, self._token)
        yield from guilty.values()
        rest = [item for item in items if item.trace not in guilty]
        if guilty and rest:
            yield from self._write(object, rest)
        elif len(rest) > 1:
            half = len(rest) // 2
            yield from self._write(object, rest[:half])
            yield from self._write(object, rest[half:])
        elif rest:
            yield from self._refused(object, [(rest[0], answer.body)])

    def _settle(self, object: str, answer: Answer, items: Sequence[Item]) -> Iterator[Outcome]:
        """One outcome per item: whoever is named in neither list has no answer."""
        results = self._results(answer, f"a write of {object}")
        left = {item.trace: item for item in items}
        refused = []
        for error in answer.body.get("errors") or ():
            for item in records.meant(error, left):
                refused.append((left.pop(item.trace), error))
        for result in results:
            found = records.answered(result, left)
            if found is not None:
                del left[found.trace]
                yield Outcome(found.change.key, Status.DELIVERED, remote_id=str(result["id"]))
        yield from self._refused(object, refused)
        for item in left.values():
            # Seen of whole batches that were fine the next time (hubspot-api-nodejs 548): to be looked at again.
            yield Outcome(
                item.change.key,
                Status.UNKNOWN,
                remote_id=item.change.remote_id,
                code="unanswered",
                cause=f"HubSpot answered {answer.status} without a word on this record",
                answer=redacted(answer.body, self._token),
            )

    def _refused(self, object: str, refused: Sequence[tuple[Item, Mapping[str, Any]]]) -> Iterator[Outcome]:
        """Refusals; but a record that turns out to exist already is updated."""
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

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        answer = call()
        if answer.status == 403:
            scopes = records.scopes_lacking(answer.body)
            said = (
                f"Grant the scope {' or '.join(scopes)}"
                if scopes
                else f"{redacted(answer.body, self._token)} Grant the scopes crm.objects.* and crm.schemas.*"
            )
            raise Unauthorized(f"HubSpot does not let the token do this (403). {said}, or use another token.")
        return answer

    def _results(self, answer: Answer, call: str) -> list[Any]:
        results = answer.body.get("results") if isinstance(answer.body, dict) else None
        if not 200 <= answer.status < 300 or not isinstance(results, list):
            self._misread(answer, call)
        if not all(isinstance(each, dict) and each.get("id") for each in results):
            self._misread(answer, call)
        return results

    def _misread(self, answer: Answer, call: str) -> NoReturn:
        raise Misunderstood(
            f"HubSpot's answer to {call} ({answer.status}) is not one that heatsync knows",
            redacted(answer.body, self._token),
        )


def _asked(field: str, value: str) -> str:
    """A key as HubSpot keeps it: addresses and domains are in lower case there."""
    return records.folded(value) if field in ("email", "domain") else value.strip()


def _can_be(field: str, value: str) -> bool:
    """Whether it is worth asking: one impossible key may have the whole call refused."""
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
        values = result.get("properties") or {}
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
    account_settings=("token", "client_id", "client_secret", "refresh_token", "url"),
)
