"""The sandbox's state: tables of records with indexes, per account and vendor."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Row:
    """A record: flat values without empty ones; times in unix seconds."""

    id: str
    values: dict[str, Any]
    created: float
    updated: float


def fold(value: Any) -> str:
    """A value in the form that look-ups compare: without case, and with 7, 7.0 and "7" equal."""
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower()


class Table:
    """Records by id. A field gets an index when it is first used in a look-up.

    Values of the `exact` fields are compared as they are, all others folded.
    """

    def __init__(self, exact: frozenset[str] = frozenset()) -> None:
        self.rows: dict[str, Row] = {}
        self._exact = exact
        self._indexes: dict[str, dict[str, dict[str, None]]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows.values())

    def key(self, field: str, value: Any) -> str:
        return str(value) if field in self._exact else fold(value)

    def add(self, row: Row) -> Row:
        if row.id in self.rows:
            raise ValueError(f"the id {row.id} exists twice")
        self.rows[row.id] = row
        for field, index in self._indexes.items():
            if field in row.values:
                index.setdefault(self.key(field, row.values[field]), {})[row.id] = None
        return row

    def change(self, row: Row, changes: Mapping[str, Any], now: float) -> None:
        """Set values; None removes one."""
        values = row.values
        for field, new in changes.items():
            index = self._indexes.get(field)
            if index is not None and field in values:
                index[self.key(field, values[field])].pop(row.id, None)
            if new is None:
                values.pop(field, None)
                continue
            values[field] = new
            if index is not None:
                index.setdefault(self.key(field, new), {})[row.id] = None
        row.updated = now

    def having(self, field: str, value: Any) -> list[Row]:
        """The records whose field equals the value, in the order in which they received it."""
        ids = self._index(field).get(self.key(field, value), ())
        return [self.rows[id] for id in ids]

    def having_key(self, field: str, key: str) -> list[Row]:
        """Like `having`, for a value that is already in the form of the index."""
        return [self.rows[id] for id in self._index(field).get(key, ())]

    def _index(self, field: str) -> dict[str, dict[str, None]]:
        index = self._indexes.get(field)
        if index is None:
            index = self._indexes[field] = {}
            for row in self.rows.values():
                if field in row.values:
                    index.setdefault(self.key(field, row.values[field]), {})[row.id] = None
        return index


def number_of(*words: str, digits: int) -> int:
    """A number with this many digits, derived from the words: an account always has the same id."""
    digest = hashlib.sha256(":".join(words).encode()).digest()
    low = int(10 ** (digits - 1))
    return low + int.from_bytes(digest[:8], "big") % (9 * low)


def listed(part: Mapping[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    """The list of objects at `name`, empty when it is missing. Raises ValueError."""
    found = part.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{where}.{name} must be a list of objects")
    return found


def mapped(part: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """The object at `name`, empty when it is missing. Raises ValueError."""
    found = part.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"{where}.{name} must be an object")
    return found


def only(part: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    """Raise ValueError when the part has any other name."""
    allowed = list(names)
    for name in part:
        if name not in allowed:
            raise ValueError(f"{where} has no {name!r}; it may have {', '.join(allowed)}")


class World:
    """All stores, per account and vendor, in the shape of /_state."""

    def __init__(self, stores: Mapping[str, Callable[[str], Any]]) -> None:
        self._stores = stores
        self.accounts: dict[str, dict[str, Any]] = {}

    def account(self, name: str) -> dict[str, Any]:
        """The stores of an account by vendor; an account that is used for the first time is empty."""
        if name not in self.accounts:
            self.accounts[name] = {vendor: make(name) for vendor, make in self._stores.items()}
        return self.accounts[name]

    def load(self, name: str, state: Mapping[str, Any]) -> None:
        """Replace all that an account holds; what the state does not mention is empty. Raises ValueError."""
        if not isinstance(state, dict):
            raise ValueError("the state must be an object")
        only(state, [*self._stores, "fields"], "the state")
        fields = mapped(state, "fields", "the state")
        fresh = {vendor: make(name) for vendor, make in self._stores.items()}
        only(fields, [v for v, store in fresh.items() if store.dump_fields() is not None], "fields")
        for vendor, store in fresh.items():
            store.load(mapped(state, vendor, "the state"), mapped(fields, vendor, "fields"))
        self.accounts[name] = fresh

    def dump(self, name: str) -> dict[str, Any]:
        stores = self.account(name)
        fields = {vendor: store.dump_fields() for vendor, store in stores.items()}
        return {
            **{vendor: store.dump() for vendor, store in stores.items()},
            "fields": {vendor: each for vendor, each in fields.items() if each is not None},
        }
