"""Salesforce's ways to write and read records: Collections of up to 200, and one by one."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from heatsync.sandbox.calls import Call, Refusal, Reply
from heatsync.sandbox.state import Row, fold
from heatsync.sandbox.vendors.salesforce.schema import BadRecord, Field, is_id
from heatsync.sandbox.vendors.salesforce.store import Store, Work, refused

RECORDS = 200
RETRIEVED = 2000

Known = Mapping[str, Field]
Resolve = Callable[[Store, str, Known, dict[str, Any]], Row | None]
"""Returns the existing record that a record of the request means; None for a new one. Raises BadRecord."""


def known_fields(store: Store, object: str) -> dict[str, Field]:
    return {name.lower(): field for name, field in store.fields(object).items()}


def _records(call: Call) -> tuple[list[dict[str, Any]], bool]:
    body = call.object()
    records = body.get("records")
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise refused(400, "JSON_PARSER_ERROR", "The request has no list of records")
    if len(records) > RECORDS:
        message = f"record limit reached. cannot submit more than {RECORDS} records into this call"
        raise refused(400, "EXCEEDED_ID_LIMIT", message)
    return records, body.get("allOrNone") is True


def _type(store: Store, record: Mapping[str, Any], object: str | None) -> str:
    if object:
        return object
    attributes = record.get("attributes")
    type = attributes.get("type") if isinstance(attributes, dict) else None
    if not type:
        raise refused(400, "INVALID_TYPE", "The sobject type must be given in attributes")
    return store.object(str(type))


def _save(call: Call, store: Store, resolve: Resolve, object: str | None, upsert: bool) -> Reply:
    records, all_or_none = _records(call)
    schemas: dict[str, dict[str, Field]] = {}
    taken: dict[tuple[str, str], None] = {}
    work = []
    for record in records:
        each = Work(_type(store, record, object))
        if each.object not in schemas:
            schemas[each.object] = known_fields(store, each.object)
        work.append(each)
        known = schemas[each.object]
        try:
            each.changes = store.checked(each.object, known, record)
            each.row = resolve(store, each.object, known, record)
            store.complete(known, each)
            store.unique(each.object, known, each, taken)
        except BadRecord as failure:
            each.failure = failure
    if all_or_none and any(each.failure for each in work):
        words = (
            "Record rolled back because not all records were valid and the request was using AllOrNone header"
        )
        for each in work:
            each.failure = each.failure or BadRecord("ALL_OR_NONE_OPERATION_ROLLED_BACK", words, [])
    results = []
    for each in work:
        created = not each.failure and store.apply(each, call.now)
        results.append(each.result(upsert, created))
    return Reply(200, results, records=len(records))


def _by_id(store: Store, object: str, _: Known, record: dict[str, Any]) -> Row | None:
    id = str(record.get("id") or record.get("Id") or "")
    if not id:
        raise BadRecord("MISSING_ARGUMENT", "Id not specified in an update call", ["Id"])
    if not is_id(id):
        raise BadRecord("MALFORMED_ID", f"Id: id value of incorrect type: {id}", ["Id"])
    row = store.find(object, id)
    if row is None:
        raise BadRecord("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [])
    return row


def _each_once(key: Callable[[dict[str, Any]], str], words: str, call: Call, inner: Resolve) -> Resolve:
    """Records that share a key within one request all fail; the others do not."""
    counts = Counter(key(each) for each in _records(call)[0])

    def resolve(store: Store, object: str, known: Known, record: dict[str, Any]) -> Row | None:
        if key(record) and counts[key(record)] > 1:
            raise BadRecord("DUPLICATE_VALUE", f"Duplicate {words} specified: {key(record)}", [])
        return inner(store, object, known, record)

    return resolve


def update_many(call: Call, store: Store) -> Reply:
    resolve = _each_once(lambda each: str(each.get("id") or each.get("Id") or ""), "id", call, _by_id)
    return _save(call, store, resolve, None, upsert=False)


def _nothing(*_: Any) -> None:
    return None


def create_many(call: Call, store: Store) -> Reply:
    return _save(call, store, _nothing, None, upsert=False)


def _external(store: Store, object: str, name: str) -> Field:
    field = known_fields(store, object).get(name.lower())
    if field is None or not (field.external or field.id_lookup or field.name == "Id"):
        message = f"Provided external ID field does not exist or is not accessible: {name}"
        raise refused(404, "NOT_FOUND", message)
    return field


def upsert_many(call: Call, store: Store) -> Reply:
    object = store.object(call.params["object"])
    field = _external(store, object, call.params["field"])

    def key(record: dict[str, Any]) -> str:
        value = record.get(field.name)
        if value is None:
            value = next((v for name, v in record.items() if name.lower() == field.name.lower()), None)
        return "" if value is None else fold(value)

    def find(store: Store, object: str, known: Known, record: dict[str, Any]) -> Row | None:
        if field.name == "Id":
            return _by_id(store, object, known, record) if record.get("Id") or record.get("id") else None
        if record.get("id") or record.get("Id"):
            raise BadRecord("INVALID_FIELD", "cannot specify Id in an upsert by an external id", ["Id"])
        if not key(record):
            raise BadRecord("MISSING_ARGUMENT", f"{field.name} not specified", [field.name])
        rows = store.table(object).having(field.name, key(record))
        if len(rows) > 1:
            ids = ", ".join(row.id for row in rows)
            message = f"{field.name}: more than one record found for external id field: [{ids}]"
            raise BadRecord("DUPLICATE_EXTERNAL_ID", message, [field.name])
        return rows[0] if rows else None

    resolve = _each_once(key, "external id", call, find)
    return _save(call, store, resolve, object, upsert=True)


def shown(call: Call, store: Store, object: str, row: Row, fields: list[Field]) -> dict[str, Any]:
    attributes = {"type": object, "url": _url(call, object, row)}
    return {"attributes": attributes, **{field.name: store.value(object, field, row) for field in fields}}


def _url(call: Call, object: str, row: Row) -> str:
    return f"/services/data/{call.params['version']}/sobjects/{object}/{row.id}"


def _named(store: Store, object: str, names: list[str]) -> list[Field]:
    known = known_fields(store, object)
    for name in names:
        if name.lower() not in known:
            message = f"No such column '{name}' on sobject of type {object}"
            raise refused(400, "INVALID_FIELD", message)
    return [known[name.lower()] for name in names]


def retrieve_many(call: Call, store: Store) -> Reply:
    """In the order of the ids; null for a record that does not exist."""
    object, body = store.object(call.params["object"]), call.object()
    ids, fields = body.get("ids"), body.get("fields")
    if not isinstance(ids, list) or not isinstance(fields, list) or not fields:
        raise refused(400, "MISSING_ARGUMENT", "ids and fields are required")
    if len(ids) > RETRIEVED:
        raise refused(400, "EXCEEDED_ID_LIMIT", f"cannot retrieve more than {RETRIEVED} records in this call")
    wanted = _named(store, object, ["Id", *(each for each in fields if each.lower() != "id")])
    rows = [store.find(object, str(id)) for id in ids]
    found = [None if row is None else shown(call, store, object, row, wanted) for row in rows]
    return Reply(200, found, records=len(ids))


def _save_one(
    call: Call, store: Store, object: str, row: Row | None, record: dict[str, Any]
) -> tuple[Row, bool]:
    known = known_fields(store, object)
    try:
        work = Work(object, row, store.checked(object, known, record))
        store.complete(known, work)
        store.unique(object, known, work, {})
    except BadRecord as failure:
        code, message, fields = failure.args
        raise refused(400, code, message, fields) from failure
    created = store.apply(work, call.now)
    assert work.row is not None
    return work.row, created


def _done(row: Row, **more: Any) -> dict[str, Any]:
    return {"id": row.id, "success": True, "errors": [], **more}


def create_one(call: Call, store: Store) -> Reply:
    row, _ = _save_one(call, store, store.object(call.params["object"]), None, call.object())
    return Reply(201, _done(row), records=1)


def _present(call: Call, store: Store) -> tuple[str, Row]:
    object = store.object(call.params["object"])
    row = store.find(object, call.params["id"])
    if row is None:
        raise refused(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: Id")
    return object, row


def get_one(call: Call, store: Store) -> Reply:
    object, row = _present(call, store)
    asked = call.query.get("fields")
    fields = _named(store, object, asked.split(",")) if asked else list(store.fields(object).values())
    return Reply(200, shown(call, store, object, row, fields), records=1)


def update_one(call: Call, store: Store) -> Reply:
    object, row = _present(call, store)
    _save_one(call, store, object, row, call.object())
    return Reply(204, records=1)


def _by_external(call: Call, store: Store) -> tuple[str, Field, Row | None]:
    object = store.object(call.params["object"])
    field, value = _external(store, object, call.params["field"]), call.params["value"]
    rows = store.table(object).having(field.name, value)
    if field.name == "Id":
        found = store.find(object, value)
        rows = [found] if found else []
    if len(rows) > 1:
        raise Refusal(Reply(300, [_url(call, object, row) for row in rows]))
    return object, field, rows[0] if rows else None


def get_by_external(call: Call, store: Store) -> Reply:
    object, _, row = _by_external(call, store)
    if row is None:
        raise refused(404, "NOT_FOUND", "The requested resource does not exist")
    return Reply(200, shown(call, store, object, row, list(store.fields(object).values())), records=1)


def upsert_one(call: Call, store: Store) -> Reply:
    object, field, row = _by_external(call, store)
    record = call.object()
    if any(name.lower() == field.name.lower() for name in record):
        message = f"The {field.name} field should not be specified in the sobject data."
        raise refused(400, "INVALID_FIELD", message)
    if row is None:
        if call.query.get("updateOnly") == "true":
            raise refused(404, "NOT_FOUND", "The requested resource does not exist")
        record = {**record, field.name: call.params["value"]}
    row, created = _save_one(call, store, object, row, record)
    return Reply(201 if created else 200, _done(row, created=created), records=1)
