"""Intercom: contacts and companies, one record a call, and their tags, fifty records a call, as of API 2.14.

Contacts are found through search, which lags behind by up to minutes (OpenAPI description 2.14): somebody whom it
does not show yet is met again as a conflict when created, and then updated. Companies are asked for one by one.
Attributes that Intercom brings are written beside `custom_attributes`, all others inside; times and dates travel as
unix seconds.
"""

import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from connectors.destination import Limits, ObjectKind, Quota, Setting, Throttle, Vendor, trait_name
from connectors.errors import ConfigurationError, Misunderstood, Unauthorized, Unavailable
from connectors.http import Answer, LostAnswer, VendorClient, redacted, retry_after
from connectors.intercom import records, tags
from connectors.types import (
    Account,
    Batch,
    Change,
    Entity,
    FieldType,
    Found,
    Lookup,
    NewField,
    Outcome,
    RemoteField,
    Status,
    already_exists,
)

if TYPE_CHECKING:
    import httpx

API_VERSION = "2.14"
"""The version that the SDK (5.0.1) is generated from; without the header each workspace answers in its own."""
HOSTS = {
    "us": "https://api.intercom.io",
    "eu": "https://api.eu.intercom.io",
    "au": "https://api.au.intercom.io",
}
CONCURRENCY = 32
"""Calls at once: 160 a second at a fifth of a second each."""
PER_PAGE = 150
"""The most contacts that a page of search results holds, hence also the lookups of one search."""
CAREFUL = 15
"""The filters that a group may have. How many values `IN` takes is not documented; that many are safe."""

EXISTING = re.compile(r"\bid=(\w+)")
TAKEN = re.compile(r"already have '.+' in your (\w+) data\. To save this as new (\w+) data")
CANONICAL = re.compile(r"/contacts/(\w+)>;\s*rel=\"?canonical")


def wait(answer: Answer) -> float | None:
    """Intercom's X-RateLimit-Reset is a moment in unix seconds; it is read by the answer's own clock."""
    reset = answer.headers.get("x-ratelimit-reset", "")
    if not reset.isdigit():
        return retry_after(answer)
    try:
        now = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        now = time.time()
    return max(1.0, int(reset) - now)


def quota(answer: Answer) -> Quota | None:
    """The calls of a window of ten seconds (documentation, 2026-11), and how long to wait when none is left."""
    limit, left = (answer.headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining"))
    if not limit.isdigit() or not int(limit):
        return None
    return Quota(int(limit), 10.0, (wait(answer) or 1.0) if left == "0" else 0.0)


class Intercom:
    """One workspace."""

    def __init__(self, settings: Mapping[str, str], throttle: Throttle, made: Callable[[], None]) -> None:
        region = settings.get("region") or "us"
        if region not in HOSTS:
            raise ConfigurationError(
                f"Intercom's region is {region!r}, but must be one of {', '.join(HOSTS)}: where the workspace is hosted."
            )
        self._url = (settings.get("url") or HOSTS[region]).rstrip("/")
        self.host = self._url.partition("://")[2]
        self._token = settings["token"]
        self._line = VendorClient("Intercom", throttle, made, wait=wait, quota=quota)
        self._heard = threading.local()
        self._http = _client(self._token, self._heard)
        weakref.finalize(self, self._http.close)
        self._width = PER_PAGE
        self._tags = tags.Tags(self._ask_of_tags, self._listed, self._is_record, self._refusal)

    def close(self) -> None:
        """Close the connections; the destination cannot be used after that."""
        self._http.close()

    def account(self) -> Account:
        answer = self._typed(lambda sdk: sdk.admins.identify())
        app = answer.body.get("app") if isinstance(answer.body, dict) else None
        if answer.status != 200 or not isinstance(app, dict) or not app.get("id_code"):
            self._misread(answer, "GET /me")
        return Account("workspace", str(app["id_code"]), str(app.get("name") or ""))

    def fields(self, object: str) -> Mapping[str, RemoteField]:
        answer = self._typed(lambda sdk: sdk.data_attributes.list(model=records.MODELS[object]))
        listed = self._listed(answer, "GET /data_attributes", "name")
        return records.described(object, listed)

    def fields_left(self, object: str) -> int | None:  # noqa: ARG002 (one limit for both)
        """What is left for contacts and companies together."""
        answer = self._typed(lambda sdk: sdk.data_attributes.list())
        listed = self._listed(answer, "GET /data_attributes", "name")
        return max(0, records.ATTRIBUTES - sum(bool(each.get("custom")) for each in listed))

    def missing_permissions(self, object: str, create_fields: bool) -> tuple[str, ...]:  # noqa: ARG002 (not told by any call)
        return ()

    def archived_fields(self, object: str) -> Mapping[str, RemoteField]:
        return {name: records.attribute(name, each) for name, each in self._archived(object).items()}

    def _archived(self, object: str) -> Mapping[str, records.Record]:
        model = records.MODELS[object]
        answer = self._typed(lambda sdk: sdk.data_attributes.list(model=model, include_archived=True))
        listed = self._listed(answer, "GET /data_attributes", "name")
        return {each["name"]: each for each in listed if each.get("archived")}

    def create_fields(self, object: str, fields: Sequence[NewField]) -> None:
        if not fields:
            return
        model, archived = records.MODELS[object], self._archived(object)
        for each in fields:
            if each.name in archived:
                _check_archived(model, each, records.attribute(each.name, archived[each.name]))
        for each in fields:
            if each.name in archived:
                self._bring_back(model, each.name, archived[each.name].get("id"))
            else:
                self._create_field(model, each)

    def _bring_back(self, model: str, name: str, id: Any) -> None:
        answer = self._typed(lambda sdk: sdk.data_attributes.update(id, request={"archived": False}))
        if self._is_record(answer) and not answer.body.get("archived"):
            return
        if not 200 <= answer.status < 300 and not _errors(answer):
            self._misread(answer, "PUT /data_attributes")
        raise ConfigurationError(
            f"Intercom does not unarchive the {model} attribute {name!r}: {self._words(answer).rstrip('.')}. Unarchive "
            "it there (Settings, Data), or rename the field in the mapping."
        )

    def _create_field(self, model: str, field: NewField) -> None:
        asked = {
            "name": field.name,
            "model": model,
            "data_type": records.DATA_TYPES[field.type],
            "description": field.label,
        }
        answer = self._typed(lambda sdk: sdk.data_attributes.create(request=asked))
        if self._is_record(answer):
            return
        said = self._words(answer)
        taken = TAKEN.search(said)
        if taken and taken[1] == taken[2]:
            return  # Somebody else has made it meanwhile.
        if not 400 <= answer.status < 500:
            self._misread(answer, "POST /data_attributes")
        cure = (
            "People and companies share their names in Intercom: give the field another name in this mapping."
            if taken
            else "Make the attribute in Intercom (Settings, Data), or rename the field in the mapping."
        )
        raise ConfigurationError(
            f"Intercom does not make the {model} attribute {field.name!r}: {said.rstrip('.')}. {cure}"
        )

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
                self._width = CAREFUL
                continue
            done += len(group)
            yield from (records.chosen(lookup, people, fields, tagged) for lookup in group)

    def _search(self, group: Sequence[Lookup]) -> records.Index | None:
        """Every contact that any of the lookups may mean; None when so many are refused at once."""
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
            answer = self._direct("POST", "contacts/search", {"query": query, "pagination": page})
            if answer.status == 400 and len(group) > CAREFUL:
                return None
            people += self._listed(answer, "POST /contacts/search")
            following = (answer.body.get("pages") or {}).get("next")
            if not following:
                return records.indexed(people)
            page = {"per_page": PER_PAGE, "starting_after": following.get("starting_after")}

    def _find_companies(
        self, lookups: Sequence[Lookup], fields: Mapping[str, FieldType], tagged: records.Tagged
    ) -> Iterator[Found]:
        """One by one, several at once. When one fails, what was found by those under way comes before its error."""
        with futures.ThreadPoolExecutor(CONCURRENCY) as pool:
            calls = [pool.submit(self._find_company, lookup, fields, tagged) for lookup in lookups]
            try:
                futures.wait(calls, return_when=futures.FIRST_EXCEPTION)
            finally:
                pool.shutdown(cancel_futures=True)
        made = [call for call in calls if not call.cancelled()]
        yield from (call.result() for call in sorted(made, key=lambda call: call.exception() is not None))

    def _find_company(self, lookup: Lookup, fields: Mapping[str, FieldType], tagged: records.Tagged) -> Found:
        if lookup.remote_id:
            path = quote(lookup.remote_id, safe="")
            answer = self._typed(lambda sdk: sdk.companies.find(path))
            if self._is_record(answer):
                return records.found(lookup, [answer.body], "id", "companies", fields, tagged)
            self._expect_absence(answer)
        for match in lookup.match:
            companies = self._companies(match.value)
            if companies:
                return records.found(lookup, companies, match.field, "companies", fields, tagged)
        return Found(lookup.key, ())

    def _companies(self, company_id: str) -> list[records.Record]:
        answer = self._typed(lambda sdk: sdk.companies.retrieve(company_id=company_id))
        if answer.status != 200:
            self._expect_absence(answer)
            return []
        # Documentation shows a list, the service answers the company itself.
        one = isinstance(answer.body, dict) and answer.body.get("type") == "company"
        listed = [answer.body] if one else self._listed(answer, "GET /companies")
        return [each for each in listed if each.get("company_id") == company_id]

    def _expect_absence(self, answer: Answer) -> None:
        """Raises Misunderstood unless Intercom itself says that there is nothing."""
        if answer.status != 404 or not _errors(answer):
            self._misread(answer, "GET /companies")

    def push(self, batch: Batch) -> Iterator[Outcome]:
        """Tags come first: their calls are few, and what is then written record by record is earned one by one."""
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
        made: dict[str, tags.Wanted] = {}
        error: Unavailable | None = None
        try:
            yield from self._push_each(batch.object, apart, refused, made)
        except Unavailable as unavailable:
            # Those that were made before have their tags, and are told.
            error = unavailable
        refused = self._tags.write(batch.object, list(made.values()))
        for key, (_, _, id) in made.items():
            if key in refused:
                yield replace(refused[key], partly_written=True)
            else:
                yield Outcome(key, Status.DELIVERED, remote_id=id)
        if error is not None:
            raise error

    def _followed(
        self, apart: list[tuple[Change, Mapping[str, bool]]], refused: Mapping[str, Outcome]
    ) -> tuple[list[tuple[Change, Mapping[str, bool]]], Mapping[str, Outcome]]:
        """Tag who was merged into another there: the call that tags many follows nobody. Answers whom to write instead."""
        there = {}
        for change, _ in apart:
            gone = change.key in refused and refused[change.key].code == "not_found" and change.remote_id
            survivor = self._became(change.remote_id) if gone and change.remote_id else None
            if survivor:
                there[change.key] = survivor
        if not there:
            return apart, refused
        apart = [
            (replace(change, remote_id=there.get(change.key, change.remote_id)), on) for change, on in apart
        ]
        again = [(change, on, there[change.key]) for change, on in apart if change.key in there]
        left = {key: outcome for key, outcome in refused.items() if key not in there}
        return apart, left | dict(self._tags.write("contacts", again))

    def _became(self, id: str) -> str | None:
        """Whom a contact was merged into, where Intercom tells; else it is looked up anew like whoever is gone."""
        answer = self._direct("GET", f"contacts/{quote(id, safe='')}", None)
        merged = CANONICAL.search(answer.headers.get("link", "")) if answer.status == 410 else None
        return merged[1] if merged else None

    def _push_each(
        self,
        object: str,
        apart: Sequence[tuple[Change, Mapping[str, bool]]],
        refused: Mapping[str, Outcome],
        made: dict[str, tags.Wanted],
    ) -> Iterator[Outcome]:
        """Write what is no tag. Records that were made and are to have tags go into `made` instead of being told."""
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
                made[change.key] = (change, wanted, outcome.remote_id)
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
            cause = f"Intercom's answer was lost ({lost}): the {records.MODELS[object]} may have been made"
            return Outcome(change.key, Status.UNKNOWN, code="no_answer", cause=cause)
        if self._is_record(answer):
            return Outcome(change.key, Status.DELIVERED, remote_id=str(answer.body["id"]))
        return self._refusal(change, answer)

    def _update(self, object: str, id: str, body: records.Record) -> Answer:
        path = quote(id, safe="")
        if object == "companies":
            return self._typed(lambda sdk: sdk.companies.update(path, request=body))
        answer = self._direct("PUT", f"contacts/{path}", body)
        merged = CANONICAL.search(answer.headers.get("link", "")) if answer.status == 410 else None
        return self._direct("PUT", f"contacts/{merged[1]}", body) if merged else answer

    def _create(self, object: str, change: Change, body: records.Record) -> Answer:
        """Raises LostAnswer when a contact may have been made without an answer."""
        new = {**{match.field: match.value for match in change.match}, **records.filled(body)}
        if object == "companies":
            # Intercom looks for the company_id itself: repeating this makes nothing twice.
            return self._typed(lambda sdk: sdk.companies.create_or_update(request=new))
        # Only a user can carry an external_id.
        return self._direct("POST", "contacts", {"role": "user", **new}, safe=False)

    def _existing(self, answer: Answer) -> str | None:
        """Who is there already, where a contact could not be made for that reason."""
        said = self._words(answer) if answer.status == 409 else ""
        existing = EXISTING.search(said)
        return existing[1] if existing and not records.ARCHIVED.search(said) else None

    def _refusal(self, change: Change, answer: Answer) -> Outcome:
        errors = _errors(answer)
        if not 400 <= answer.status < 500 or not errors:
            self._misread(answer, "a write")
        return records.refused(change, answer.status, errors[0], self._words(answer))

    def _is_record(self, answer: Answer) -> bool:
        """Whether it was done and the answer names the record. Raises Misunderstood when it names none."""
        if not 200 <= answer.status < 300:
            return False
        if not isinstance(answer.body, dict) or not isinstance(answer.body.get("id"), str | int):
            self._misread(answer, "a call")
        return True

    def _listed(self, answer: Answer, call: str, named_by: str = "id") -> list[records.Record]:
        """The records of a list. Raises Misunderstood when it is none, or one of them has no name."""
        found = answer.body.get("data") if isinstance(answer.body, dict) else None
        if answer.status != 200 or not isinstance(found, list):
            self._misread(answer, call)
        if not all(isinstance(each, dict) and each.get(named_by) for each in found):
            self._misread(answer, call)
        return found

    def _misread(self, answer: Answer, call: str) -> NoReturn:
        if answer.status == 403:
            raise Unauthorized(f"Intercom does not allow the token {call}: {self._words(answer)}")
        raise Misunderstood(
            f"Intercom's answer to {call} ({answer.status}) is not one that heatsync knows",
            self._words(answer),
        )

    def _words(self, answer: Answer) -> str:
        said = " ".join(str(each.get("message") or each.get("code")) for each in _errors(answer))
        return redacted(said or answer.body, self._token)

    def _direct(self, method: str, path: str, body: records.Record | None, safe: bool = True) -> Answer:
        """A call without the SDK's models: a page of contacts takes them 44 ms, and less than one without.

        Raises LostAnswer when it is not safe to repeat and may have taken effect.
        """
        return self._ask(lambda: self._http.request(method, f"{self._url}/{path}", json=body), safe)

    def _ask_of_tags(self, method: str, path: str, body: records.Record | None) -> Answer:
        """A call about tags, which may be repeated: done, or refused with a reason. Raises Unauthorized, Misunderstood."""
        answer = self._direct(method, path, body)
        refused = 400 <= answer.status < 500 and answer.status != 403 and _errors(answer)
        if not refused and not 200 <= answer.status < 300:
            self._misread(answer, f"{method} tags")
        return answer

    def _typed(self, ask: Callable[[Any], Any]) -> Answer:
        """A call through the SDK. What was answered is taken as it came: the models check nothing."""
        return self._ask(lambda: ask(self._sdk), safe=True)

    def _ask(self, ask: Callable[[], Any], safe: bool) -> Answer:
        try:
            return self._line.call(lambda: self._answered(ask), safe)
        except LostAnswer as lost:
            if lost.sent and not safe:
                raise
            raise Unavailable(
                f"Intercom at {self._url} cannot be reached ({lost}): check the network"
            ) from None

    def _answered(self, ask: Callable[[], Any]) -> Answer:
        import httpx
        from intercom.core.api_error import ApiError

        self._heard.response = None
        try:
            ask()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise LostAnswer(type(error).__name__, sent=False) from None
        except httpx.HTTPError as error:
            raise LostAnswer(type(error).__name__, sent=True) from None
        except (ApiError, ValueError, TypeError, AttributeError):
            # Refused, or of a shape that the models cannot take: for the caller to judge.
            if self._heard.response is None:
                raise
        response: httpx.Response = self._heard.response
        try:
            return Answer(response.status_code, dict(response.headers), response.json())
        except ValueError:
            return Answer(response.status_code, dict(response.headers), response.text)

    @cached_property
    def _sdk(self) -> Any:
        from intercom import Intercom as Sdk

        return Sdk(token=self._token, base_url=self._url, httpx_client=self._http)


def _check_archived(model: str, field: NewField, there: RemoteField) -> None:
    """Raises ConfigurationError: an archived attribute keeps its name and its type (OpenAPI description 2.14)."""
    if not there.writable or field.type not in there.accepts:
        wrong = f"of the type {there.type}" if there.writable else "not writable by the API"
        raise ConfigurationError(
            f"Intercom has an archived {model} attribute {field.name!r}, which is {wrong}: it cannot be brought back for "
            "this mapping. Give the field another name in the mapping, or a type that fits with `as`."
        )


def _errors(answer: Answer) -> list[records.Record]:
    """What Intercom's error list holds; nothing for any other answer."""
    listed = answer.body.get("errors") if isinstance(answer.body, dict) else None
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _client(token: str, heard: threading.local) -> "httpx.Client":
    """What the SDK and we speak through; `heard` keeps each thread's last response."""
    import httpx

    return httpx.Client(
        headers={
            "Authorization": f"Bearer {token}",
            "Intercom-Version": API_VERSION,
            "Accept": "application/json",
        },
        # A redirected PUT becomes a GET, which succeeds and writes nothing.
        follow_redirects=False,
        timeout=httpx.Timeout(30.0, connect=5.0),
        limits=httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY),
        event_hooks={"response": [lambda response: setattr(heard, "response", response)]},
    )


def name_trait(prefix: str, score_name: str, metric: str, entity: Entity) -> str:
    """Intercom refuses one name in both models, hence the `Account` (OpenAPI description 2.14)."""
    return trait_name(prefix, score_name if entity is Entity.USER else f"{score_name}_Account", metric)


REQUESTS_PER_10S = "1600"
"""10,000 calls a minute per app, enforced in windows of 10 s (documentation, 2026-11); some room is left."""


def limits(settings: Mapping[str, str]) -> Limits:
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
