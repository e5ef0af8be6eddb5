"""Which of our entities owns a destination record. If two resolve to the same record, neither is written.

An owner is an entity that is still part of a mapping: planned now, left as it is, or standing with another mapping to
the same object. An entity that is gone owns nothing: a user who signs up again under another id, with the previous
address, gets the record.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from connectors.types import Outcome, Status
from heatsync.ledger import BoundMapping, ClaimedBatch, Ledger, Record
from heatsync.sync.compare.identity import Located
from heatsync.sync.compare.types import Owners, Presence
from heatsync.sync.context import Context
from heatsync.sync.mapping.model import Mapping as FieldMapping


def mappings_of_same_object(context: Context, mapping: FieldMapping) -> list[str]:
    """The mappings to the same object, itself included."""
    return [each.name for each in context.mappings.values() if each.object == mapping.object]


def find_owners(
    located: Located,
    context: Context,
    mapping: FieldMapping,
    bound: BoundMapping,
    remote_ids: Sequence[str],
) -> Owners:
    """Which other entities own these records of candidates, and which of those that are gone own them no more."""
    known = context.ledger.record_owners(bound, remote_ids, mappings_of_same_object(context, mapping))
    presence = located.presence({entity for entities in known.values() for entity in entities})
    owned: list[tuple[str, str]] = []
    gone: set[str] = set()
    for remote_id, entities in known.items():
        for entity, mappings in entities.items():
            if presence.get(entity) is Presence.PENDING:
                continue  # the comparison knows which record it is
            if mappings - {mapping.name} or (entity in presence and mapping.name in mappings):
                owned.append((remote_id, entity))
            else:
                gone.add(entity)
    return Owners(tuple(owned), tuple(sorted(gone)))


def refuse_shared_records(
    context: Context, mapping: FieldMapping, claimed: ClaimedBatch, outcomes: Sequence[Outcome]
) -> list[Outcome]:
    """The outcomes of a batch. A delivery to a record that another of our entities owns becomes a rejection.

    Records that we knew apart are sometimes merged at the destination: the answer then names another id than the one
    that was written. Which of the two entities' values it holds is not known: both are rejected, the other one as soon
    as it is planned again.
    """
    asked = {planned.change.key: planned.change.remote_id for planned in claimed.planned}
    delivered = [each for each in outcomes if each.status is Status.DELIVERED and each.remote_id is not None]
    other_ids = {str(each.remote_id) for each in delivered if each.remote_id != asked[each.key]}
    if not other_ids:
        return [*outcomes]
    bound = BoundMapping(claimed.mapping, claimed.account, claimed.object)
    owners: dict[str, set[str]] = defaultdict(set)
    for remote_id, held in context.ledger.record_owners(
        bound, sorted(other_ids), mappings_of_same_object(context, mapping)
    ).items():
        owners[remote_id] |= {entity for entity, mappings in held.items() if mappings}
    for each in delivered:
        if each.remote_id in other_ids:
            owners[str(each.remote_id)].add(each.key)
    several = {remote_id: held for remote_id, held in owners.items() if len(held) > 1}
    ours = {each.key: str(each.remote_id) for each in delivered if each.remote_id in several}
    _dispute(context.ledger, bound, claimed, ours, several)
    return [_refused(each, several[ours[each.key]]) if each.key in ours else each for each in outcomes]


def _dispute(
    ledger: Ledger,
    bound: BoundMapping,
    claimed: ClaimedBatch,
    ours: Mapping[str, str],
    several: Mapping[str, Iterable[str]],
) -> None:
    """Keep which record they are, forget its values, and have the other owners planned again."""
    if not ours:
        return
    changes = {planned.change.key: planned.change for planned in claimed.planned}
    ledger.remember_records(
        bound,
        [
            Record(
                key,
                remote_id,
                changes[key].match[0].value if changes[key].match else None,
                {},
                changes[key].version,
            )
            for key, remote_id in ours.items()
        ],
    )
    everyone = {entity for held in several.values() for entity in held}
    ledger.forget_fields(bound, sorted(everyone))
    ledger.mark_shared(bound, sorted(everyone - ours.keys()))


def _refused(outcome: Outcome, held: Iterable[str]) -> Outcome:
    others = " and ".join(sorted(set(held) - {outcome.key})[:3])
    cause = f"{outcome.key} and {others} are the same record at the destination ({outcome.remote_id}): neither is sent."
    return Outcome(
        outcome.key,
        Status.REJECTED,
        code="same_record",
        cause=cause,
        answer=str(outcome.remote_id),
        partly_written=True,
    )
