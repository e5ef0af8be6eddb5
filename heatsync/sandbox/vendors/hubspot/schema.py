"""HubSpot's paths under /crm/v3/properties and /crm/properties/{version}: properties and their groups."""

import re
from collections.abc import Mapping
from typing import Any

from heatsync.sandbox.calls import Call, Refusal, Reply
from heatsync.sandbox.vendors.hubspot.properties import Property, error, read

NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
CUSTOM_PROPERTIES = 1000
"""The example of HubSpot's own page on limits; the number depends on the tier."""
UNIQUE_PROPERTIES = 10


def _properties(call: Call, store: Any) -> dict[str, Property]:
    found: dict[str, Property] | None = store.properties.get(call.params["object"])
    if found is None:
        name = call.params["object"]
        raise Refusal(error(400, "VALIDATION_ERROR", f"Unable to infer object type from: {name}"))
    return found


def _missing(name: str) -> Reply:
    return error(404, "OBJECT_NOT_FOUND", f"The property named {name} does not exist.")


def list_all(call: Call, store: Any) -> Reply:
    archived = call.query.get("archived") == "true"
    found = _properties(call, store).values()
    return Reply(200, {"results": [each.shown() for each in found if each.archived == archived]})


def get_one(call: Call, store: Any) -> Reply:
    found = _properties(call, store).get(call.params["name"])
    return Reply(200, found.shown()) if found and not found.archived else _missing(call.params["name"])


def _define(call: Call, store: Any, body: Mapping[str, Any]) -> Property:
    properties, object = _properties(call, store), call.params["object"]
    absent = [key for key in ("name", "label", "type", "fieldType", "groupName") if not body.get(key)]
    if absent:
        raise Refusal(error(400, "VALIDATION_ERROR", f"Required fields are missing: {', '.join(absent)}"))
    name = str(body["name"]).lower()
    old = properties.get(name)
    if old and not old.archived:
        raise Refusal(
            error(
                409,
                "OBJECT_ALREADY_EXISTS",
                f"A property named '{name}' already exists.",
                subCategory="Properties.PROPERTY_WITH_NAME_EXISTS",
            )
        )
    if old:
        # Seen live on 2026-09-29: creating an archived name brings the old property back, definition and all.
        return store.define(object, read(name, {**old.raw, "archived": False}))  # type: ignore[no-any-return]
    if not NAME.fullmatch(name):
        raise Refusal(error(400, "VALIDATION_ERROR", f"Property name '{name}' is not valid"))
    if body["groupName"] not in store.groups[object]:
        raise Refusal(error(400, "VALIDATION_ERROR", f"Property group '{body['groupName']}' does not exist."))
    if body["type"] == "enumeration" and not body.get("options") and body["fieldType"] != "booleancheckbox":
        raise Refusal(error(400, "VALIDATION_ERROR", "Enumeration properties need options"))
    custom = [each for each in properties.values() if not each.standard]
    if len(custom) >= CUSTOM_PROPERTIES or (
        body.get("hasUniqueValue") and sum(each.unique for each in custom) >= UNIQUE_PROPERTIES
    ):
        raise Refusal(error(400, "VALIDATION_ERROR", "The limit of custom properties has been reached"))
    try:
        return store.define(  # type: ignore[no-any-return]
            object, read(name, {key: value for key, value in body.items() if key != "name"})
        )
    except ValueError as bad:
        raise Refusal(error(400, "VALIDATION_ERROR", str(bad))) from bad


def create_one(call: Call, store: Any) -> Reply:
    return Reply(201, _define(call, store, call.object()).shown())


def create_batch(call: Call, store: Any) -> Reply:
    results, errors = [], []
    for body in call.object().get("inputs", []):
        try:
            results.append(_define(call, store, body).shown())
        except Refusal as refusal:
            errors.append({**refusal.reply.body, "context": {"name": [str(body.get("name"))]}})
    answer: dict[str, Any] = {"status": "COMPLETE", "results": results}
    return Reply(207 if errors else 201, {**answer, **_errors(errors)})


def read_batch(call: Call, store: Any) -> Reply:
    properties = _properties(call, store)
    names = [str(each.get("name")) for each in call.object().get("inputs", [])]
    found = [properties[name].shown() for name in names if name in properties]
    errors = [_missing(name).body for name in names if name not in properties]
    return Reply(207 if errors else 200, {"status": "COMPLETE", "results": found, **_errors(errors)})


def _errors(errors: list[Any]) -> dict[str, Any]:
    return {"numErrors": len(errors), "errors": errors} if errors else {}


def change_one(call: Call, store: Any) -> Reply:
    """Options in the request replace the whole list; keys that are not in the request stay."""
    name, object = call.params["name"], call.params["object"]
    old = _properties(call, store).get(name)
    if old is None or old.archived:
        return _missing(name)
    if old.standard:
        return error(400, "VALIDATION_ERROR", f"{name} is defined by HubSpot and cannot be changed")
    try:
        return Reply(200, store.define(object, read(name, {**old.raw, **call.object()})).shown())
    except ValueError as bad:
        return error(400, "VALIDATION_ERROR", str(bad))


def archive_one(call: Call, store: Any) -> Reply:
    found = _properties(call, store).get(call.params["name"])
    if found and not found.standard:
        store.archive(call.params["object"], found)
    return Reply(204)


def list_groups(call: Call, store: Any) -> Reply:
    _properties(call, store)
    groups = store.groups[call.params["object"]]
    return Reply(200, {"results": [_group(name, label) for name, label in groups.items()]})


def create_group(call: Call, store: Any) -> Reply:
    _properties(call, store)
    groups, body = store.groups[call.params["object"]], call.object()
    name = str(body.get("name", ""))
    if not name or not body.get("label"):
        return error(400, "VALIDATION_ERROR", "A property group needs name and label")
    if name in groups:
        return error(409, "OBJECT_ALREADY_EXISTS", f"A property group named '{name}' already exists.")
    groups[name] = str(body["label"])
    return Reply(201, _group(name, groups[name]))


def _group(name: str, label: str) -> dict[str, Any]:
    return {"name": name, "label": label, "displayOrder": -1, "archived": False}
