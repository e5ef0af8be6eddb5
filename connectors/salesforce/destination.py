"""Salesforce: any object, through SOQL and Collections of two hundred records, or as files for many records.

Records are found by any field that can be filtered, and written by their id. A new record is upserted by its external id
where the object has one, so that a repeat creates no second record. Salesforce refuses a whole call that names a field which
does not exist; anything else is answered record by record, in order.
"""

import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from connectors import lookup_rounds
from connectors.answers import Answer, is_id, objects_in
from connectors.destination import METRICS, Files, Limits, Setting, Throttle, Vendor, trait_name
from connectors.errors import ConfigurationError, Misunderstood, Unavailable
from connectors.http import LostAnswer
from connectors.lookup_rounds import Hit
from connectors.outcomes import no_answer
from connectors.salesforce import bulk_jobs, records
from connectors.salesforce.fields import COMMITTED, OBJECTS, Fields, no_object
from connectors.salesforce.records import BATCH, Item, check_names
from connectors.salesforce.session import API_VERSION, WAYS_IN, Session, codes
from connectors.types import (
    Account,
    Batch,
    Change,
    Entity,
    FieldType,
    Found,
    Kind,
    Lookup,
    Outcome,
    PushEvent,
    Status,
)

CALLS_PER_PUSH = 10
"""Collections calls of one push. Of fifty thousand records that no file can carry, the rest comes with the next push:
someone may pause or stop in between."""
LOCK_WAIT = 15
"""Seconds until a record is tried again that another process was writing."""
NAME_LENGTH = 40
"""Characters of a standard trait's name, the ending included."""
TOO_SLOW = frozenset({"QUERY_TIMEOUT", "REQUEST_RUNNING_TOO_LONG"})


class Salesforce(Fields):
    """One org, as the app's user sees it."""

    def __init__(
        self, settings: Mapping[str, str], throttle: Throttle, on_request: Callable[[], None]
    ) -> None:
        session = Session(settings, throttle, on_request)
        super().__init__(session, settings.get("permission_set") or "")
        self.host = session.host
        self._files = files(settings)
        self._jobs = bulk_jobs.Jobs(session, self._outcome)

    def close(self) -> None:
        self._session.close()

    def account(self) -> Account:
        found, _ = self._query("SELECT Id, Name FROM Organization", "Organization")
        if len(found) != 1 or not is_id(found[0].get("Id")):
            raise Misunderstood("Salesforce does not say which org this is", str(len(found)))
        return Account("org", records.whole_id(str(found[0]["Id"])), str(found[0].get("Name") or ""))

    def find(
        self, object: str, lookups: Sequence[Lookup], fields: Mapping[str, FieldType]
    ) -> Iterator[Found]:
        check_names(object, *fields, *(match.field for lookup in lookups for match in lookup.match))
        columns = {name.lower(): name for name in fields}

        def ask(field: str, values: Sequence[str]) -> Mapping[str, Sequence[Hit]]:
            own = field.lower() == "id"
            usable = [value for value in values if not own or records.is_id(value)]
            hits: dict[str, dict[str, tuple[str, Hit]]] = {}
            for record in self._select(object, columns, field, usable):
                low = {name.lower(): value for name, value in record.items()}
                if field.lower() not in low:
                    raise Misunderstood(f"Salesforce's answer to a query of {object} lacks {field}")
                id, key = records.whole_id(str(low["id"])), str(low[field.lower()])
                hit = Hit(id, {name: low.get(name.lower()) for name in fields})
                hits.setdefault(_folded(field, key), {})[id] = (key, hit)
            return {
                value: self._meant(object, field, value, list(hits.get(_folded(field, value), {}).values()))
                for value in values
            }

        return lookup_rounds.find(lookups, "Id", ask, records.decode, fields)

    def _meant(self, object: str, field: str, value: str, found: list[tuple[str, Hit]]) -> list[Hit]:
        """The hits for a value. Where case matters to the field, hits that differ only in case do not count."""
        alike = [hit for key, hit in found if key == value]
        if len(found) > 1 and alike and len(alike) < len(found):
            known = next((each for each in self._describe(object) if _is(each, field)), {})
            if known.get("caseSensitive"):
                return alike
        return [hit for _, hit in found]

    def _select(
        self, object: str, columns: dict[str, str], key: str, values: Sequence[str]
    ) -> list[dict[str, Any]]:
        """The records that have one of the values. A column that does not exist is taken out of `columns`."""
        while True:
            wanted = {**columns, key.lower(): key, "id": "Id"}
            found: list[dict[str, Any]] = []
            for query in records.queries(object, list(wanted.values()), key, values):
                part, missing = self._query(query, object)
                if missing is not None:
                    break
                found += part
            else:
                return found
            if missing.lower() not in columns or missing.lower() == key.lower():
                raise ConfigurationError(
                    f"Salesforce has no field {missing} on {object}, or the app's user may not see it: no record can be "
                    "found by it. Create it, grant it, or match by another field."
                )
            del columns[missing.lower()]

    def _query(self, query: str, object: str) -> tuple[list[dict[str, Any]], str | None]:
        """All pages of a query, and the column that it names and that does not exist."""
        found: list[dict[str, Any]] = []
        last = ""
        answer = self._ask(lambda client: client.query(query))
        while True:
            if answer.status == 400:
                missing = records.no_column(answer.body)
                if missing is None:
                    self._refused_query(answer, object)
                return [], missing
            listed = answer.field("records")
            rows = objects_in(listed)
            if answer.status != 200 or not isinstance(listed, list) or not all(map(_has_id, rows)):
                self._misread(answer, "a query")
            found += rows
            following = answer.field("nextRecordsUrl")
            if not following and len(rows) == len(listed):
                return found, None
            # Half of a list must not be taken for the whole, and the session goes to this org alone.
            if not isinstance(following, str) or not following.startswith("/") or following == last:
                self._misread(answer, "a query")
            last = following
            answer = self._more(following)

    def _more(self, url: str) -> Answer:
        return self._ask(lambda client: client.query_more(url, identifier_is_url=True))

    def _refused_query(self, answer: Answer, object: str) -> NoReturn:
        if TOO_SLOW & set(codes(answer.body)):
            raise Unavailable("Salesforce took too long over a query", 60.0)
        if "INVALID_TYPE" in codes(answer.body):
            raise no_object(object)
        if "INVALID_FIELD" in codes(answer.body):
            raise ConfigurationError(
                f"Salesforce cannot look this up: {self._session.words(answer)} Match by a text field of an object that the "
                "app's user may see."
            )
        self._misread(answer, "a query")

    def push(self, batch: Batch) -> Iterator[PushEvent]:
        check_names(batch.object)
        done: set[str] = set()
        if batch.job is not None:
            # Before any other call, which may fail: the job goes on in any case.
            job = bulk_jobs.read(batch.job)
            external = {job.by.lower()} if job.by else set()
            ready = [records.ready(change, external) for change in batch.changes]
            done = yield from self._jobs.collect(
                job, batch, [item for item in ready if isinstance(item, Item)]
            )
        items: list[Item] = []
        left = [change for change in batch.changes if change.key not in done]
        external = self._external(batch.object, left)
        for change in left:
            item = records.ready(change, external)
            if isinstance(item, Outcome):
                yield item
            else:
                items.append(item)
        yield from self._send(batch, items)

    def _send(self, batch: Batch, items: list[Item]) -> Iterator[PushEvent]:
        """Send items in the fewest calls: by file where that pays, else by Collections, up to `CALLS_PER_PUSH` calls."""
        least = self._least(batch, len(items))
        room = iter(range(CALLS_PER_PUSH))
        for ways in records.layers(items):
            by_job: list[Sequence[Item]] = []
            for way in ways:
                small, large = _parted(way, least)
                yield from self._write_all(batch.object, small, room)
                by_job += [large] if large else []
            for large in by_job:
                yield from self._jobs.send(batch.object, large)
                yield from self._write_all(batch.object, large, room)

    def _least(self, batch: Batch, changes: int) -> int | None:
        """How many records that go the same way are worth a job; None where no job is created."""
        # A run of several files is cut evenly, and none of them is small.
        above = min(self._files.above, self._files.records // 4)
        return min(above + 1, bulk_jobs.WORTH) if changes > above and self._jobs.accept(batch) else None

    def _write_all(self, object: str, items: Sequence[Item], room: Iterator[int]) -> Iterator[Outcome]:
        for start in range(0, len(items), BATCH):
            part = items[start : start + BATCH]
            if next(room, None) is None:
                now = datetime.now(UTC)
                yield from (Outcome(item.change.key, Status.DEFERRED, until=now) for item in part)
            else:
                yield from self._write(object, part)

    def _external(self, object: str, changes: Sequence[Change]) -> set[str]:
        """The external id fields of the object, in lower case, when a change creates a record."""
        if all(change.remote_id or change.kind is Kind.LEFT for change in changes):
            return set()
        return {str(each["name"]).lower() for each in self._describe(object) if each.get("externalId")}

    def _write(self, object: str, items: Sequence[Item]) -> Iterator[Outcome]:
        """Write items that go the same way. Items that Salesforce refuses the call for are taken out, or found by halving."""
        by, new = items[0].by, items[0].change.remote_id is None
        path = f"composite/sobjects/{object}/{by}" if by else "composite/sobjects"
        method = "PATCH" if by or not new else "POST"
        body = {"allOrNone": False, "records": [item.record(object) for item in items]}
        try:
            answer = self._ask(
                lambda client: client.restful(path, method=method, json=body), safe=method == "PATCH"
            )
        except LostAnswer as lost:
            yield from (no_answer(item.change.key, "Salesforce", lost) for item in items)
            return
        if answer.ok:
            yield from self._settle(answer, items)
            return
        errors = objects_in(answer.body)
        if not answer.refused or not errors:
            self._misread(answer, f"a write of {object}")
        error = errors[0]
        at_fault = records.carriers(items, error)
        for item in at_fault:
            yield records.refusal(item, error, self._session.secrets)
        named = {item.change.key for item in at_fault}
        rest = [item for item in items if item.change.key not in named]
        if at_fault and rest:
            yield from self._write(object, rest)
        elif len(rest) > 1:
            yield from self._apart(object, rest, records.suspects(rest, error))
        elif rest:
            yield self._outcome(rest[0], error)

    def _apart(self, object: str, items: Sequence[Item], suspected: Sequence[Item]) -> Iterator[Outcome]:
        """Two calls in place of a refused one: the suspects in one of them, or just halves."""
        named = {item.change.key for item in suspected}
        others = [item for item in items if item.change.key not in named]
        if not suspected or not others:
            half = len(items) // 2
            suspected, others = items[:half], list(items[half:])
        yield from self._write(object, others)
        yield from self._write(object, suspected)

    def _settle(self, answer: Answer, items: Sequence[Item]) -> Iterator[Outcome]:
        """One outcome per item, in the same order. Raises Misunderstood for an answer in another shape or order."""
        results = answer.body
        if not isinstance(results, list) or len(results) != len(items):
            self._misread(answer, f"a write of {len(items)} records")
        for item, result in zip(items, results, strict=True):
            if not isinstance(result, dict) or (
                result.get("success") is True and not self._names(item, result)
            ):
                self._misread(answer, f"a write of {len(items)} records")
        for item, result in zip(items, results, strict=True):
            if result.get("success") is True:
                id = records.whole_id(str(result["id"]))
                yield Outcome(item.change.key, Status.DELIVERED, remote_id=id)
            else:
                errors = objects_in(result.get("errors")) or [{}]
                yield self._outcome(item, errors[0])

    def _names(self, item: Item, result: Mapping[str, Any]) -> bool:
        id = records.whole_id(str(result.get("id") or ""))
        return bool(id) and (item.change.remote_id is None or id == item.identity)

    def _outcome(self, item: Item, error: Mapping[str, Any]) -> Outcome:
        if records.is_locked(error):
            # Spread, so that writers that collided do not meet again.
            wait = LOCK_WAIT + zlib.crc32(item.change.key.encode()) % LOCK_WAIT
            return Outcome(
                item.change.key,
                Status.DEFERRED,
                remote_id=item.change.remote_id,
                code="locked",
                cause="another process is writing this record",
                until=datetime.now(UTC) + timedelta(seconds=wait),
            )
        return records.refusal(item, error, self._session.secrets)

    def _ask(self, ask: Callable[[Any], Any], safe: bool = True) -> Answer:
        answer = self._session.ask(ask, safe)
        if answer.status == 404:
            raise ConfigurationError(
                f"Salesforce has no such object or field, or hides it from the app's user: {self._session.words(answer)} "
                "Check the mapping's object and match, the API version, and the user's permissions."
            )
        return answer

    def _misread(self, answer: Answer, call: str) -> NoReturn:
        self._session.transport.misread(answer, call)


def _parted(way: Sequence[Item], least: int | None) -> tuple[Sequence[Item], Sequence[Item]]:
    """Of items that go the same way: those sent by Collections, and those that make up a file."""
    can_be_repeated = way[0].by is not None or way[0].change.remote_id is not None
    if least is None or not can_be_repeated:
        return way, []
    large = [item for item in way if bulk_jobs.fits_file(item)]
    if len(large) < least:
        return way, []
    return [item for item in way if not bulk_jobs.fits_file(item)], large


def _folded(field: str, value: str) -> str:
    """The value as Salesforce compares it: ids in their long form, text without case."""
    return records.whole_id(value) if field.lower() == "id" else value.strip().lower()


def _has_id(record: Mapping[str, Any]) -> bool:
    return any(name.lower() == "id" and is_id(value) for name, value in record.items())


def _is(described: Mapping[str, Any], field: str) -> bool:
    return str(described.get("name")).lower() == field.lower()


def name_trait(prefix: str, score_name: str, metric: str, entity: Entity) -> str:  # noqa: ARG001
    """Letters, digits and single underscores; a long name loses the end of the score's name, never the metric."""
    start = trait_name(prefix, score_name, metric).removesuffix(METRICS[metric])
    end = f"_{METRICS[metric]}__c"
    start = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", start)).strip("_")
    return start[: NAME_LENGTH - len(end)].rstrip("_") + end


REQUESTS_PER_10S = "1000"
"""Salesforce counts by the day; this only keeps a loop from spending it all."""

BULK_ABOVE = "10000"
"""Records of a run above which files are sent. Salesforce says 2,000 (REST guide, 2026); a job takes minutes, though, and
fifty calls a few seconds."""


def files(settings: Mapping[str, str]) -> Files:
    """When a run goes as files, and how many records they hold."""
    return Files(int(settings.get("bulk_above") or BULK_ABOVE), bulk_jobs.RECORDS, bulk_jobs.CALLS)


def limits(settings: Mapping[str, str]) -> Limits:
    """The limits that follow from the settings."""
    return Limits(
        records_per_call=BATCH,
        lookups_per_call=400,
        calls=int(settings.get("requests_per_10s") or REQUESTS_PER_10S),
        seconds=10.0,
        # A write locks the record's parents too, and a write that waits for a lock is refused: several threads must not
        # update the same objects (Salesforce, Record-Level Locking, version 256).
        concurrency=1,
        files=files(settings),
    )


VENDOR = Vendor(
    type="salesforce",
    title="Salesforce",
    settings={
        "domain": Setting(demo="demo.my"),
        "consumer_key": Setting(secret=True),
        "consumer_secret": Setting(secret=True),
        "username": Setting(),
        "private_key": Setting(secret=True),
        "session_id": Setting(secret=True),
        "instance_url": Setting(),
        "api_version": Setting(default=API_VERSION),
        "permission_set": Setting(),
        "url": Setting(),
        "requests_per_10s": Setting(default=REQUESTS_PER_10S, whole_number=True),
        "bulk_above": Setting(default=BULK_ABOVE, whole_number=True),
    },
    objects=OBJECTS,
    limits=limits,
    connect=Salesforce,
    name_trait=name_trait,
    any_object=True,
    search_lag=COMMITTED,
    field_name_pattern=records.NAME.pattern,
    field_name_rule="an API name: up to 80 letters, digits and _, a letter first",
    credential_groups=WAYS_IN,
    create_fields_setting="permission_set",
    account_settings=(
        "domain",
        "consumer_key",
        "consumer_secret",
        "username",
        "private_key",
        "session_id",
        "instance_url",
        "url",
    ),
)
