"""The fields of an object at the destination: whether they changed, which are missing, creating them."""

import hashlib
import json
import time
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import replace

from connectors.destination import ReadableDestination
from connectors.errors import ConfigurationError
from connectors.types import NewField, Outcome, RemoteField
from heatsync.ledger import SCHEMA_CODES, Run
from heatsync.sync.context import Context, hold_lock
from heatsync.sync.destinations import OpenDestination
from heatsync.sync.mapping.model import Mapping, MappingQuery


def schema_changed(context: Context, mapping: Mapping, opened: OpenDestination) -> bool:
    """Whether the fields at the destination changed since records were rejected because of them.

    They are read only while there are such records, and at most once in `Timeouts.fields`.
    """
    ledger, bound = context.ledger, opened.bound
    if not mapping.vendor.readable or not ledger.has_schema_rejections(bound):
        return False
    state = ledger.mapping_state(bound)
    if state.schema_read_at is not None and time.time() - state.schema_read_at < context.timeouts.fields:
        return False
    if mapping.create_fields and state.fields_created_for != mapping.definition_hash:
        return True  # they are created again
    present = _present(mapping, opened)
    names = sorted(field.name for field in mapping.fields if not field.tag)
    incomplete = any(name not in present for name in names)
    wanted = {name: repr(present.get(name)) for name in names}
    schema = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
    ledger.update_mapping_state(bound, schema_hash=schema, schema_read_at=time.time())
    # The first time there is nothing to compare with. As long as a field is missing, nothing can be accepted.
    return schema != state.schema_hash and not (state.schema_hash is None and incomplete)


def _present(mapping: Mapping, opened: OpenDestination) -> Dict[str, RemoteField]:
    """The fields of the mapping's object at the destination; none if it cannot be read."""
    destination = opened.destination
    return destination.fields(mapping.object) if isinstance(destination, ReadableDestination) else {}


def missing_fields(mapping: Mapping, opened: OpenDestination, built: MappingQuery) -> list[NewField]:
    """Fields of a mapping that do not exist at the destination; none if it cannot be read. Tags are no fields."""
    if not isinstance(opened.destination, ReadableDestination):
        return []
    present = opened.destination.fields(mapping.object)
    # The first call that names a tag creates it.
    return [NewField(f.name, f.type, f.label) for f in built.fields if f.name not in present and not f.tag]


def note_field_rejections(
    context: Context, mapping: Mapping, opened: OpenDestination, outcomes: Sequence[Outcome]
) -> None:
    """After a rejection because of a field: do not read the fields at once, and with `create_fields` create it again."""
    codes = {outcome.code for outcome in outcomes}
    if codes.isdisjoint(SCHEMA_CODES):
        return
    context.ledger.update_mapping_state(opened.bound, schema_read_at=time.time())
    if mapping.create_fields and "field_missing" in codes:
        context.ledger.update_mapping_state(opened.bound, fields_created_for=None)


def create_missing_fields(context: Context, run_id: str, mapping: Mapping, opened: OpenDestination) -> None:
    """Create the fields that the plan of this run found missing; once, in the first batch of any worker.

    Raises ConfigurationError with the vendor's reason, and what the destination raises.
    """
    if (run_id, mapping.name) in context.fields_complete:
        return
    if not _new_fields(context, run_id, mapping):
        # A released plan gets no further missing fields.
        context.fields_complete.add((run_id, mapping.name))
        return
    with hold_lock(context, f"fields {opened.bound.account} {mapping.object}"):
        run = _new_fields(context, run_id, mapping)
        if run is None:
            return  # another worker has created them
        present = _present(mapping, opened)
        missing = [new for new in run.planned.new_fields if new.name not in present]
        if missing and isinstance(opened.destination, ReadableDestination):
            try:
                opened.destination.create_fields(mapping.object, missing)
            except ConfigurationError as error:
                raise context.locate(mapping, error) from None
        context.ledger.update_counts(replace(run, planned=replace(run.planned, new_fields=())))
        context.ledger.update_mapping_state(opened.bound, fields_created_for=mapping.definition_hash)


def _new_fields(context: Context, run_id: str, mapping: Mapping) -> Run | None:
    """The run, if it found fields missing that are not created yet."""
    run = next((row for row in context.ledger.runs(run_id) if row.mapping == mapping.name), None)
    return run if run is not None and run.planned.new_fields else None
