"""HubSpot's properties: reading and creating them, and what the token may do."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from connectors.answers import Answer, as_list, as_object, named_objects, objects_in
from connectors.errors import ConfigurationError, Unauthorized
from connectors.hubspot import records
from connectors.hubspot.client import API_VERSION, RAW, HubSpotClient
from connectors.hubspot.records import BATCH
from connectors.types import NewField, RemoteField

PERMISSIONS = "/oauth/v2/private-apps/get/access-token-info"


class Properties:
    """The fields of one portal."""

    def __init__(self, client: HubSpotClient) -> None:
        self._client = client

    def fields(self, object: str) -> Mapping[str, RemoteField]:
        return records.properties(self._listed(object))

    def archived_fields(self, object: str) -> Mapping[str, RemoteField]:
        # From a Python True the SDK would write "True" (12.0.0).
        return records.archived_properties(self._listed(object, archived="true"))

    def _listed(self, object: str, **which: str) -> list[dict[str, Any]]:
        api = self._client.properties.core_api
        answer = self._client.ask(lambda: api.get_all(object, **which, **RAW))
        found = named_objects(answer.field("results"), "name")
        if answer.status != 200 or found is None:
            self._client.transport.misread(answer, "GET /crm/properties")
        return found

    def fields_left(self, object: str) -> int | None:  # noqa: ARG002 (one limit for all objects)
        answer = self._client.get(f"/crm/limits/{API_VERSION}/custom-properties")
        limit, used = answer.field("overallLimit"), answer.field("overallUsage")
        if answer.status != 200 or not isinstance(limit, int) or not isinstance(used, int):
            self._client.transport.misread(answer, "GET /crm/limits")
        return max(0, limit - used)

    def missing_permissions(self, object: str, create_fields: bool) -> tuple[str, ...]:
        """The scopes that are missing. HubSpot reports those of a private app's token and of a service key (private apps
        guide, 2026; seen live by others), not those of an OAuth app."""
        if self._client.token.renewable:
            return ()
        try:
            answer = self._client.post(PERMISSIONS, {"tokenKey": self._client.token.secrets[0]})
        except Unauthorized:
            # This call knows only some kinds of token. The calls for the objects show whether the token is valid.
            return ()
        granted = answer.field("scopes")
        if answer.status != 200 or not isinstance(granted, list):
            return ()
        needed = [f"crm.objects.{object}.read", f"crm.objects.{object}.write"]
        needed += [f"crm.schemas.{object}.write"] if create_fields else []
        return tuple(scope for scope in needed if scope not in granted)

    def create_fields(self, object: str, fields: Sequence[NewField]) -> None:
        if not fields:
            return
        api = self._client.properties
        group = {"name": records.GROUP, "label": records.GROUP}
        answer = self._client.call(lambda: api.groups_api.create(object, group, **RAW))
        if answer.status not in (201, 409):
            self._not_created(answer, f"the group {records.GROUP!r}", answer.body)
        for part in records.parts(fields, BATCH):
            answer = self._create(object, part)
            for error in objects_in(answer.field("errors")):
                if error.get("category") != "OBJECT_ALREADY_EXISTS":
                    names = as_list(as_object(error.get("context")).get("name")) or ["?"]
                    self._not_created(answer, f"the property {names[0]!r}", error)
            # Creating the name of an archived property restores that property (seen live, 2026-09-29).
            wanted = {field.name: records.TYPES[field.type][0] for field in part}
            for result in objects_in(answer.field("results")):
                name, type = str(result.get("name")), result.get("type")
                if name in wanted and type != wanted[name]:
                    raise ConfigurationError(
                        f"HubSpot restored the archived property {name!r} of {object}, which is a {type} and not a"
                        f" {wanted[name]}. Delete it in HubSpot for good, or use another field in the mapping."
                    )

    def _create(self, object: str, fields: Sequence[NewField]) -> Answer:
        api = self._client.properties.batch_api
        body = {"inputs": [records.definition(field) for field in fields]}
        answer = self._client.call(lambda: api.create(object, body, **RAW))
        if answer.refused:
            self._not_created(answer, "properties", answer.body)
        if not isinstance(answer.field("results"), list):
            self._client.transport.misread(answer, "POST /crm/properties")
        return answer

    def _not_created(self, answer: Answer, what: str, error: Any) -> NoReturn:
        reason = as_object(error).get("message") or error
        scope = " or ".join(records.missing_scopes(error)) or "crm.schemas.*.write"
        raise ConfigurationError(
            f"HubSpot does not create {what} ({answer.status}): {self._client.transport.redacted(reason)} "
            f"Create it in HubSpot, grant the token {scope}, or remove create_fields from the mapping."
        )
