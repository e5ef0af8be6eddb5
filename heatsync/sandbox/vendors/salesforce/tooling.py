"""Salesforce's Tooling API, as far as it creates fields, and the permissions without which they are hidden.

Sources: Tooling API guide; FieldPermissions in the object reference; both 2026-11. A new field stays hidden until
a permission set grants it.
"""

import re
from collections.abc import Mapping
from typing import Any

from heatsync.sandbox.calls import Call, Reply
from heatsync.sandbox.vendors.salesforce.schema import read
from heatsync.sandbox.vendors.salesforce.store import Store, make_id, refused

KINDS = {
    "Text": "string",
    "LongTextArea": "textarea",
    "Number": "double",
    "Checkbox": "boolean",
    "Date": "date",
    "DateTime": "datetime",
}
NEEDED = {
    "Text": ("length",),
    "LongTextArea": ("length", "visibleLines"),
    "Number": ("precision", "scale"),
    "Checkbox": ("defaultValue",),
}
NAME = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*__c")


def create_field(call: Call, store: Store) -> Reply:
    body = call.object()
    metadata = body.get("Metadata")
    object, _, name = str(body.get("FullName") or "").partition(".")
    if not isinstance(metadata, dict) or not metadata.get("label"):
        raise refused(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Metadata, label]")
    object = store.object(object)
    kind = str(metadata.get("type"))
    if kind not in KINDS:
        raise refused(400, "INVALID_TYPE", f"{kind} is not a valid value for the enum FieldType")
    if not NAME.fullmatch(name) or len(name) > 43 or len(str(metadata["label"])) > 40:
        raise refused(400, "FIELD_INTEGRITY_EXCEPTION", f"The field name or label is not valid: {name}")
    for needed in NEEDED.get(kind, ()):
        if metadata.get(needed) is None:
            raise refused(400, "FIELD_INTEGRITY_EXCEPTION", f"Must specify '{needed}' for a {kind} field")
    hidden = store.hidden.setdefault(object, {})
    if name.lower() in {each.lower() for each in (*store.fields(object), *hidden)}:
        message = f"There is already a field named {name.removesuffix('__c')} on {object}."
        raise refused(400, "DUPLICATE_DEVELOPER_NAME", message)
    hidden[name] = read(name, {**_shape(metadata), "type": KINDS[kind]})
    return Reply(201, {"id": make_id("00N", len(hidden) + 1), "success": True, "errors": []})


def _shape(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: metadata[key]
        for key in ("label", "length", "precision", "scale", "unique", "externalId")
        if metadata.get(key) is not None
    }


def grant(call: Call, store: Store) -> Reply:
    """A field permission: the users of the permission set, and so the app's user, see the field from now on."""
    body = call.object()
    object, _, name = str(body.get("Field") or "").partition(".")
    if object != body.get("SobjectType") or store.find("PermissionSet", str(body.get("ParentId"))) is None:
        raise refused(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", ["ParentId"])
    if not body.get("PermissionsRead") or (
        name not in store.hidden.get(object, {}) and name not in store.fields(object)
    ):
        message = f"bad value for restricted picklist field: {object}.{name}"
        raise refused(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, ["Field"])
    if name not in store.hidden.get(object, {}):
        raise refused(400, "DUPLICATE_VALUE", "duplicate value found: <unknown> duplicates value on record")
    store.custom.setdefault(object, {})[name] = store.hidden[object].pop(name)
    return Reply(201, {"id": make_id("01k", len(store.custom[object])), "success": True, "errors": []})
