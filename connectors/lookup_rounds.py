"""Looking records up in rounds: by remote id where it is known, then key by key, in the mapping's order.

Each round asks for all records that are not found yet, so that a fallback key costs a call per hundred records and not one
per record.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.types import FieldType, Found, Lookup, Match, Value


@dataclass(frozen=True, slots=True)
class Hit:
    """A record as the vendor shows it."""

    remote_id: str
    values: Mapping[str, Any]


Ask = Callable[[str, Sequence[str]], Mapping[str, Sequence[Hit]]]
"""(key field, values) -> the hits of each value, by the value as given."""
Decode = Callable[[Any, FieldType], Value]


def find(
    lookups: Sequence[Lookup], own_id: str, ask: Ask, decode: Decode, fields: Mapping[str, FieldType]
) -> Iterator[Found]:
    """Exactly one `Found` per lookup; the first unique hit counts. `own_id` is the field of the vendor's own id.

    Without a unique hit, the first key with several hits decides. A unique hit that is not among them contradicts them, and
    does not count.
    """
    keys = [_keys(lookup, own_id) for lookup in lookups]
    several: dict[int, Found] = {}
    waiting = list(range(len(lookups)))
    round = 0
    while waiting:
        wanted: dict[str, dict[str, None]] = {}
        for i in waiting:
            if round < len(keys[i]):
                match = keys[i][round]
                wanted.setdefault(match.field, {})[match.value] = None
        answers = {field: ask(field, list(values)) for field, values in wanted.items()}
        left = []
        for i in waiting:
            key = lookups[i].key
            if round >= len(keys[i]):
                yield several.get(i) or Found(key, ())
                continue
            match = keys[i][round]
            hits = answers[match.field].get(match.value, ())
            earlier = several.get(i)
            if len(hits) == 1 and (earlier is None or hits[0].remote_id in earlier.remote_ids):
                values = {name: decode(hits[0].values.get(name), type) for name, type in fields.items()}
                yield Found(key, (hits[0].remote_id,), match.field, values)
                continue
            if len(hits) > 1:
                several.setdefault(i, Found(key, tuple(hit.remote_id for hit in hits), match.field))
            left.append(i)
        waiting = left
        round += 1


def _keys(lookup: Lookup, own_id: str) -> list[Match]:
    known = [Match(own_id, lookup.remote_id)] if lookup.remote_id else []
    return known + [match for match in lookup.match if match.value]
