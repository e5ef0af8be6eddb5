"""Looking records up in rounds: by remote id where it is known, then key by key, in the mapping's order.

Each round asks for everybody who is still looked for, so that a fallback key costs a call per hundred and not
one per record.
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
"""(key field, values) -> the hits of each value, under the value as it was asked for."""
Decode = Callable[[Any, FieldType], Value]


def find(
    lookups: Sequence[Lookup], own_id: str, ask: Ask, decode: Decode, fields: Mapping[str, FieldType]
) -> Iterator[Found]:
    """Exactly one `Found` per lookup; the first unique hit counts. `own_id` is the vendor's name of its id.

    Without a unique hit the first key that had several tells which. A unique hit that is none of those contradicts them,
    and does not count.
    """
    ways = [_ways(lookup, own_id) for lookup in lookups]
    several: dict[int, Found] = {}
    waiting = list(range(len(lookups)))
    turn = 0
    while waiting:
        wanted: dict[str, dict[str, None]] = {}
        for i in waiting:
            if turn < len(ways[i]):
                match = ways[i][turn]
                wanted.setdefault(match.field, {})[match.value] = None
        answers = {field: ask(field, list(values)) for field, values in wanted.items()}
        left = []
        for i in waiting:
            key = lookups[i].key
            if turn >= len(ways[i]):
                yield several.get(i) or Found(key, ())
                continue
            match = ways[i][turn]
            hits = answers[match.field].get(match.value, ())
            meant = several.get(i)
            if len(hits) == 1 and (meant is None or hits[0].remote_id in meant.remote_ids):
                values = {name: decode(hits[0].values.get(name), type) for name, type in fields.items()}
                yield Found(key, (hits[0].remote_id,), match.field, values)
                continue
            if len(hits) > 1:
                several.setdefault(i, Found(key, tuple(hit.remote_id for hit in hits), match.field))
            left.append(i)
        waiting = left
        turn += 1


def _ways(lookup: Lookup, own_id: str) -> list[Match]:
    known = [Match(own_id, lookup.remote_id)] if lookup.remote_id else []
    return known + [match for match in lookup.match if match.value]
