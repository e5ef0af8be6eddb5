"""Salesforce: token endpoint, describe, limits, SOQL, records and bulk jobs, for any API version.

Sources: Salesforce's REST API guide and help pages, 2026-11.
"""

import binascii
import json
import re
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from heatsync.sandbox.calls import Call, Handler, Refusal, Reply, Route, account_of, is_refused
from heatsync.sandbox.simulator import Simulator
from heatsync.sandbox.state import Row, number_of
from heatsync.sandbox.vendors.salesforce import bulk, quotas, records, soql, tooling
from heatsync.sandbox.vendors.salesforce.demo import DEMO
from heatsync.sandbox.vendors.salesforce.faults import FAULTS
from heatsync.sandbox.vendors.salesforce.schema import PREFIXES, STANDARD, Field
from heatsync.sandbox.vendors.salesforce.store import CURSORS, Store, make_id, org_id, refused

VERSIONS = range(31, 69)
PAGE = 2000
URI_BYTES = 16_384
"""help.salesforce.com 000386264, 2026-06: a longer address is answered with 414."""
SOQL_LENGTH = 100_000


def _user(account: str) -> str:
    return make_id("005", number_of("salesforce user", account, digits=15))


def token(call: Call, _store: Store) -> Reply:
    """Client credentials, JWT bearer and password; only `refused` is refused.

    The consumer key or the consumer secret names the account, and the access token contains it.
    """
    form = dict(parse_qsl(call.body.decode(errors="replace")))
    parts = _credentials(call, form)
    grant = form.get("grant_type", "")
    if grant not in ("client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer", "password"):
        return _no_token("unsupported_grant_type", "grant type not supported")
    if not parts or any(is_refused(part) or part.startswith("refused:") for part in parts):
        return _no_token("invalid_grant", "authentication failure")
    call.account = account = _account(parts)
    org = org_id(account)
    session = f"{org}!sandbox.{number_of('session', account, digits=15)}"
    body = {
        "access_token": session if account == "default" else f"{account}:{session}",
        "instance_url": call.origin,
        "id": f"{call.origin}/id/{org}/{_user(account)}",
        "token_type": "Bearer",
        "scope": "api",
        "issued_at": str(int(call.now * 1000)),
        "signature": "c2FuZGJveA==",
    }
    return Reply(200, body)


def _no_token(code: str, words: str) -> Reply:
    return Reply(400, {"error": code, "error_description": words})


def _credentials(call: Call, form: Mapping[str, str]) -> list[str]:
    """Key and secret, as far as the grant has them."""
    kind, _, rest = call.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            return _split(b64decode(rest, validate=True).decode(), call.accounts)
        except ValueError:
            return []
    if "assertion" in form:
        claims = _claims(form["assertion"])
        return [str(claims[name]) for name in ("iss", "sub") if claims.get(name)]
    found = (form.get("client_id"), form.get("client_secret"), form.get("username"), form.get("password"))
    return [each for each in found if each]


_KEYLIKE = re.compile(r"(3MVG.*|.*(key|consumer|client).*|..?)", re.IGNORECASE)


def _split(pair: str, accounts: Collection[str]) -> list[str]:
    """Key and secret from `key:secret`, where each may have the form `account:rest`.

    Of three parts, the account is the first or the second: the one that exists in the sandbox, else the one that looks
    less like a key, else the second, because RFC 7617 has no colon in the first.
    """
    parts = pair.split(":")
    if len(parts) == 3:
        first, second = ((each in accounts, not _KEYLIKE.fullmatch(each)) for each in parts[:2])
        cut = 2 if first > second else 1
    else:
        cut = max(1, len(parts) // 2)
    return [":".join(parts[:cut]), ":".join(parts[cut:])]


def _claims(assertion: str) -> dict[str, Any]:
    try:
        payload = assertion.split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}


def _account(parts: list[str]) -> str:
    named = (account_of(part) for part in parts)
    return next((name for name in named if name != "default"), "default")


def userinfo(call: Call, store: Store) -> Reply:
    user = _user(store.account)
    body = {
        "sub": f"{call.origin}/id/{store.org}/{user}",
        "user_id": user,
        "organization_id": store.org,
        "preferred_username": f"sandbox@{store.account}.example",
        "name": "Sandbox",
        "email": f"sandbox@{store.account}.example",
        "active": True,
    }
    return Reply(200, body)


def versions(_call: Call, _store: Store) -> Reply:
    found = [
        {"label": f"API {each}", "url": f"/services/data/v{each}.0", "version": f"{each}.0"}
        for each in VERSIONS
    ]
    return Reply(200, found)


def limits(call: Call, _store: Store) -> Reply:
    most = call.windows["day"].calls
    return Reply(
        200,
        {
            "DailyApiRequests": {"Max": most, "Remaining": max(0, most - call.used.get("day", 0))},
            "DailyBulkApiBatches": {"Max": 15_000, "Remaining": 15_000},
            "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000},
        },
    )


def _described(object: str) -> dict[str, Any]:
    writable = object != "Organization"
    return {
        "name": object,
        "label": object.removesuffix("__c").replace("_", " "),
        "custom": object.endswith("__c"),
        "keyPrefix": PREFIXES.get(object),
        "createable": writable,
        "updateable": writable,
        "queryable": True,
        "retrieveable": True,
    }


def objects(_call: Call, store: Store) -> Reply:
    names = dict.fromkeys((*STANDARD, *store.custom))
    found = [_described(name) for name in names]
    return Reply(200, {"encoding": "UTF-8", "maxBatchSize": records.RECORDS, "sobjects": found})


def describe(call: Call, store: Store) -> Reply:
    object = store.object(call.params["object"])
    fields = [field.shown() for field in store.fields(object).values()]
    return Reply(
        200, {**_described(object), "fields": fields, "recordTypeInfos": [], "childRelationships": []}
    )


def query(call: Call, store: Store) -> Reply:
    text = call.query.get("q", "")
    if call.size > URI_BYTES:
        raise refused(414, "URI_TOO_LONG", f"The length of the URI exceeds the {URI_BYTES}-byte limit")
    try:
        parsed = soql.parse(text)
    except soql.Malformed as bad:
        raise refused(400, "MALFORMED_QUERY", str(bad)) from bad
    if len(text) > SOQL_LENGTH:
        raise refused(400, "MALFORMED_QUERY", "SOQL statements cannot be longer than 100000 characters.")
    try:
        object = store.object(parsed.object)
    except Refusal as refusal:
        message = f"sObject type '{parsed.object}' is not supported."
        raise refused(400, "INVALID_TYPE", message) from refusal
    known = records.known_fields(store, object)
    for name in soql.fields_of(parsed):
        if name.lower() not in known:
            message = (
                f"\n{text}\n^\nERROR at Row:1:Column:{text.find(name) + 1}\nNo such column '{name}' on entity "
                f"'{object}'. If you are attempting to use a custom field, be sure to append the '__c' after the "
                "custom field name. Please reference your WSDL or the describe call for the appropriate names."
            )
            raise refused(400, "INVALID_FIELD", message)
    rows = _rows(store, object, known, parsed)
    if not parsed.fields:
        return Reply(200, {"totalSize": len(rows), "done": True, "records": []})
    cursor = (object, [known[name.lower()] for name in parsed.fields], rows)
    return _page(call, store, make_id("01g", 10**9 + number_of(text, digits=9)), cursor, 0)


def _rows(store: Store, object: str, known: Mapping[str, Field], parsed: soql.Query) -> list[Row]:
    def value(row: Row, name: str) -> Any:
        return store.value(object, known[name.lower()], row)

    narrowed = soql.keys(parsed.where)
    found = _narrowed(store, object, known, narrowed)
    if parsed.where and not _exact(parsed.where, narrowed):
        passes = soql.matcher(parsed.where)
        found = [row for row in found if passes(partial(value, row))]
    for order in reversed(parsed.order):
        full = [row for row in found if value(row, order.field) is not None]
        full.sort(key=lambda row, name=order.field: soql.comparable(value(row, name)), reverse=order.down)  # type: ignore[misc]
        empty = [row for row in found if value(row, order.field) is None]
        found = full + empty if order.nulls_last else empty + full
    end = None if parsed.limit is None else parsed.offset + parsed.limit
    return found[parsed.offset : end]


def _narrowed(store: Store, object: str, known: Mapping[str, Field], narrowed: Any) -> list[Row]:
    """The records that a query can select: through an index where the values of a field are given."""
    table = store.table(object)
    if narrowed is None or not all(isinstance(value, str) for value in narrowed[1]):
        return list(table)
    name, values = known[narrowed[0].lower()].name, dict.fromkeys(narrowed[1])
    if name == "Id":
        found = [row for row in (store.find(object, value) for value in values) if row]
    elif name in STANDARD.get(object, {}) and not known[name.lower()].writable:
        return list(table)
    else:
        found = [row for value in values for row in table.having(name, value)]
    return list({row.id: row for row in found}.values())


def _exact(where: soql.Condition, narrowed: Any) -> bool:
    """Whether looking the values up by id has already answered the whole condition.

    Ids have two lengths, which a comparison of text would treat as different.
    """
    return narrowed is not None and narrowed[0].lower() == "id" and isinstance(where, soql.Comparison)


def _page(call: Call, store: Store, locator: str, cursor: Any, start: int) -> Reply:
    object, fields, rows = cursor
    asked = re.search(r"batchSize=(\d+)", call.headers.get("sforce-query-options", ""))
    end = start + (min(PAGE, max(200, int(asked[1]))) if asked else PAGE)
    shown = [records.shown(call, store, object, row, fields) for row in rows[start:end]]
    body: dict[str, Any] = {"totalSize": len(rows), "done": end >= len(rows)}
    if end < len(rows):
        store.cursors[locator] = cursor
        body["nextRecordsUrl"] = f"/services/data/{call.params['version']}/query/{locator}-{end}"
        while len(store.cursors) > CURSORS:
            del store.cursors[next(iter(store.cursors))]
    return Reply(200, {**body, "records": shown}, records=len(shown))


def more(call: Call, store: Store) -> Reply:
    locator, _, start = call.params["locator"].rpartition("-")
    if locator not in store.cursors or not start.isdigit():
        raise refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return _page(call, store, locator, store.cursors[locator], int(start))


def _account_of_session(call: Call) -> str:
    version = call.params.get("version")
    if version and (not re.fullmatch(r"v\d+\.0", version) or int(version[1:-2]) not in VERSIONS):
        raise refused(404, "NOT_FOUND", "The requested resource does not exist")
    session = call.token()
    if not session or is_refused(session):
        raise refused(401, "INVALID_SESSION_ID", "Session expired or invalid")
    return account_of(session)


_PATHS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "limits", limits),
    ("GET", "query", query),
    ("GET", "query/{locator}", more),
    ("GET", "sobjects", objects),
    ("GET", "sobjects/{object}/describe", describe),
    ("POST", "tooling/sobjects/CustomField", tooling.create_field),
    ("POST", "sobjects/FieldPermissions", tooling.grant),
    ("POST", "sobjects/{object}", records.create_one),
    ("GET", "sobjects/{object}/{id}", records.get_one),
    ("PATCH", "sobjects/{object}/{id}", records.update_one),
    ("GET", "sobjects/{object}/{field}/{value:path}", records.get_by_external),
    ("PATCH", "sobjects/{object}/{field}/{value:path}", records.upsert_one),
    ("POST", "composite/sobjects", records.create_many),
    ("PATCH", "composite/sobjects", records.update_many),
    ("POST", "composite/sobjects/{object}", records.retrieve_many),
    ("PATCH", "composite/sobjects/{object}/{field}", records.upsert_many),
    ("POST", "jobs/ingest", bulk.create),
    ("GET", "jobs/ingest/{job}", bulk.show),
    ("PATCH", "jobs/ingest/{job}", bulk.change),
    ("DELETE", "jobs/ingest/{job}", bulk.delete),
    ("PUT", "jobs/ingest/{job}/batches", bulk.upload),
    ("GET", "jobs/ingest/{job}/successfulResults", bulk.successful),
    ("GET", "jobs/ingest/{job}/failedResults", bulk.failed),
    ("GET", "jobs/ingest/{job}/unprocessedrecords", bulk.unprocessed),
)


def _routes() -> list[Route]:
    routes = [
        Route("POST", "/services/oauth2/token", "POST oauth2/token", token, (), open=True),
        Route("GET", "/services/oauth2/userinfo", "GET oauth2/userinfo", userinfo, ()),
        Route("POST", "/services/oauth2/userinfo", "POST oauth2/userinfo", userinfo, ()),
        Route("GET", "/services/data", "GET data", versions, (), open=True),
        Route("GET", "/services/data/", "GET data", versions, (), open=True),
    ]
    for method, path, handler in _PATHS:
        # simple-salesforce ends some of its paths with a slash.
        for end in ("",) if path.endswith(":path}") else ("", "/"):
            label = f"{method} {path.replace(':path', '')}"
            windows = ("day", "jobs") if handler is bulk.create else ("day",)
            routes.append(Route(method, f"/services/data/{{version}}/{path}{end}", label, handler, windows))
    return routes


SIMULATOR = Simulator(
    name="salesforce",
    title="Salesforce",
    prefixes=("/services/",),
    routes=_routes(),
    store=Store,
    quotas=quotas.QUOTAS,
    main_quota="day",
    account=_account_of_session,
    limited=quotas.limited,
    quota_headers=quotas.quota_headers,
    unreadable=lambda message: refused(400, "JSON_PARSER_ERROR", message).reply,
    unknown=lambda _: refused(404, "NOT_FOUND", "The requested resource does not exist").reply,
    faults=FAULTS,
    demo=DEMO,
)
