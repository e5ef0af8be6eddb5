"""Whose a record over there is. It has one holder among ours; where two of ours turn out to be it, neither is written.

A holder is who is still there: planned now, resting as he stands, or standing with another mapping to the same object.
Who is gone holds nothing: somebody who signs up again under another id, with the address of before, is sent to.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from connectors.types import Outcome, Status
from heatsync.ledger import BoundMapping, ClaimedBatch, Ledger, Record
from heatsync.sync.compare.diff import Comparison
from heatsync.sync.context import Context
from heatsync.sync.mapping.model import Mapping as FieldMapping


def mappings_of_same_object(context: Context, mapping: FieldMapping) -> list[str]:
    """The mappings to the same object, itself included."""
    return [each.name for each in context.mappings.values() if each.object == mapping.object]


def find_owners(
    comparison: Comparison, context: Context, mapping: FieldMapping, bound: BoundMapping, keep: bool
) -> None:
    """Tell the comparison who else of ours holds the records of its candidates, and take them from who is gone."""
    for ids in comparison.claimed():
        standing = context.ledger.record_owners(bound, ids, mappings_of_same_object(context, mapping))
        here = comparison.here({entity for held in standing.values() for entity in held})
        holding: list[tuple[str, str]] = []
        gone: set[str] = set()
        for remote_id, held in standing.items():
            for entity, mappings in held.items():
                if here.get(entity) == "waits":
                    continue  # the comparison knows which record it is
                if mappings - {mapping.name} or (entity in here and mapping.name in mappings):
                    holding.append((remote_id, entity))
                else:
                    gone.add(entity)
        comparison.hold(holding)
        comparison.release(sorted(gone))
        if keep:
            context.ledger.forget_remote_ids(bound, sorted(gone))


def refuse_shared_records(
    context: Context, mapping: FieldMapping, claimed: ClaimedBatch, outcomes: Sequence[Outcome]
) -> list[Outcome]:
    """The outcomes of a batch, where those that opened a record of another of ours are no delivery.

    Records that we knew apart are merged over there now and then: the answer then names another id than was asked for.
    Which of the two's values stand there is not known: both are refused, the other one as soon as it is planned again.
    """
    asked = {planned.change.key: planned.change.remote_id for planned in claimed.planned}
    delivered = [each for each in outcomes if each.status is Status.DELIVERED and each.remote_id is not None]
    moved = {str(each.remote_id) for each in delivered if each.remote_id != asked[each.key]}
    if not moved:
        return [*outcomes]
    bound = BoundMapping(claimed.mapping, claimed.account, claimed.object)
    holders: dict[str, set[str]] = defaultdict(set)
    for remote_id, held in context.ledger.record_owners(
        bound, sorted(moved), mappings_of_same_object(context, mapping)
    ).items():
        holders[remote_id] |= {entity for entity, mappings in held.items() if mappings}
    for each in delivered:
        if each.remote_id in moved:
            holders[str(each.remote_id)].add(each.key)
    several = {remote_id: held for remote_id, held in holders.items() if len(held) > 1}
    ours = {each.key: str(each.remote_id) for each in delivered if each.remote_id in several}
    _dispute(context.ledger, bound, claimed, ours, several)
    return [_refused(each, several[ours[each.key]]) if each.key in ours else each for each in outcomes]


def _dispute(
    book: Ledger,
    bound: BoundMapping,
    claimed: ClaimedBatch,
    ours: Mapping[str, str],
    several: Mapping[str, Iterable[str]],
) -> None:
    """Keep which record they are, forget what stands in it, and have the others looked at again."""
    if not ours:
        return
    changes = {planned.change.key: planned.change for planned in claimed.planned}
    book.remember_records(
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
    everybody = {entity for held in several.values() for entity in held}
    book.forget_fields(bound, sorted(everybody))
    book.mark_shared(bound, sorted(everybody - ours.keys()))


def _refused(outcome: Outcome, held: Iterable[str]) -> Outcome:
    others = " and ".join(sorted(set(held) - {outcome.key})[:3])
    cause = f"{outcome.key} and {others} are one record over there ({outcome.remote_id}): neither is sent any more."
    return Outcome(
        outcome.key,
        Status.REJECTED,
        code="same_record",
        cause=cause,
        answer=str(outcome.remote_id),
        partly_written=True,
    )
