"""Intercom's tags on contacts and companies, as of API 2.14.

A tag is created by the first call that names it; names ignore case. The answer of `POST /tags` names no record, and no
record is tagged where one does not exist (description 2.14; intercom-node issue 263, 2020). That the call can also untag
contacts is in the reference up to 1.4.
"""

from typing import Any

from heatsync.sandbox.calls import Call, Handler, Reply
from heatsync.sandbox.state import Row
from heatsync.sandbox.vendors.intercom.store import Store, no

SHOWN = 10
"""The most tags in the answer of a contact."""
LISTS = {"users": ("contacts", "not_found", "User Not Found")}
LISTS |= {"companies": ("companies", "company_not_found", "Company Not Found")}


def of_contact(store: Store, row: Row) -> dict[str, Any]:
    """The tags in the answer of a contact."""
    ids = list(store.tags_of["contacts"].get(row.id, ()))
    return {
        "type": "list",
        "data": [{"type": "tag", "id": id, "url": f"/tags/{id}"} for id in ids[:SHOWN]],
        "url": f"/contacts/{row.id}/tags",
        "total_count": len(ids),
        "has_more": len(ids) > SHOWN,
    }


def of_company(store: Store, row: Row) -> dict[str, Any]:
    ids = store.tags_of["companies"].get(row.id, ())
    return {"type": "tag.list", "tags": [shown(store, id) for id in ids]}


def shown(store: Store, id: str) -> dict[str, Any]:
    return {"type": "tag", "id": id, "name": store.tags[id]}


def list_tags(_call: Call, store: Store) -> Reply:
    return Reply(200, {"type": "list", "data": [shown(store, id) for id in store.tags]})


def write(call: Call, store: Store) -> Reply:
    """Create a tag, or tag and untag many records."""
    body = call.object()
    name = body.get("name")
    given = [kind for kind in LISTS if kind in body]
    if not isinstance(name, str) or not name.strip() or len(given) > 1:
        raise no(400, "parameter_invalid", "invalid tag parameters")
    if not given:
        return Reply(200, shown(store, store.tag(name)))
    object, code, message = LISTS[given[0]]
    entries = body[given[0]]
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise no(400, "parameter_invalid", "invalid tag parameters")
    found = [(_row(store, object, each), each.get("untag") is True) for each in entries]
    if None in (row for row, _ in found):
        raise no(404, code, message)
    id = store.tag(name)
    for row, untag in found:
        if row is not None:
            store.set_tag(object, row.id, id, not untag)
    return Reply(200, shown(store, id), records=len(found))


def _row(store: Store, object: str, each: dict[str, Any]) -> Row | None:
    table = store.tables[object]
    if "id" in each:
        return table.rows.get(str(each["id"]))
    rows = table.having("company_id", each.get("company_id")) if object == "companies" else []
    return rows[0] if rows else None


def list_of_contact(call: Call, store: Store) -> Reply:
    ids = store.tags_of["contacts"].get(store.contact(call.params["id"]).id, ())
    return Reply(200, {"type": "list", "data": [shown(store, id) for id in ids]})


def add_to_contact(call: Call, store: Store) -> Reply:
    row, id = store.contact(call.params["id"]), str(call.object().get("id"))
    if id not in store.tags:
        raise no(404, "not_found", "Resource Not Found")
    store.set_tag("contacts", row.id, id, True)
    return Reply(200, shown(store, id), records=1)


def remove_from_contact(call: Call, store: Store) -> Reply:
    row, id = store.contact(call.params["id"]), call.params["tag"]
    if id not in store.tags_of["contacts"].get(row.id, ()):
        raise no(404, "not_found", "Resource Not Found")
    store.set_tag("contacts", row.id, id, False)
    return Reply(200, shown(store, id), records=1)


PATHS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/tags", list_tags),
    ("POST", "/tags", write),
    ("GET", "/contacts/{id}/tags", list_of_contact),
    ("POST", "/contacts/{id}/tags", add_to_contact),
    ("DELETE", "/contacts/{id}/tags/{tag}", remove_from_contact),
)
