"""Creating fields in Salesforce: through the Tooling API, and granted to the app's user through a permission set.

A new field is invisible, even to the user that created it, until a permission set grants it: until then a write answers that
there is no such column. So fields are created only where the destination names a `permission_set`. The user needs the
permission Customize Application (Tooling API guide and FieldPermissions, 2026).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from connectors.answers import Answer, is_id, objects_in
from connectors.errors import ConfigurationError
from connectors.salesforce.records import quoted
from connectors.salesforce.session import Session, codes
from connectors.types import FieldType, NewField

TYPES: Mapping[FieldType, Mapping[str, Any]] = {
    FieldType.TEXT: {"type": "Text", "length": 255},
    FieldType.LIST: {"type": "LongTextArea", "length": 32_768, "visibleLines": 3},
    FieldType.INTEGER: {"type": "Number", "precision": 18, "scale": 0},
    FieldType.NUMBER: {"type": "Number", "precision": 18, "scale": 6},
    # A checkbox has no null: clearing it makes it false.
    FieldType.BOOLEAN: {"type": "Checkbox", "defaultValue": "false"},
    FieldType.DATE: {"type": "Date"},
    FieldType.DATETIME: {"type": "DateTime"},
}
LABELS = {
    FieldType.TEXT: "Text",
    FieldType.LIST: "Long Text Area",
    FieldType.INTEGER: "Number with 0 decimal places",
    FieldType.NUMBER: "Number",
    FieldType.BOOLEAN: "Checkbox",
    FieldType.DATE: "Date",
    FieldType.DATETIME: "Date/Time",
}
LABEL_LENGTH = 40
ALREADY_EXISTS = frozenset({"DUPLICATE_DEVELOPER_NAME", "DUPLICATE_VALUE"})
"""Someone else was first, or an earlier attempt whose answer was lost."""


def by_hand(object: str, fields: Sequence[NewField]) -> ConfigurationError:
    """What to do where heatsync may not create fields."""
    wanted = ", ".join(f"{field.name} ({LABELS[field.type]})" for field in fields)
    these = (
        f"these on {object} in Setup, Object Manager: {wanted}" if fields else "them in Setup, Object Manager"
    )
    return ConfigurationError(
        "heatsync creates fields in Salesforce only where the destination names a `permission_set` to grant them to."
        f" Name one that the app's user has, or create {these}. Then allow the app's user to edit them (a permission set"
        " with field permissions), and remove create_fields from the mapping."
    )


class FieldCreator:
    """Creates fields and grants them to one permission set."""

    def __init__(self, permission_set: str, session: Session) -> None:
        self._permission_set = permission_set
        self._session = session

    def create(self, object: str, fields: Sequence[NewField]) -> None:
        """Raises ConfigurationError with Salesforce's reason and what to do."""
        for field in fields:
            if not field.name.endswith("__c"):
                raise ConfigurationError(
                    f"{object} has no field {field.name}, and the name of a new Salesforce field must end in __c: rename it"
                    " in the mapping."
                )
        granted_to = self.permission_set_id()
        for field in fields:
            metadata = {"label": field.label[:LABEL_LENGTH], "required": False, **TYPES[field.type]}
            body = {"FullName": f"{object}.{field.name}", "Metadata": metadata}
            self._post("tooling/sobjects/CustomField", body, f"the field {field.name} on {object}")
        for field in fields:
            permission: dict[str, Any] = {
                "ParentId": granted_to,
                "SobjectType": object,
                "Field": f"{object}.{field.name}",
                "PermissionsRead": True,
                "PermissionsEdit": True,
            }
            what = f"a field permission for {field.name} on {object}"
            self._post("sobjects/FieldPermissions", permission, what)

    def permission_set_id(self) -> str:
        """The id of the permission set. Raises ConfigurationError when there is none."""
        query = f"SELECT Id FROM PermissionSet WHERE Name = {quoted(self._permission_set)}"
        answer = self._session.call(lambda client: client.query(query))
        found = objects_in(answer.field("records"))
        if answer.status != 200 or not isinstance(answer.field("records"), list):
            self._not_created(answer, "a query for the permission set")
        if len(found) != 1:
            raise ConfigurationError(
                f"Salesforce has no permission set with the API name {self._permission_set!r}, or hides it from the"
                " app's user. Create it, assign it to the app's user, or fix `permission_set`.",
                "permission_set",
            )
        if not is_id(found[0].get("Id")):
            self._session.transport.misread(answer, "a query for the permission set")
        return str(found[0]["Id"])

    def _post(self, path: str, body: Mapping[str, Any], what: str) -> None:
        answer = self._session.call(lambda client: client.restful(path, method="POST", json=body))
        if answer.status != 201 and not ALREADY_EXISTS & set(codes(answer.body)):
            self._not_created(answer, what)

    def _not_created(self, answer: Answer, what: str) -> NoReturn:
        raise ConfigurationError(
            f"Salesforce does not create {what} ({answer.status}): {self._session.words(answer)} Give the app's user the"
            " permissions Customize Application and Manage Profiles and Permission Sets, or create it by hand and remove"
            " create_fields from the mapping."
        )
