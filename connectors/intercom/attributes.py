"""Intercom's data attributes: reading, creating and restoring them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.errors import ConfigurationError
from connectors.intercom import records
from connectors.intercom.client import IntercomClient, errors
from connectors.types import NewField, RemoteField

TAKEN = re.compile(r"already have '.+' in your (\w+) data\. To save this as new (\w+) data")


class Attributes:
    """The fields of one workspace."""

    def __init__(self, client: IntercomClient) -> None:
        self._client = client

    def fields(self, object: str) -> Mapping[str, RemoteField]:
        return records.attributes(object, self._listed(model=records.MODELS[object]))

    def fields_left(self, object: str) -> int | None:  # noqa: ARG002 (one limit for both)
        """What is left for contacts and companies together."""
        return max(0, records.ATTRIBUTES - sum(bool(each.get("custom")) for each in self._listed()))

    def missing_permissions(self, object: str, create_fields: bool) -> tuple[str, ...]:  # noqa: ARG002 (no call reports it)
        return ()

    def archived_fields(self, object: str) -> Mapping[str, RemoteField]:
        return {name: records.attribute(name, each) for name, each in self._archived(object).items()}

    def _listed(self, **which: Any) -> list[records.Record]:
        answer = self._client.typed(lambda sdk: sdk.data_attributes.list(**which))
        return self._client.listed(answer, "GET /data_attributes", "name")

    def _archived(self, object: str) -> Mapping[str, records.Record]:
        listed = self._listed(model=records.MODELS[object], include_archived=True)
        return {str(each["name"]): each for each in listed if each.get("archived")}

    def create_fields(self, object: str, fields: Sequence[NewField]) -> None:
        if not fields:
            return
        model, archived = records.MODELS[object], self._archived(object)
        for each in fields:
            if each.name in archived:
                _check_archived(model, each, records.attribute(each.name, archived[each.name]))
        for each in fields:
            if each.name in archived:
                self._restore(model, each.name, archived[each.name].get("id"))
            else:
                self._create_attribute(model, each)

    def _restore(self, model: str, name: str, id: Any) -> None:
        answer = self._client.typed(lambda sdk: sdk.data_attributes.update(id, request={"archived": False}))
        if self._client.names_record(answer) and not answer.field("archived"):
            return
        if not answer.ok and not errors(answer):
            self._client.misread(answer, "PUT /data_attributes")
        raise ConfigurationError(
            f"Intercom does not unarchive the {model} attribute {name!r}: {self._client.words(answer).rstrip('.')}. "
            "Unarchive it in Intercom (Settings, Data), or rename the field in the mapping."
        )

    def _create_attribute(self, model: str, field: NewField) -> None:
        request = {
            "name": field.name,
            "model": model,
            "data_type": records.DATA_TYPES[field.type],
            "description": field.label,
        }
        answer = self._client.typed(lambda sdk: sdk.data_attributes.create(request=request))
        if self._client.names_record(answer):
            return
        reason = self._client.words(answer)
        taken = TAKEN.search(reason)
        if taken and taken[1] == taken[2]:
            return  # Someone else has created it meanwhile.
        if not answer.refused:
            self._client.misread(answer, "POST /data_attributes")
        cure = (
            "People and companies share attribute names in Intercom: use another name in this mapping."
            if taken
            else "Create the attribute in Intercom (Settings, Data), or rename the field in the mapping."
        )
        raise ConfigurationError(
            f"Intercom does not create the {model} attribute {field.name!r}: {reason.rstrip('.')}. {cure}"
        )


def _check_archived(model: str, field: NewField, present: RemoteField) -> None:
    """Raises ConfigurationError: an archived attribute keeps its name and its type (OpenAPI description 2.14)."""
    if not present.writable or field.type not in present.accepts:
        wrong = f"of the type {present.type}" if present.writable else "not writable by the API"
        raise ConfigurationError(
            f"Intercom has an archived {model} attribute {field.name!r}, which is {wrong}: it cannot be restored for this "
            "mapping. Use another name in the mapping, or a type that fits with `as`."
        )
