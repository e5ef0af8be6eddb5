"""Intercom: contacts and companies, one record a call, and their tags, fifty records a call. API 2.14.

Contacts are found through search, which lags by up to minutes (OpenAPI description 2.14): creating a contact that search
does not show yet ends in a conflict, and then updates it. Companies are asked for one by one. Intercom's own attributes are
written beside `custom_attributes`, all others inside; times and dates are unix seconds.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from connectors.answers import Answer, as_object, is_id
from connectors.destination import Limits, ObjectKind, Setting, Throttle, Vendor, trait_name
from connectors.errors import Unavailable
from connectors.http import LostAnswer, VendorClient
from connectors.intercom import records, tags
from connectors.intercom.attributes import Attributes
from connectors.intercom.client import (
    CONCURRENCY,
    HOSTS,
    RULES,
    IntercomClient,
    address,
    errors,
    merged_into,
)
from connectors.outcomes import already_exists, no_answer
from connectors.types import Account, Batch, Change, Entity, FieldType, Found, Lookup, Outcome, Status

PER_PAGE = 150
"""The most contacts on a page of search results, hence also the lookups of one search."""
SAFE_WIDTH = 15
"""The filters that a group may have. How many values `IN` accepts is not documented; this many are safe."""

EXISTING = re.compile(r"\bid=(\w+)")


class Intercom(Attributes):
    """One workspace."""

    def __init__(
        self, settings: Mapping[str, str], throttle: Throttle, on_request: Callable[[], None]
    ) -> None:
        url = address(settings)
        self.host = url.partition("://")[2]
        client = VendorClient(RULES, throttle, on_request)
        super().__init__(IntercomClient(url, settings["token"], client))
        self._width = PER_PAGE
        self._tags = tags.Tags(self._client, self._refusal)

    def close(self) -> None:
        """Close the connections; the destination cannot be used after that."""
        self._client.close()

    def account(self) -> Account:
        answer = self._client.typed(lambda sdk: sdk.admins.identify())
        app = as_object(answer.field("app"))
        if answer.status != 200 or not is_id(app.get("id_code")):
            self._client.misread(answer, "GET /me")
        return Account("workspace", str(app["id_code"]), str(app.get("name") or ""))

    def find(
        self, object: str, lookups: Sequence[Lookup], fields: Mapping[str, FieldType]
    ) -> Iterator[Found]:
        tagged = self._tags.reader()
        if object == "companies":
            yield from self._find_companies(lookups, fields, tagged)
            return
        done = 0
        while done < len(lookups):
            group = lookups[done : done + self._width]
            people = self._search(group)
            if people is None:
                self._width = SAFE_WIDTH
                continue
            done += len(group)
            yield from (records.chosen(lookup, people, fields, tagged) for lookup in group)

    def _search(self, group: Sequence[Lookup]) -> records.Index | None:
        """Every contact that any of the lookups may mean; None when Intercom refuses so many at once."""
        wanted: dict[str, dict[str, None]] = {}
        for lookup in group:
            for field, value in records.keys(lookup):
                wanted.setdefault(field, {})[value] = None
        if not wanted:
            return {}
        filters = [
            {"field": field, "operator": "IN", "value": list(values)} for field, values in wanted.items()
        ]
        query = filters[0] if len(filters) == 1 else {"operator": "OR", "value": filters}
        page: dict[str, Any] = {"per_page": PER_PAGE}
        people: list[records.Record] = []
        while True:
            answer = self._client.direct("POST", "contacts/search", {"query": query, "pagination": page})
            if answer.status == 400 and len(group) > SAFE_WIDTH:
                return None
            people += self._client.listed(answer, "POST /contacts/search")
            pages = answer.field("pages")
            following = as_object(pages).get("next")
            if not following and isinstance(pages, dict | None):
                return records.indexed(people)
            after = as_object(following).get("starting_after")
            # Half of a list must not be taken for the whole.
            if not is_id(after) or after == page.get("starting_after"):
                self._client.misread(answer, "POST /contacts/search")
            page = {"per_page": PER_PAGE, "starting_after": after}

    def _find_companies(
        self, lookups: Sequence[Lookup], fields: Mapping[str, FieldType], tagged: records.Tagged
    ) -> Iterator[Found]:
        """One call each, several at once. When one fails, the results of the others come before its error."""
        with futures.ThreadPoolExecutor(CONCURRENCY) as pool:
            calls = [pool.submit(self._find_company, lookup, fields, tagged) for lookup in lookups]
            try:
                futures.wait(calls, return_when=futures.FIRST_EXCEPTION)
            finally:
                pool.shutdown(cancel_futures=True)
        done = [call for call in calls if not call.cancelled()]
        yield from (call.result() for call in sorted(done, key=lambda call: call.exception() is not None))

    def _find_company(self, lookup: Lookup, fields: Mapping[str, FieldType], tagged: records.Tagged) -> Found:
        if lookup.remote_id:
            path = quote(lookup.remote_id, safe="")
            answer = self._client.typed(lambda sdk: sdk.companies.find(path))
            if self._client.names_record(answer):
                return records.found(lookup, [answer.body], "id", "companies", fields, tagged)
            self._expect_absence(answer)
        for match in lookup.match:
            companies = self._companies(match.value)
            if companies:
                return records.found(lookup, companies, match.field, "companies", fields, tagged)
        return Found(lookup.key, ())

    def _companies(self, company_id: str) -> list[records.Record]:
        answer = self._client.typed(lambda sdk: sdk.companies.retrieve(company_id=company_id))
        if answer.status != 200:
            self._expect_absence(answer)
            return []
        # The documentation shows a list, the service answers the company itself.
        one = answer.field("type") == "company" and self._client.names_record(answer)
        listed = [answer.body] if one else self._client.listed(answer, "GET /companies")
        return [each for each in listed if each.get("company_id") == company_id]

    def _expect_absence(self, answer: Answer) -> None:
        """Raises Misunderstood unless Intercom itself says that there is no such record."""
        if answer.status != 404 or not errors(answer):
            self._client.misread(answer, "GET /companies")

    def push(self, batch: Batch) -> Iterator[Outcome]:
        """Tags come first: their calls are few, and after them the outcomes come record by record."""
        apart = [tags.apart(change) for change in batch.changes]
        refused = self._tags.write(
            batch.object,
            [
                (change, wanted, change.remote_id)
                for change, wanted in apart
                if wanted and change.remote_id and not isinstance(records.body(batch.object, change), Outcome)
            ],
        )
        if batch.object == "contacts":
            apart, refused = self._followed(apart, refused)
        created: dict[str, tags.TagChange] = {}
        error: Unavailable | None = None
        try:
            yield from self._push_each(batch.object, apart, refused, created)
        except Unavailable as unavailable:
            # Records that were created before the error still get their tags and outcomes.
            error = unavailable
        refused = self._tags.write(batch.object, list(created.values()))
        for key, (_, _, id) in created.items():
            if key in refused:
                yield replace(refused[key], partly_written=True)
            else:
                yield Outcome(key, Status.DELIVERED, remote_id=id)
        if error is not None:
            raise error

    def _followed(
        self, apart: list[tuple[Change, Mapping[str, bool]]], refused: Mapping[str, Outcome]
    ) -> tuple[list[tuple[Change, Mapping[str, bool]]], Mapping[str, Outcome]]:
        """Tag contacts that were merged into others: the call that tags many does not follow merges.

        Returns the changes with the ids of the remaining contacts, and the refusals that are left.
        """
        survivors = {}
        for change, _ in apart:
            gone = change.key in refused and refused[change.key].code == "not_found" and change.remote_id
            survivor = self._survivor(change.remote_id) if gone and change.remote_id else None
            if survivor:
                survivors[change.key] = survivor
        if not survivors:
            return apart, refused
        apart = [
            (replace(change, remote_id=survivors.get(change.key, change.remote_id)), on)
            for change, on in apart
        ]
        again = [(change, on, survivors[change.key]) for change, on in apart if change.key in survivors]
        left = {key: outcome for key, outcome in refused.items() if key not in survivors}
        return apart, left | dict(self._tags.write("contacts", again))

    def _survivor(self, id: str) -> str | None:
        """The contact that another one was merged into, where Intercom names it; else it counts as gone."""
        return merged_into(self._client.direct("GET", f"contacts/{quote(id, safe='')}", None))

    def _push_each(
        self,
        object: str,
        apart: Sequence[tuple[Change, Mapping[str, bool]]],
        refused: Mapping[str, Outcome],
        created: dict[str, tags.TagChange],
    ) -> Iterator[Outcome]:
        """Write everything but tags. Created records that need tags go into `created` and have no outcome yet."""
        missing: dict[str, Outcome] = {}
        for change, wanted in apart:
            if change.key in refused:
                yield refused[change.key]
                continue
            if wanted and change.remote_id and not change.fields:
                yield Outcome(change.key, Status.DELIVERED, remote_id=change.remote_id)
                continue
            known = next((missing[name] for name in change.fields if name in missing), None)
            outcome = replace(known, key=change.key) if known else self._push(object, change)
            if outcome.code == "field_missing" and outcome.field:
                missing[outcome.field] = outcome
            if wanted and not change.remote_id and outcome.remote_id:
                created[change.key] = (change, wanted, outcome.remote_id)
            else:
                yield (
                    replace(outcome, partly_written=bool(wanted))
                    if outcome.status is Status.REJECTED
                    else outcome
                )

    def _push(self, object: str, change: Change) -> Outcome:
        body = records.body(object, change)
        if isinstance(body, Outcome):
            return body
        try:
            if change.remote_id:
                answer = self._update(object, change.remote_id, body)
            else:
                answer = self._create(object, change, body)
                existing = self._existing(answer)
                if existing and not body:
                    return already_exists(change.key, "Intercom", existing)
                if existing:
                    answer = self._update(object, existing, body)
        except LostAnswer as lost:
            return no_answer(change.key, "Intercom", lost, records.MODELS[object])
        if self._client.names_record(answer):
            return Outcome(change.key, Status.DELIVERED, remote_id=str(answer.body["id"]))
        return self._refusal(change, answer)

    def _update(self, object: str, id: str, body: records.Record) -> Answer:
        path = quote(id, safe="")
        if object == "companies":
            return self._client.typed(lambda sdk: sdk.companies.update(path, request=body))
        answer = self._client.direct("PUT", f"contacts/{path}", body)
        merged = merged_into(answer)
        return self._client.direct("PUT", f"contacts/{merged}", body) if merged else answer

    def _create(self, object: str, change: Change, body: records.Record) -> Answer:
        """Raises LostAnswer when a contact may have been created without an answer."""
        new = {**{match.field: match.value for match in change.match}, **records.filled(body)}
        if object == "companies":
            # Intercom looks for the company_id itself: a repeat creates no second company.
            return self._client.typed(lambda sdk: sdk.companies.create_or_update(request=new))
        # Only a user can carry an external_id.
        return self._client.direct("POST", "contacts", {"role": "user", **new}, safe=False)

    def _existing(self, answer: Answer) -> str | None:
        """The id of the contact that exists already, if that is why one could not be created."""
        reason = self._client.words(answer) if answer.status == 409 else ""
        existing = EXISTING.search(reason)
        return existing[1] if existing and not records.ARCHIVED.search(reason) else None

    def _refusal(self, change: Change, answer: Answer) -> Outcome:
        listed = errors(answer)
        if not answer.refused or not listed:
            self._client.misread(answer, "a write")
        return records.refused(change, answer.status, listed[0], self._client.words(answer))


def name_trait(prefix: str, score_name: str, metric: str, entity: Entity) -> str:
    """Intercom refuses one name in both models, hence the `Account` (OpenAPI description 2.14)."""
    return trait_name(prefix, score_name if entity is Entity.USER else f"{score_name}_Account", metric)


REQUESTS_PER_10S = "1600"
"""10,000 calls a minute per app, enforced in windows of 10 s (documentation, 2026-11); some room is left."""


def limits(settings: Mapping[str, str]) -> Limits:
    """The limits that follow from the settings."""
    return Limits(
        records_per_call=1,
        lookups_per_call=PER_PAGE,
        calls=int(settings.get("requests_per_10s") or REQUESTS_PER_10S),
        seconds=10.0,
        concurrency=CONCURRENCY,
        # As many as one call can tag. A batch of them ends within seconds, also when the process is asked to stop.
        changes_per_push=tags.TOGETHER,
    )


VENDOR = Vendor(
    type="intercom",
    title="Intercom",
    settings={
        "token": Setting(required=True, secret=True),
        "region": Setting(default="us", options=tuple(HOSTS)),
        "url": Setting(),
        "requests_per_10s": Setting(default=REQUESTS_PER_10S, whole_number=True),
    },
    objects={
        "contacts": ObjectKind(
            Entity.USER,
            (("external_id", "user_id"), ("email", "email")),
            frozenset({"external_id", "email"}),
        ),
        "companies": ObjectKind(
            Entity.ACCOUNT, (("company_id", "account_id"),), frozenset({"company_id"}), name_field="name"
        ),
    },
    limits=limits,
    connect=Intercom,
    name_trait=name_trait,
    field_name_pattern=r"[^.$]{1,190}",
    field_name_rule="up to 190 characters, and neither . nor $",
    account_settings=("token", "region", "url"),
    tags=True,
)
