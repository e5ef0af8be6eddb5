"""Salesforce: any object, through SOQL and Collections of two hundred, or as files where there are many.

Records are found by any field that can be filtered and written by their id; a new one is upserted by its external
id where the object has one, so that a repeat makes nobody twice. A call that names a field which is not there is
refused as a whole, whoever carries it; anything else is answered record by record, in order.
"""

import difflib
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from connectors import lookup_rounds
from connectors.destination import METRICS, Files, Limits, ObjectKind, Setting, Throttle, Vendor, trait_name
from connectors.errors import ConfigurationError, Misunderstood, Unauthorized, Unavailable
from connectors.http import Answer, LostAnswer, VendorClient, redacted
from connectors.lookup_rounds import Hit
from connectors.salesforce import bulk_jobs as bulk
from connectors.salesforce import records
from connectors.salesforce.custom_fields import Maker, by_hand
from connectors.salesforce.records import BATCH, Item
from connectors.salesforce.session import API_VERSION, CREDENTIALS, WAYS_IN, Session, codes, kind, quota, wait
from connectors.types import (
    Account,
    Batch,
    Change,
    Entity,
    FieldType,
    Found,
    JobState,
    Kind,
    Lookup,
    NewField,
    Outcome,
    RemoteField,
    Status,
)

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
AT_ONCE = 10
"""Calls of one push. Of fifty thousand records that no file can take, the rest comes later: somebody may pause or stop
in between."""
LOCK_WAIT = 15
"""Seconds until a record is tried again that somebody else was writing."""
NAME_LENGTH = 40
"""Characters of a standard trait's name, the ending included."""
COMMITTED = 60.0
"""Seconds after which a request whose answer was lost is taken to be over there or not at all. Our guess: a query shows
what is committed, and a call may work on for up to ten minutes (API limits, 2026), which a handful of records never do."""
TOO_SLOW = frozenset({"QUERY_TIMEOUT", "REQUEST_RUNNING_TOO_LONG"})


class Salesforce:
    """One org, as the user sees it that the app runs as."""

    def __init__(self, settings: Mapping[str, str], throttle: Throttle, made: Callable[[], None]) -> None:
        credential = CREDENTIALS[kind(settings)]
        line = VendorClient("Salesforce", throttle, made, wait=wait, quota=quota, credential=credential)
        self._session = Session(settings, line)
        own = settings.get("instance_url") or f"https://{settings.get('domain', 'login')}.salesforce.com"
        self.host = (settings.get("url") or own).partition("://")[2].rstrip("/")
        self._permission_set = settings.get("permission_set") or ""
        self._maker = Maker(self._permission_set, self._session.call, self._words)
        self._describes: dict[str, Sequence[Mapping[str, Any]]] = {}
        self._lock = threading.Lock()
        self._files = files(settings)
        self._jobs = bulk.Jobs(self._session, self._outcome)

    def close(self) -> None:
        self._session.close()

    def account(self) -> Account:
        found, _ = self._query("SELECT Id, Name FROM Organization", "Organization")
        if len(found) != 1 or not found[0].get("Id"):
            raise Misunderstood("Salesforce does not say which org this is", str(len(found)))
        return Account("org", records.whole_id(str(found[0]["Id"])), str(found[0].get("Name") or ""))

    def fields(self, object: str) -> Mapping[str, RemoteField]:
        return records.described(self._describe(object, afresh=True))

    def fields_left(self, object: str) -> int | None:
        """Not told by any call: it hangs on the edition."""
        if not self._permission_set:
            raise by_hand(object, ())
        self._maker.holder()
        return None

    def missing_permissions(self, object: str, create_fields: bool) -> tuple[str, ...]:  # noqa: ARG002 (each field tells whether it may be written)
        return ()

    def archived_fields(self, object: str) -> Mapping[str, RemoteField]:  # noqa: ARG002
        """None that stands in the way: a deleted field has its name changed (Salesforce help, 2026)."""
        return {}

    def create_fields(self, object: str, fields: Sequence[NewField]) -> None:
        if not fields:
            return
        _check_names(object, *(field.name for field in fields))
        if not self._permission_set:
            raise by_hand(object, fields)
        self._maker.make(object, fields)
        known = {name.lower() for name in self.fields(object)}
        unseen = [field.name for field in fields if field.name.lower() not in known]
        if unseen:
            raise ConfigurationError(
                f"{', '.join(unseen)} of {object} is made and granted to {self._permission_set}, but the app's user does "
                "not see it: assign the permission set to that user."
            )

    def find(
        self, object: str, lookups: Sequence[Lookup], fields: Mapping[str, FieldType]
    ) -> Iterator[Found]:
        _check_names(object, *fields, *(match.field for lookup in lookups for match in lookup.match))
        columns = {name.lower(): name for name in fields}

        def ask(field: str, values: Sequence[str]) -> Mapping[str, Sequence[Hit]]:
            own = field.lower() == "id"
            usable = [value for value in values if not own or records.is_id(value)]
            hits: dict[str, dict[str, tuple[str, Hit]]] = {}
            for record in self._select(object, columns, field, usable):
                low = {name.lower(): value for name, value in record.items()}
                id, key = records.whole_id(str(low["id"])), str(low[field.lower()])
                hit = Hit(id, {name: low.get(name.lower()) for name in fields})
                hits.setdefault(_folded(field, key), {})[id] = (key, hit)
            return {
                value: self._meant(object, field, value, list(hits.get(_folded(field, value), {}).values()))
                for value in values
            }

        return lookup_rounds.find(lookups, "Id", ask, records.decode, fields)

    def _meant(self, object: str, field: str, value: str, found: list[tuple[str, Hit]]) -> list[Hit]:
        """Of several that only differ in case the one that is spelled alike, where case makes a difference."""
        alike = [hit for key, hit in found if key == value]
        if len(found) > 1 and alike and len(alike) < len(found):
            known = next((each for each in self._describe(object) if _is(each, field)), {})
            if known.get("caseSensitive"):
                return alike
        return [hit for _, hit in found]

    def _select(
        self, object: str, columns: dict[str, str], key: str, values: Sequence[str]
    ) -> list[dict[str, Any]]:
        """The records that have one of the values. A column that is not there is taken out of `columns`."""
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
                    f"Salesforce has no field {missing} on {object}, or the app's user may not see it: nothing can be "
                    "found by it. Make it, grant it, or match by another field."
                )
            del columns[missing.lower()]

    def _query(self, query: str, object: str) -> tuple[list[dict[str, Any]], str | None]:
        """All pages of a query, and the column that it names in vain."""
        found: list[dict[str, Any]] = []
        answer = self._ask(lambda client: client.query(query))
        while True:
            body = answer.body
            if answer.status == 400:
                missing = records.no_column(body)
                if missing is None:
                    self._unasked(answer, object)
                return [], missing
            if (
                answer.status != 200
                or not isinstance(body, dict)
                or not isinstance(body.get("records"), list)
            ):
                self._misread(answer, "a query")
            found += body["records"]
            following = body.get("nextRecordsUrl")
            if not following:
                return found, None
            answer = self._more(following)

    def _more(self, url: str) -> Answer:
        return self._ask(lambda client: client.query_more(url, identifier_is_url=True))

    def _unasked(self, answer: Answer, object: str) -> NoReturn:
        if TOO_SLOW & set(codes(answer.body)):
            raise Unavailable("Salesforce took too long over a query", 60.0)
        if "INVALID_TYPE" in codes(answer.body):
            raise _no_object(object)
        if "INVALID_FIELD" in codes(answer.body):
            raise ConfigurationError(
                f"Salesforce cannot look this up: {self._words(answer)} Match by a text field of an object that the "
                "app's user may see."
            )
        self._misread(answer, "a query")

    def push(self, batch: Batch) -> Iterator[Outcome | JobState]:
        _check_names(batch.object)
        heard: set[str] = set()
        if batch.note:
            # Before anything else is asked that may fail: the job works whatever else there is.
            job = bulk.read(batch.note)
            made_ready = [_ready(change, {job.by.lower()} if job.by else set()) for change in batch.changes]
            its = [item for item in made_ready if isinstance(item, Item)]
            heard = yield from self._jobs.hear(job, batch, its)
        items: list[Item] = []
        left = [change for change in batch.changes if change.key not in heard]
        external = self._external(batch.object, left)
        for change in left:
            item = _ready(change, external)
            if isinstance(item, Outcome):
                yield item
            else:
                items.append(item)
        yield from self._send(batch, items)

    def _send(self, batch: Batch, items: list[Item]) -> Iterator[Outcome | JobState]:
        """Everybody by the fewest calls, and of those that go by call so many that one may stop in between."""
        least = self._least(batch, len(items))
        room = iter(range(AT_ONCE))
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
        """From how many records on a job is made for those that go the same way; None: for nobody."""
        # A run of several files is cut evenly, and none of them is small.
        above = min(self._files.above, self._files.records // 4)
        return min(above + 1, bulk.WORTH) if changes > above and self._jobs.take(batch) else None

    def _write_all(self, object: str, items: Sequence[Item], room: Iterator[int]) -> Iterator[Outcome]:
        for start in range(0, len(items), BATCH):
            part = items[start : start + BATCH]
            if next(room, None) is None:
                now = datetime.now(UTC)
                yield from (Outcome(item.change.key, Status.DEFERRED, until=now) for item in part)
            else:
                yield from self._write(object, part)

    def _external(self, object: str, changes: Sequence[Change]) -> set[str]:
        """The external id fields of the object, in lower case, when anybody is new."""
        if all(change.remote_id or change.kind is Kind.LEFT for change in changes):
            return set()
        return {str(each["name"]).lower() for each in self._describe(object) if each.get("externalId")}

    def _write(self, object: str, items: Sequence[Item]) -> Iterator[Outcome]:
        """Write items that go the same way. What sinks the call is taken out of it, or found by halves."""
        by, new = items[0].by, items[0].change.remote_id is None
        path = f"composite/sobjects/{object}/{by}" if by else "composite/sobjects"
        method = "PATCH" if by or not new else "POST"
        body = {"allOrNone": False, "records": [item.record(object) for item in items]}
        try:
            answer = self._ask(
                lambda client: client.restful(path, method=method, json=body), safe=method == "PATCH"
            )
        except LostAnswer as lost:
            cause = f"Salesforce's answer was lost ({lost}): the record may have been made"
            for item in items:
                yield Outcome(item.change.key, Status.UNKNOWN, code="no_answer", cause=cause)
            return
        if 200 <= answer.status < 300:
            yield from self._settle(answer, items)
            return
        error = answer.body[0] if isinstance(answer.body, list) and answer.body else None
        if not 400 <= answer.status < 500 or not isinstance(error, dict):
            self._misread(answer, f"a write of {object}")
        guilty = records.carriers(items, error)
        for item in guilty:
            yield records.refusal(item, error, self._session.secrets)
        named = {item.change.key for item in guilty}
        rest = [item for item in items if item.change.key not in named]
        if guilty and rest:
            yield from self._write(object, rest)
        elif len(rest) > 1:
            yield from self._apart(object, rest, records.suspects(rest, error))
        elif rest:
            yield self._outcome(rest[0], error)

    def _apart(self, object: str, items: Sequence[Item], suspected: Sequence[Item]) -> Iterator[Outcome]:
        """Two calls in place of one that was refused: the suspects on one side, or just halves."""
        named = {item.change.key for item in suspected}
        others = [item for item in items if item.change.key not in named]
        if not suspected or not others:
            half = len(items) // 2
            suspected, others = items[:half], list(items[half:])
        yield from self._write(object, others)
        yield from self._write(object, suspected)

    def _settle(self, answer: Answer, items: Sequence[Item]) -> Iterator[Outcome]:
        """One outcome per item, in the order of both; an answer in any other shape or order is none."""
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
                errors = result.get("errors") or [{}]
                yield self._outcome(item, errors[0])

    def _names(self, item: Item, result: Mapping[str, Any]) -> bool:
        id = records.whole_id(str(result.get("id") or ""))
        return bool(id) and (item.change.remote_id is None or id == item.identity)

    def _outcome(self, item: Item, error: Mapping[str, Any]) -> Outcome:
        if records.is_locked(error):
            # Spread, so that those who collided do not meet again.
            wait = LOCK_WAIT + zlib.crc32(item.change.key.encode()) % LOCK_WAIT
            return Outcome(
                item.change.key,
                Status.DEFERRED,
                remote_id=item.change.remote_id,
                code="locked",
                cause="somebody else is writing this record",
                until=datetime.now(UTC) + timedelta(seconds=wait),
            )
        return records.refusal(item, error, self._session.secrets)

    def _describe(self, object: str, afresh: bool = False) -> Sequence[Mapping[str, Any]]:
        """The fields of an object as Salesforce describes them, asked once."""
        _check_names(object)
        with self._lock:
            if object not in self._describes or afresh:
                answer = self._session.call(lambda client: client.restful(f"sobjects/{object}/describe"))
                if answer.status == 404:
                    raise _no_object(object)
                self._admitted(answer)
                listed = answer.body.get("fields") if isinstance(answer.body, dict) else None
                if answer.status != 200 or not isinstance(listed, list):
                    self._misread(answer, "a description")
                self._describes[object] = listed
            return self._describes[object]

    def _ask(self, ask: Callable[[Any], Any], safe: bool = True) -> Answer:
        answer = self._session.call(ask, safe)
        self._admitted(answer)
        if answer.status == 404:
            raise ConfigurationError(
                f"Salesforce knows no such object or field, or hides it from the app's user: {self._words(answer)} "
                "Check the mapping's object and match, the API version, and the user's permissions."
            )
        return answer

    def _admitted(self, answer: Answer) -> None:
        if answer.status == 403:
            raise Unauthorized(
                f"Salesforce does not let the app's user do this (403): {self._words(answer)} Check the edition, the "
                "user's profile and its permission sets."
            )

    def _misread(self, answer: Answer, call: str) -> NoReturn:
        raise Misunderstood(
            f"Salesforce's answer to {call} ({answer.status}) is not one that heatsync knows",
            self._words(answer),
        )

    def _words(self, answer: Answer) -> str:
        return redacted(answer.body, *self._session.secrets)


def _check_names(*names: str) -> None:
    """Raises ConfigurationError: names stand in queries and addresses as they are."""
    for name in {*names}:
        if NAME.fullmatch(name) is None:
            raise ConfigurationError(
                f"{name!r} cannot be the name of an object or field of Salesforce: take its API name, as in Account "
                "or Heatsync_Id__c."
            )


def _no_object(object: str) -> ConfigurationError:
    near = difflib.get_close_matches(object, VENDOR.objects, 1)
    meant = f" Did you mean {near[0]}?" if near and near[0] != object else ""
    return ConfigurationError(
        f"Salesforce has no object {object!r}, or hides it from the app's user.{meant} Take its API name, as in Account"
        " or Invoice__c, and give the user the right to read it.",
        "object",
    )


def _keyed(change: Change, external: set[str]) -> str | None:
    """The external id field that a new record is upserted by: the first that it has."""
    if change.remote_id is not None:
        return None
    return next((match.field for match in change.match if match.field.lower() in external), None)


def _ready(change: Change, external: set[str]) -> Item | Outcome:
    if change.kind is Kind.LEFT and change.remote_id is None:
        cause = "there is no record to leave"
        return Outcome(change.key, Status.SKIPPED, code="not_found", cause=cause)
    return records.item(change, _keyed(change, external))


def _parted(way: Sequence[Item], least: int | None) -> tuple[Sequence[Item], Sequence[Item]]:
    """Those of a way that go by two hundred, and those that make up a file."""
    can_be_repeated = way[0].by is not None or way[0].change.remote_id is not None
    if least is None or not can_be_repeated:
        return way, []
    large = [item for item in way if bulk.suits(item)]
    if len(large) < least:
        return way, []
    return [item for item in way if not bulk.suits(item)], large


def _folded(field: str, value: str) -> str:
    """What Salesforce compares: ids in their long form, text without case."""
    return records.whole_id(value) if field.lower() == "id" else value.strip().lower()


def _is(described: Mapping[str, Any], field: str) -> bool:
    return str(described.get("name")).lower() == field.lower()


def name_trait(prefix: str, score_name: str, metric: str, entity: Entity) -> str:  # noqa: ARG001
    """Letters, digits and single underscores; a long name loses the end of the score's, never the metric."""
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
    return Files(int(settings.get("bulk_above") or BULK_ABOVE), bulk.RECORDS, bulk.CALLS)


def limits(settings: Mapping[str, str]) -> Limits:
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
    objects={
        "Account": ObjectKind(Entity.ACCOUNT, (("Heatsync_Id__c", "account_id"),), search_lag=COMMITTED),
        "Contact": ObjectKind(Entity.USER, (("Email", "email"),), search_lag=COMMITTED),
    },
    limits=limits,
    connect=Salesforce,
    name_trait=name_trait,
    any_object=True,
    search_lag=COMMITTED,
    field_name_pattern=NAME.pattern,
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
