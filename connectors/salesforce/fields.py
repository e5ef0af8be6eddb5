"""The fields of Salesforce objects: described, and created where a permission set is named."""

import difflib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.answers import named_objects
from connectors.destination import ObjectKind
from connectors.errors import ConfigurationError
from connectors.salesforce import records
from connectors.salesforce.custom_fields import FieldCreator, by_hand
from connectors.salesforce.session import Session
from connectors.types import Entity, NewField, RemoteField

COMMITTED = 60.0
"""Seconds after which a request whose answer was lost has taken effect or never will. Our guess: a query shows only what is
committed, and a call may run for up to ten minutes (API limits, 2026), which a handful of records never need."""
OBJECTS = {
    "Account": ObjectKind(Entity.ACCOUNT, (("Heatsync_Id__c", "account_id"),), search_lag=COMMITTED),
    "Contact": ObjectKind(Entity.USER, (("Email", "email"),), search_lag=COMMITTED),
}


class Fields:
    """The fields of one org, as the app's user sees them."""

    def __init__(self, session: Session, permission_set: str) -> None:
        self._session = session
        self._permission_set = permission_set
        self._creator = FieldCreator(permission_set, session)
        self._descriptions: dict[str, Sequence[Mapping[str, Any]]] = {}
        self._lock = threading.Lock()

    def fields(self, object: str) -> Mapping[str, RemoteField]:
        return records.fields(self._describe(object, again=True))

    def fields_left(self, object: str) -> int | None:
        """None: no call reports the number; it depends on the edition."""
        if not self._permission_set:
            raise by_hand(object, ())
        self._creator.permission_set_id()
        return None

    def missing_permissions(self, object: str, create_fields: bool) -> tuple[str, ...]:  # noqa: ARG002 (each field says whether it can be written)
        return ()

    def archived_fields(self, object: str) -> Mapping[str, RemoteField]:  # noqa: ARG002
        """None: Salesforce renames a deleted field (Salesforce help, 2026)."""
        return {}

    def create_fields(self, object: str, fields: Sequence[NewField]) -> None:
        if not fields:
            return
        records.check_names(object, *(field.name for field in fields))
        if not self._permission_set:
            raise by_hand(object, fields)
        self._creator.create(object, fields)
        known = {name.lower() for name in self.fields(object)}
        unseen = [field.name for field in fields if field.name.lower() not in known]
        if unseen:
            raise ConfigurationError(
                f"{', '.join(unseen)} of {object} was created and granted to {self._permission_set}, but the app's user does "
                "not see it: assign the permission set to that user."
            )

    def _describe(self, object: str, again: bool = False) -> Sequence[Mapping[str, Any]]:
        """The fields of an object as Salesforce describes them; asked once, or `again`."""
        records.check_names(object)
        with self._lock:
            if object not in self._descriptions or again:
                answer = self._session.ask(lambda client: client.restful(f"sobjects/{object}/describe"))
                if answer.status == 404:
                    raise no_object(object)
                found = named_objects(answer.field("fields"), "name")
                if answer.status != 200 or found is None:
                    self._session.transport.misread(answer, "a description")
                self._descriptions[object] = found
            return self._descriptions[object]


def no_object(object: str) -> ConfigurationError:
    """The error for an object that does not exist, with the nearest known name."""
    near = difflib.get_close_matches(object, OBJECTS, 1)
    hint = f" Did you mean {near[0]}?" if near and near[0] != object else ""
    return ConfigurationError(
        f"Salesforce has no object {object!r}, or hides it from the app's user.{hint} Use its API name, as in Account or"
        " Invoice__c, and give the user the right to read it.",
        "object",
    )
