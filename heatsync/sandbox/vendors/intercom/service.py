"""Intercom: contacts, companies and data attributes, as of API 2.14.

Sources: Intercom's OpenAPI description 2.14 and developers.intercom.com, 2026-11.
"""

import math
from collections.abc import Mapping
from typing import Any

from heatsync.sandbox.calls import Call, Handler, Reply, Route, account_of, is_refused
from heatsync.sandbox.quotas import Quota
from heatsync.sandbox.simulator import Simulator
from heatsync.sandbox.state import Row
from heatsync.sandbox.vendors.intercom import search, tags
from heatsync.sandbox.vendors.intercom.demo import DEMO
from heatsync.sandbox.vendors.intercom.faults import FAULTS
from heatsync.sandbox.vendors.intercom.store import MODELS, NAME, STANDARD, Store, custom_of, error, no, read

PAGE, MOST = 50, 150
COMPANIES_PER_CONTACT = 1000


def contact_shown(store: Store, row: Row) -> dict[str, Any]:
    values = row.values
    plain = {name: values.get(name) for name in STANDARD["contacts"]}
    companies = [
        {"type": "company", "id": id, "url": f"/companies/{id}"} for id in store.companies_of.get(row.id, ())
    ]
    return {
        "type": "contact",
        "id": row.id,
        "workspace_id": store.code,
        **plain,
        "role": values.get("role", "user"),
        "avatar": {"type": "avatar", "image_url": values.get("avatar")},
        "has_hard_bounced": False,
        "marked_email_as_spam": False,
        "unsubscribed_from_emails": values.get("unsubscribed_from_emails", False),
        "created_at": int(row.created),
        "updated_at": int(row.updated),
        "custom_attributes": custom_of(row),
        "tags": tags.of_contact(store, row),
        "companies": {
            "type": "list",
            "data": companies[:10],
            "url": f"/contacts/{row.id}/companies",
            "total_count": len(companies),
            "has_more": len(companies) > 10,
        },
    }


def company_shown(store: Store, row: Row) -> dict[str, Any]:
    values = row.values
    plan = values.get("plan")
    return {
        "type": "company",
        "id": row.id,
        "app_id": store.code,
        **{name: values.get(name) for name in STANDARD["companies"]},
        "plan": {"type": "plan", "id": plan, "name": plan} if plan else {},
        "monthly_spend": values.get("monthly_spend", 0),
        "session_count": 0,
        "user_count": store.sizes[row.id],
        "created_at": int(row.created),
        "updated_at": int(row.updated),
        "custom_attributes": custom_of(row),
        "tags": tags.of_company(store, row),
        "segments": {"type": "segment.list", "segments": []},
    }


def me(_call: Call, store: Store) -> Reply:
    app = {
        "type": "app",
        "id_code": store.code,
        "name": store.account,
        "created_at": 1_700_000_000,
        "secure": False,
        "identity_verification": False,
        "timezone": "Etc/UTC",
        "region": "US",
    }
    body = {
        "type": "admin",
        "id": "991267786",
        "email": f"admin@{store.account}.example",
        "name": "Sandbox",
        "email_verified": True,
        "app": app,
        "has_inbox_seat": True,
    }
    return Reply(200, body)


def _conflict(store: Store, changes: Mapping[str, Any], row: Row | None) -> None:
    """Refuse a contact that already exists.

    Users with different external ids, and leads, may share an e-mail address.
    """
    table = store.tables["contacts"]
    values = {**(row.values if row else {}), **changes}
    external, email = values.get("external_id"), values.get("email")
    same = table.having("external_id", external) if external else []
    if email and values.get("role") != "lead":
        same += [
            each
            for each in table.having("email", email)
            if each.values.get("role") != "lead" and not (external and each.values.get("external_id"))
        ]
    for other in same:
        if other is not row:
            message = f"A contact matching those details already exists with id={other.id}"
            raise no(409, "conflict", message)


def create_contact(call: Call, store: Store) -> Reply:
    changes = store.checked("contacts", call.object())
    if not any(changes.get(name) for name in ("email", "external_id", "role")):
        raise no(400, "parameter_missing", "email, external_id or role is required")
    if changes.get("role") not in (None, "user", "lead"):
        raise no(400, "parameter_invalid", "role must be user or lead", "role")
    if changes.get("role") == "lead" and changes.get("external_id"):
        raise no(400, "parameter_invalid", "A lead cannot have an external_id", "external_id")
    _conflict(store, changes, None)
    kept = {name: value for name, value in changes.items() if value is not None}
    row = store.tables["contacts"].add(Row(store.new_id(), kept, call.now, call.now))
    return Reply(200, contact_shown(store, row), records=1)


def get_contact(call: Call, store: Store) -> Reply:
    return Reply(200, contact_shown(store, store.contact(call.params["id"])), records=1)


def update_contact(call: Call, store: Store) -> Reply:
    row = store.contact(call.params["id"])
    changes = store.checked("contacts", call.object())
    if {"email", "external_id", "role"} & changes.keys():
        _conflict(store, changes, row)
    store.tables["contacts"].change(row, changes, call.now)
    return Reply(200, contact_shown(store, row), records=1)


def find_by_external_id(call: Call, store: Store) -> Reply:
    rows = store.tables["contacts"].having("external_id", call.params["id"])
    if not rows:
        return error(404, "not_found", "User Not Found")
    return Reply(200, contact_shown(store, rows[0]), records=1)


def search_contacts(call: Call, store: Store) -> Reply:
    body = call.object()
    rows = search.found(store, body.get("query"))
    per_page, start = _page(body.get("pagination") or {})
    shown = [contact_shown(store, row) for row in rows[start : start + per_page]]
    return Reply(200, _listed(shown, len(rows), per_page, start), records=len(shown))


def _page(pagination: Mapping[str, Any]) -> tuple[int, int]:
    """(contacts per page, position of the first)"""
    try:
        per_page = int(pagination.get("per_page") or PAGE)
        start = int(str(pagination.get("starting_after") or "0"), 36)
    except ValueError:
        raise no(400, "parameter_invalid", "pagination is not valid") from None
    if not 1 <= per_page <= MOST:
        raise no(400, "parameter_invalid", f"per_page must be between 1 and {MOST}", "per_page")
    return per_page, start


def _cursor(start: int) -> str:
    digits = ""
    while start:
        start, digit = divmod(start, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def _listed(shown: list[Any], total: int, per_page: int, start: int) -> dict[str, Any]:
    page = start // per_page + 1
    pages: dict[str, Any] = {"type": "pages", "page": page, "per_page": per_page}
    pages["total_pages"] = math.ceil(total / per_page)
    if start + per_page < total:
        pages["next"] = {"page": page + 1, "starting_after": _cursor(start + per_page)}
    return {"type": "list", "data": shown, "total_count": total, "pages": pages}


def _company(call: Call, store: Store) -> Row:
    row = store.tables["companies"].rows.get(call.params["id"])
    if row is None:
        raise no(404, "company_not_found", "Company Not Found")
    return row


def upsert_company(call: Call, store: Store) -> Reply:
    changes = store.checked("companies", call.object())
    table = store.tables["companies"]
    id = changes.get("company_id")
    rows = table.having("company_id", id) if id else []
    if not id and not changes.get("name"):
        raise no(400, "bad_request", "bad 'company_id' parameter")
    row = rows[0] if rows else table.add(Row(store.new_id(), {}, call.now, call.now))
    if not id:
        changes["company_id"] = row.id
    table.change(row, _spent(changes), call.now)
    return Reply(200, company_shown(store, row), records=1)


def _spent(changes: dict[str, Any]) -> dict[str, Any]:
    if changes.get("monthly_spend") is not None:
        changes["monthly_spend"] = int(changes["monthly_spend"])
    return changes


def find_company(call: Call, store: Store) -> Reply:
    """A company by `company_id`; without it, the list of the companies that have a contact."""
    table = store.tables["companies"]
    if "company_id" in call.query:
        rows = table.having("company_id", call.query["company_id"])
        if not rows:
            return error(404, "company_not_found", "Company Not Found")
        return Reply(200, company_shown(store, rows[0]), records=1)
    rows = [row for row in table if store.sizes[row.id]]
    page = call.query.get("page", "1")
    per_page, _ = _page(call.query)
    start = (int(page) - 1) * per_page if page.isdecimal() else 0
    shown = [company_shown(store, row) for row in rows[start : start + per_page]]
    return Reply(200, _listed(shown, len(rows), per_page, start), records=len(shown))


def get_company(call: Call, store: Store) -> Reply:
    return Reply(200, company_shown(store, _company(call, store)), records=1)


def update_company(call: Call, store: Store) -> Reply:
    row = _company(call, store)
    changes = store.checked("companies", call.object())
    if changes.get("company_id", row.values.get("company_id")) != row.values.get("company_id"):
        raise no(400, "parameter_invalid", "company_id cannot be changed", "company_id")
    store.tables["companies"].change(row, _spent(changes), call.now)
    return Reply(200, company_shown(store, row), records=1)


def attach(call: Call, store: Store) -> Reply:
    row = store.contact(call.params["id"])
    company = store.tables["companies"].rows.get(str(call.object().get("id")))
    if company is None:
        return error(404, "company_not_found", "Company Not Found")
    present = store.companies_of.get(row.id, {})
    if company.id not in present and len(present) >= COMPANIES_PER_CONTACT:
        message = f"Contact cannot have more than {COMPANIES_PER_CONTACT} companies"
        return error(400, "contact_company_limit_exceeded", message)
    store.attach(row.id, company.id)
    return Reply(200, company_shown(store, company), records=1)


def contact_companies(call: Call, store: Store) -> Reply:
    row = store.contact(call.params["id"])
    rows = [store.tables["companies"].rows[id] for id in store.companies_of.get(row.id, ())]
    shown = [company_shown(store, each) for each in rows]
    return Reply(200, _listed(shown, len(shown), PAGE, 0), records=len(shown))


def list_attributes(call: Call, store: Store) -> Reply:
    model, archived = call.query.get("model"), call.query.get("include_archived") == "true"
    shown: list[dict[str, Any]] = []
    for object, name in MODELS.items():
        if model not in (None, name):
            continue
        shown += [
            {
                "type": "data_attribute",
                "model": name,
                "name": each,
                "full_name": each,
                "label": each,
                "data_type": type,
                "api_writable": True,
                "ui_writable": False,
                "messenger_writable": False,
                "custom": False,
                "archived": False,
            }
            for each, type in STANDARD[object].items()
        ]
        own = store.attributes[object].values()
        shown += [each.shown() for each in own if archived or not each.archived]
    return Reply(200, {"type": "list", "data": shown})


def create_attribute(call: Call, store: Store) -> Reply:
    body = call.object()
    objects = {model: object for object, model in MODELS.items()}
    object, name = objects.get(str(body.get("model"))), str(body.get("name") or "")
    if object is None:
        message = "The Data Attribute model field must be either contact or company"
        raise no(400, "parameter_invalid", message)
    if not NAME.fullmatch(name):
        message = "Your name for this attribute must only contain alphanumeric characters, currency symbols, and hyphens"
        raise no(400, "parameter_invalid", message)
    words = {"contacts": "people", "companies": "company"}
    for other, attributes in store.attributes.items():
        # One name space: a name that companies use cannot be used for contacts.
        if name in attributes or (other == object and name in STANDARD[object]):
            message = (
                f"You already have '{name}' in your {words[other]} data. "
                f"To save this as new {words[object]} data, use a different name."
            )
            raise no(400, "parameter_invalid", message)
    store.room()
    raw = {key: value for key, value in body.items() if key not in ("name", "model", "data_type")}
    try:
        attribute = store.define(object, name, {"type": str(body.get("data_type")), **raw})
    except ValueError as bad:
        raise no(400, "parameter_invalid", str(bad)) from bad
    return Reply(200, attribute.shown())


def update_attribute(call: Call, store: Store) -> Reply:
    """The type cannot change. Intercom's description has an example with `archived: false`."""
    found = next(
        (
            (attributes, each)
            for attributes in store.attributes.values()
            for each in attributes.values()
            if str(each.id) == call.params["id"]
        ),
        None,
    )
    if found is None:
        return error(404, "field_not_found", "We couldn't find that data attribute to update")
    attributes, old = found
    body = call.object()
    changed: dict[str, Any] = {
        key: body[key] for key in ("archived", "description", "options", "messenger_writable") if key in body
    }
    if old.archived and changed.get("archived") is False:
        store.room()
    try:
        new = read(old.id, old.model, old.name, {**old.raw, **changed})
    except ValueError as bad:
        raise no(400, "parameter_invalid", str(bad)) from bad
    attributes[old.name] = new
    return Reply(200, new.shown())


def _account(call: Call) -> str:
    token = call.token()
    if not token or is_refused(token):
        raise no(401, "unauthorized", "Access Token Invalid")
    return account_of(token)


def _limited(call: Call, window: str, _wait: float) -> Reply:
    message = f"Exceeded rate limit of {call.windows[window].calls} in 10_seconds"
    return error(429, "rate_limit_exceeded", message)


def _quota_headers(call: Call) -> Mapping[str, str]:
    window = call.windows["burst"]
    return {
        "X-RateLimit-Limit": str(window.calls),
        "X-RateLimit-Remaining": str(max(0, window.calls - call.used.get("burst", 0))),
        "X-RateLimit-Reset": str(math.ceil(window.resets_at(call.now))),
    }


_PATHS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/me", me),
    ("POST", "/contacts/search", search_contacts),
    ("GET", "/contacts/find_by_external_id/{id:path}", find_by_external_id),
    ("POST", "/contacts", create_contact),
    ("GET", "/contacts/{id}", get_contact),
    ("PUT", "/contacts/{id}", update_contact),
    ("POST", "/contacts/{id}/companies", attach),
    ("GET", "/contacts/{id}/companies", contact_companies),
    ("POST", "/companies", upsert_company),
    ("GET", "/companies", find_company),
    ("GET", "/companies/{id}", get_company),
    ("PUT", "/companies/{id}", update_company),
    ("GET", "/data_attributes", list_attributes),
    ("POST", "/data_attributes", create_attribute),
    ("PUT", "/data_attributes/{id}", update_attribute),
    *tags.PATHS,
)


def _label(method: str, path: str) -> str:
    return f"{method} {path.removeprefix('/').replace(':path', '')}"


SIMULATOR = Simulator(
    name="intercom",
    title="Intercom",
    prefixes=("/me", "/contacts", "/companies", "/data_attributes", "/tags", "/segments"),
    routes=[
        Route(method, path, _label(method, path), handler, ("burst",)) for method, path, handler in _PATHS
    ],
    store=Store,
    # 10,000 a minute, enforced in windows of 10 s (developers.intercom.com, rate limiting, 2026).
    quotas={"burst": Quota(1666, 10.0)},
    main_quota="burst",
    account=_account,
    limited=_limited,
    quota_headers=_quota_headers,
    unreadable=lambda message: error(400, "bad_request", f"The body is not valid JSON: {message}"),
    unknown=lambda _: error(404, "not_found", "The requested resource was not found"),
    faults=FAULTS,
    demo=DEMO,
)
