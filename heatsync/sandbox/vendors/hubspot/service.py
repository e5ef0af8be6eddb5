"""HubSpot: /crm/v3 and the dated paths of 2026-03 and 2026-09.

Without trace ids a batch is all or nothing; a batch read that misses some, and a batch create that carries
trace ids, answer 207. Sources: developers.hubspot.com and reported behaviour, 2026-11.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from heatsync.sandbox.calls import Call, Handler, Refusal, Reply, Route, account_of, is_refused
from heatsync.sandbox.simulator import Simulator
from heatsync.sandbox.state import Row
from heatsync.sandbox.vendors.hubspot import account, demo, quotas, schema
from heatsync.sandbox.vendors.hubspot import search as hubspot_search
from heatsync.sandbox.vendors.hubspot.faults import FAULTS
from heatsync.sandbox.vendors.hubspot.properties import error, timestamp
from heatsync.sandbox.vendors.hubspot.store import OBJECTS, OWN_ID, Store

VERSIONS = ("2026-03", "2026-09")
BATCH = 100
MODIFIED = {"contacts": "lastmodifieddate", "companies": "hs_lastmodifieddate"}
DEFAULTS = {"contacts": ("firstname", "lastname", "email"), "companies": ("name", "domain")}


def _object(call: Call) -> str:
    object = call.params["object"]
    if object not in OBJECTS:
        raise Refusal(error(400, "VALIDATION_ERROR", f"Unable to infer object type from: {object}"))
    return object


def shown(
    object: str, row: Row, wanted: Iterable[str], known: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """A record as HubSpot answers it: strings or null; a property that does not exist is left out."""
    created, updated = timestamp(row.created), timestamp(row.updated)
    properties: dict[str, str | None] = {
        "createdate": created,
        "hs_object_id": row.id,
        MODIFIED[object]: updated,
    }
    values = row.values
    for name in wanted:
        if name in known and name not in properties:
            properties[name] = values.get(name)
    return {
        "id": row.id,
        "properties": properties,
        "createdAt": created,
        "updatedAt": updated,
        "archived": False,
        **more,
    }


def _inputs(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(each, dict) for each in inputs):
        raise Refusal(error(400, "VALIDATION_ERROR", "Invalid input JSON: inputs must be a list of objects"))
    if len(inputs) > BATCH:
        message = f"The maximum batch size is {BATCH}, but {len(inputs)} inputs were sent"
        raise Refusal(error(400, "VALIDATION_ERROR", message))
    return inputs


def _ids(inputs: list[dict[str, Any]]) -> list[str]:
    ids = [str(each.get("id", "")).strip().lower() for each in inputs]
    if len(set(ids)) < len(ids):
        twice = sorted({id for id in ids if ids.count(id) > 1})
        message = f"Duplicate IDs found in batch input: [{', '.join(twice)}]. IDs must be unique"
        raise Refusal(error(400, "VALIDATION_ERROR", message, context={"ids": twice}))
    return ids


def _values(each: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = each.get("properties", {})
    if not isinstance(properties, dict):
        raise Refusal(error(400, "VALIDATION_ERROR", "Invalid input JSON: properties must be an object"))
    return properties


def _unique(store: Store, object: str, name: str, verb: str) -> None:
    wanted = store.properties[object].get(name)
    # hubspot-api-nodejs 548 (2024-09): e-mail works for reading and upserting; batch update refuses it.
    if wanted is None or not wanted.unique or (name == "email" and verb == "update"):
        message = f"Unable to perform {verb} by non-unique {OBJECTS[object]} property"
        raise Refusal(error(400, "VALIDATION_ERROR", f"{message} {name} in portal ID {store.portal}"))


def _find(store: Store, object: str, id: str, property: Any) -> Row | None:
    table = store.tables[object]
    if not property:
        return table.rows.get(store.aliases[object].get((OWN_ID, id), id))
    found = table.having(str(property), id)
    if found:
        return found[0]
    other = store.aliases[object].get((str(property), id))
    return table.rows.get(other) if other else None


def _batch(call: Call, status: int, results: list[Any], errors: list[Any], records: int) -> Reply:
    body: dict[str, Any] = {"status": "COMPLETE", "results": results}
    body |= {"startedAt": timestamp(call.now), "completedAt": timestamp(call.now)}
    if errors:
        body |= {"numErrors": len(errors), "errors": errors}
    return Reply(207 if errors else status, body, records=records)


def _gone(object: str, ids: list[str]) -> dict[str, Any]:
    kind = {"contacts": "CONTACT", "companies": "COMPANY"}[object]
    message = (
        f"Could not get some {kind} objects, they may be deleted or not exist. Check that ids are valid."
    )
    return {"status": "error", "category": "OBJECT_NOT_FOUND", "message": message, "context": {"ids": ids}}


def read_batch(call: Call, store: Store) -> Reply:
    object, body = _object(call), call.object()
    inputs = _inputs(body)
    ids, key = _ids(inputs), body.get("idProperty")
    if key:
        _unique(store, object, key, "read")
    wanted = body.get("properties") or DEFAULTS[object]
    known = store.properties[object]
    found = [(id, _find(store, object, id, key)) for id in ids]
    missing = [id for id, row in found if row is None]
    results = [shown(object, row, wanted, known) for _, row in found if row]
    return _batch(call, 200, results, [_gone(object, missing)] if missing else [], len(inputs))


def update_batch(call: Call, store: Store) -> Reply:
    object = _object(call)
    inputs = _inputs(call.object())
    table, known = store.tables[object], store.properties[object]
    work, missing, taken = [], [], set[str]()
    for id, each in zip(_ids(inputs), inputs, strict=True):
        key = each.get("idProperty")
        if key:
            _unique(store, object, key, "update")
        row = _find(store, object, id, key)
        changes = store.checked(object, _values(each), row)
        _not_twice(store, object, changes, taken)
        if row:
            work.append((row, changes, each))
        elif key or id.isdigit():
            missing.append(id)
        # Any other id is ignored silently (hubspot-api-nodejs 548, 2024-09).
    results = []
    for row, changes, each in work:
        table.change(row, changes, call.now)
        results.append(shown(object, row, changes, known, **_trace(each)))
    return _batch(call, 200, results, [_gone(object, missing)] if missing else [], len(inputs))


def _trace(each: Mapping[str, Any]) -> dict[str, Any]:
    trace = each.get("objectWriteTraceId")
    return {"objectWriteTraceId": trace} if trace else {}


def _not_twice(store: Store, object: str, changes: Mapping[str, Any], taken: set[str]) -> None:
    """Refuse a unique value that an earlier input of the same batch has."""
    for name, value in changes.items():
        if value is not None and store.properties[object][name].unique:
            mark = f"{name}:{value.lower()}"
            if mark in taken:
                raise Refusal(error(400, "VALIDATION_ERROR", f"{name} {value} is twice in the batch"))
            taken.add(mark)


def upsert_batch(call: Call, store: Store) -> Reply:
    object = _object(call)
    inputs = _inputs(call.object())
    table, known = store.tables[object], store.properties[object]
    work, taken = [], set[str]()
    for id, each in zip(_ids(inputs), inputs, strict=True):
        key = str(each.get("idProperty") or "hs_object_id")
        _unique(store, object, key, "upsert")
        row = _find(store, object, id, key)
        own = {} if row else {key: each["id"]}
        changes = store.checked(object, {**own, **_values(each)}, row)
        _not_twice(store, object, changes, taken)
        work.append((row, changes, each))
    results = []
    for row, changes, each in work:
        new = row is None
        if row is None:
            row = store.create(object, changes, call.now)
        table.change(row, {} if new else changes, call.now)
        results.append(shown(object, row, changes, known, new=new, **_trace(each)))
    return _batch(call, 200, results, [], len(inputs))


def create_batch(call: Call, store: Store) -> Reply:
    """With a trace id on every input, each record succeeds or fails by itself; else all or nothing."""
    object = _object(call)
    inputs = _inputs(call.object())
    traced = bool(inputs) and all(each.get("objectWriteTraceId") for each in inputs)
    results, errors = [], []
    if not traced:
        taken = set[str]()
        for each in inputs:
            _not_twice(store, object, store.checked(object, _values(each)), taken)
    for each in inputs:
        try:
            row = store.create(object, store.checked(object, _values(each)), call.now)
        except Refusal as refusal:
            if not traced:
                raise
            trace = {"objectWriteTraceId": [each["objectWriteTraceId"]]}
            errors.append({**refusal.reply.body, "context": trace})
            continue
        results.append(shown(object, row, row.values, store.properties[object], **_trace(each)))
    return _batch(call, 201, results, errors, len(inputs))


def _one(call: Call, store: Store) -> Row:
    object, key = _object(call), call.query.get("idProperty")
    if key:
        _unique(store, object, key, "read")
    row = _find(store, object, call.params["id"], key)
    if row is None:
        raise Refusal(error(404, "OBJECT_NOT_FOUND", "resource not found"))
    return row


def get_one(call: Call, store: Store) -> Reply:
    object, row = _object(call), _one(call, store)
    asked = call.query.get("properties")
    wanted = asked.split(",") if asked else DEFAULTS[object]
    return Reply(200, shown(object, row, wanted, store.properties[object]), records=1)


def update_one(call: Call, store: Store) -> Reply:
    object, row = _object(call), _one(call, store)
    changes = store.checked(object, _values(call.object()), row)
    store.tables[object].change(row, changes, call.now)
    return Reply(200, shown(object, row, changes, store.properties[object]), records=1)


def create_one(call: Call, store: Store) -> Reply:
    object = _object(call)
    row = store.create(object, store.checked(object, _values(call.object())), call.now)
    return Reply(201, shown(object, row, row.values, store.properties[object]), records=1)


def search(call: Call, store: Store) -> Reply:
    object, body = _object(call), call.object()
    rows = hubspot_search.found(store.tables[object], store.properties[object], body)
    limit, after = hubspot_search.page(body)
    wanted = body.get("properties") or DEFAULTS[object]
    results = [shown(object, row, wanted, store.properties[object]) for row in rows[after : after + limit]]
    answer: dict[str, Any] = {"total": len(rows), "results": results}
    if after + limit < len(rows):
        answer["paging"] = {"next": {"after": str(after + limit)}}
    return Reply(200, answer, records=len(results))


def _account(call: Call) -> str:
    token = call.token()
    issued = account.issued(token)
    if issued is not None and call.now >= issued + account.LIFETIME:
        message = f"The OAuth token used to make this call expired {call.now - issued:.0f} second(s) ago."
        raise Refusal(error(401, "EXPIRED_AUTHENTICATION", message))
    if not token or is_refused(token):
        message = (
            "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can "
            "find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
        )
        raise Refusal(error(401, "INVALID_AUTHENTICATION", message))
    scopes = account.lacking(call)
    if scopes:
        # The body is that of hubspot-api-nodejs 268 (2022-11), the name of the list that of the error guide (2026).
        message = (
            "This app hasn't been granted all required scopes to make this call. Read more about required scopes "
            "here: https://developers.hubspot.com/scopes."
        )
        which = {
            "message": "One or more of the following scopes are required.",
            "context": {"requiredGranularScopes": scopes},
        }
        raise Refusal(error(403, "MISSING_SCOPES", message, errors=[which]))
    return account_of(token)


_OBJECT_PATHS: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/batch/read", read_batch),
    ("POST", "/batch/update", update_batch),
    ("POST", "/batch/create", create_batch),
    ("POST", "/batch/upsert", upsert_batch),
    ("POST", "/search", search),
    ("POST", "", create_one),
    ("GET", "/{id}", get_one),
    ("PATCH", "/{id}", update_one),
)
_PROPERTY_PATHS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/groups", schema.list_groups),
    ("POST", "/groups", schema.create_group),
    ("POST", "/batch/create", schema.create_batch),
    ("POST", "/batch/read", schema.read_batch),
    ("GET", "", schema.list_all),
    ("POST", "", schema.create_one),
    ("GET", "/{name}", schema.get_one),
    ("PATCH", "/{name}", schema.change_one),
    ("DELETE", "/{name}", schema.archive_one),
)
_ACCOUNT_PATHS: tuple[tuple[str, str, str, Handler], ...] = (
    ("account-info", "details", "account-info/details", account.details),
    ("account-info", "api-usage/daily/private-apps", "account-info/api-usage", account.usage),
    ("crm/limits", "custom-properties", "limits/custom-properties", account.property_limits),
)
QUOTA = ("burst", "day")


def _routes() -> list[Route]:
    routes = []
    for version in ("v3", *VERSIONS):
        dated = version in VERSIONS
        objects = f"/crm/objects/{version}/{{object}}" if dated else "/crm/v3/objects/{object}"
        properties = f"/crm/properties/{version}/{{object}}" if dated else "/crm/v3/properties/{object}"
        for method, path, handler in _OBJECT_PATHS:
            quota = (*QUOTA, "search") if path == "/search" else QUOTA
            routes.append(Route(method, objects + path, f"{method} {{object}}{path}", handler, quota))
        for method, path, handler in _PROPERTY_PATHS:
            label = f"{method} properties/{{object}}{path}"
            routes.append(Route(method, properties + path, label, handler, QUOTA))
        for area, path, label, handler in _ACCOUNT_PATHS:
            start = "/crm/v3/limits" if area == "crm/limits" and not dated else f"/{area}/{version}"
            routes.append(Route("GET", f"{start}/{path}", f"GET {label}", handler, QUOTA))
        if dated:
            path, label = f"/oauth/{version}/token", "POST oauth/token"
            routes.append(Route("POST", path, label, account.token, (), open=True))
    label = "POST private-apps/access-token-info"
    routes.append(Route("POST", "/oauth/v2/private-apps/get/access-token-info", label, account.scopes, QUOTA))
    return routes


SIMULATOR = Simulator(
    name="hubspot",
    title="HubSpot",
    prefixes=("/crm/", "/account-info/", "/oauth/"),
    routes=_routes(),
    store=Store,
    quotas=quotas.QUOTAS,
    main_quota="burst",
    account=_account,
    limited=quotas.limited,
    quota_headers=quotas.quota_headers,
    unreadable=lambda message: error(400, "VALIDATION_ERROR", f"Invalid input JSON: {message}"),
    unknown=lambda _: error(404, "OBJECT_NOT_FOUND", "resource not found"),
    faults=FAULTS,
    demo=demo.DEMO,
)
