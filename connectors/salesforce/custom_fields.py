"""Fields made in Salesforce: through the Tooling API, and shown to the app's user through a permission set.

A new field is invisible, also to who made it, until a permission set grants it: whoever writes it meanwhile is told
that there is no such column. Hence this is done only where the destination names a `permission_set`. Whoever makes
fields needs the permission Customize Application (Tooling API guide and FieldPermissions, 2026).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from connectors.errors import ConfigurationError
from connectors.http import Answer
from connectors.salesforce.records import quoted
from connectors.salesforce.session import codes
from connectors.types import FieldType, NewField

TYPES: Mapping[FieldType, Mapping[str, Any]] = {
    FieldType.TEXT: {"type": "Text", "length": 255},
    FieldType.LIST: {"type": "LongTextArea", "length": 32_768, "visibleLines": 3},
    FieldType.INTEGER: {"type": "Number", "precision": 18, "scale": 0},
    FieldType.NUMBER: {"type": "Number", "precision": 18, "scale": 6},
    # It is never nothing: what clears it makes it false.
    FieldType.BOOLEAN: {"type": "Checkbox", "defaultValue": "false"},
    FieldType.DATE: {"type": "Date"},
    FieldType.DATETIME: {"type": "DateTime"},
}
MADE_AS = {
    FieldType.TEXT: "Text",
    FieldType.LIST: "Long Text Area",
    FieldType.INTEGER: "Number with 0 decimal places",
    FieldType.NUMBER: "Number",
    FieldType.BOOLEAN: "Checkbox",
    FieldType.DATE: "Date",
    FieldType.DATETIME: "Date/Time",
}
LABEL_LENGTH = 40
THERE_ALREADY = frozenset({"DUPLICATE_DEVELOPER_NAME", "DUPLICATE_VALUE"})
"""Somebody else was first, or an earlier attempt whose answer was lost."""

Call = Callable[[Callable[[Any], Any]], Answer]


def by_hand(object: str, fields: Sequence[NewField]) -> ConfigurationError:
    """What to do where heatsync may make none."""
    wanted = ", ".join(f"{field.name} ({MADE_AS[field.type]})" for field in fields)
    these = (
        f"these on {object} in Setup, Object Manager: {wanted}" if fields else "them in Setup, Object Manager"
    )
    return ConfigurationError(
        "heatsync makes fields in Salesforce only where the destination names a `permission_set` to grant them to."
        f" Name one that the app's user has, or make {these}. Then let the app's user edit them (a permission set with"
        " field permissions), and leave create_fields out of the mapping."
    )


class Maker:
    """Makes fields and grants them to one permission set. `call` asks the SDK's client; `told` is an answer in words."""

    def __init__(self, permission_set: str, call: Call, told: Callable[[Answer], str]) -> None:
        self._permission_set = permission_set
        self._call = call
        self._told = told

    def make(self, object: str, fields: Sequence[NewField]) -> None:
        """Raises ConfigurationError with Salesforce's reason and what to do."""
        for field in fields:
            if not field.name.endswith("__c"):
                raise ConfigurationError(
                    f"{field.name} of {object} is not there, and the name of a field that is made in Salesforce ends in"
                    " __c: rename it in the mapping."
                )
        holder = self.holder()
        for field in fields:
            made = {"label": field.label[:LABEL_LENGTH], "required": False, **TYPES[field.type]}
            body = {"FullName": f"{object}.{field.name}", "Metadata": made}
            self._post("tooling/sobjects/CustomField", body, f"the field {field.name} on {object}")
        for field in fields:
            granted: dict[str, Any] = {
                "ParentId": holder,
                "SobjectType": object,
                "Field": f"{object}.{field.name}",
                "PermissionsRead": True,
                "PermissionsEdit": True,
            }
            what = f"a field permission for {field.name} on {object}"
            self._post("sobjects/FieldPermissions", granted, what)

    def holder(self) -> str:
        """The id of the permission set. Raises ConfigurationError when there is none."""
        query = f"SELECT Id FROM PermissionSet WHERE Name = {quoted(self._permission_set)}"
        answer = self._call(lambda client: client.query(query))
        found = answer.body.get("records") if isinstance(answer.body, dict) else None
        if answer.status != 200 or not isinstance(found, list):
            self._unmade(answer, "a query for the permission set")
        if len(found) != 1:
            raise ConfigurationError(
                f"Salesforce has no permission set with the API name {self._permission_set!r}, or hides it from the"
                " app's user. Make it, assign it to the app's user, or mend `permission_set`.",
                "permission_set",
            )
        return str(found[0]["Id"])

    def _post(self, path: str, body: Mapping[str, Any], what: str) -> None:
        answer = self._call(lambda client: client.restful(path, method="POST", json=body))
        if answer.status != 201 and not THERE_ALREADY & set(codes(answer.body)):
            self._unmade(answer, what)

    def _unmade(self, answer: Answer, what: str) -> NoReturn:
        raise ConfigurationError(
            f"Salesforce does not make {what} ({answer.status}): {self._told(answer)} Give the app's user the permissions"
            " Customize Application and Manage Profiles and Permission Sets, or make it by hand and leave create_fields"
            " out of the mapping."
        )
