"""The mappings held against the fields as they are over there, each complaint at its place with what mends it.

Reads only. Where a snapshot of the mapping's profile is there, its values are held against lengths and options, too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

import duckdb

from connectors.base import (
    ConfigurationError,
    Destination,
    FieldType,
    HeatsyncError,
    Lookup,
    Match,
    RemoteField,
    Vendor,
)
from sync import rendering, values
from sync.fields import Field, MatchKey
from sync.fields import Mapping as FieldMapping
from sync.house import House
from sync.strict_yaml import nearest

NOBODY = {"email": "heatsync-check@nobody.invalid"}
"""What nobody has, to see whether one may look for it; elsewhere it is `heatsync-check`."""
SHOWN = 5
KINDS = {
    FieldType.TEXT: "text",
    FieldType.INTEGER: "a whole number",
    FieldType.NUMBER: "a number",
    FieldType.BOOLEAN: "true or false",
    FieldType.DATE: "a date",
    FieldType.DATETIME: "a date and time",
    FieldType.LIST: "a list",
}


@dataclass(frozen=True, slots=True)
class Sent:
    """What a mapping sends to one field, as far as that is known without sending: the type, the longest text, and of
    a field with options every value (nothing where no snapshot is there)."""

    type: FieldType | None = None
    longest: int = 0
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inspected:
    """One mapping, looked at. `compared` are its fields and keys; 0 where the vendor cannot be read, or did not answer:
    then `error` says why. `notes` say what is no problem and yet good to know."""

    mapping: str
    destination: str
    object: str
    account: str
    compared: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    error: HeatsyncError | None = None


def inspect(house: House, mapping: FieldMapping) -> Inspected:
    """Hold one mapping against its destination. Changes nothing on either side."""
    at = f"mappings/{mapping.path.name}"
    account = ""
    try:
        reached = house.reach(mapping)
        account = reached.account.label
        present = reached.destination.fields(mapping.object)
        if present is None:
            note = (
                f"{at}: {mapping.vendor.title} cannot be read: whether the fields fit shows only over there, in the"
                " source's debugger"
            )
            return Inspected(mapping.name, mapping.destination, mapping.object, account, 0, (), (note,))
        look = _Look(house, mapping, reached.destination, present, at)
        problems = tuple(look.problems())
    except HeatsyncError as error:
        return Inspected(mapping.name, mapping.destination, mapping.object, account, 0, (), (), error)
    compared = sum(not field.tag for field in mapping.fields) + len(mapping.match)
    return Inspected(
        mapping.name,
        mapping.destination,
        mapping.object,
        account,
        compared,
        problems,
        tuple(dict.fromkeys(look.notes)),
    )


class _Look:
    """One look at one mapping."""

    def __init__(
        self,
        house: House,
        mapping: FieldMapping,
        destination: Destination,
        present: Mapping[str, RemoteField],
        at: str,
    ) -> None:
        self.house = house
        self.mapping = mapping
        self.destination = destination
        self.present = present
        self.at = at
        self.title = mapping.vendor.title
        self.notes: list[str] = []
        self._folded = {name.casefold(): name for name in present}

    def problems(self) -> Iterator[str]:
        for key in self.mapping.match:
            yield from self._key(key)
        if not any(self._unique(key.field) for key in self.mapping.match):
            keys = " nor ".join(f"`{key.field}`" for key in self.mapping.match)
            self.notes.append(
                f"{self.mapping.match[0].where}: {keys} need not be unique in {self.title}: whoever is there twice is"
                " reported as ambiguous and not written. A field with unique values is safer"
            )
        sent = self._sent()
        missing: list[Field] = []
        for field in self.mapping.fields:
            if field.tag:
                continue  # it is made by the first call that names it
            remote = self._remote(field.name)
            if remote is None:
                missing.append(field)
            else:
                yield from (
                    f"{field.where}: {said}" for said in self._faults(field, remote, sent[field.name])
                )
        yield from self._missing(missing, sent)

    def _remote(self, name: str) -> RemoteField | None:
        """A field by its name. One that differs in case is another for some vendors, and told as missing then."""
        if name in self.present:
            return self.present[name]
        near = self._folded.get(name.casefold())
        return self.present[near] if near is not None and self.mapping.vendor.any_object else None

    def _unique(self, name: str) -> bool:
        remote = self._remote(name)
        return remote is not None and remote.unique

    def _key(self, key: MatchKey) -> Iterator[str]:
        """A key must be there, and the vendor must be willing to look for it."""
        own = key.field.casefold() in ("id", "hs_object_id")
        if self._remote(key.field) is None and not own:
            yield (
                f"{key.where}: {self.title} has no field `{key.field}` on {self.mapping.object} to match by, or hides"
                f" it from this credential{self._near(key.field)}. Make it there with unique values, or match by"
                " another field"
            )
            return
        probe = Lookup("check", (Match(key.field, NOBODY.get(key.field.casefold(), "heatsync-check")),))
        try:
            list(self.destination.find(self.mapping.object, [probe], {}))
        except ConfigurationError as error:
            yield f"{key.where}: {error}"

    def _near(self, name: str) -> str:
        close = nearest(name, [each.name for each in self.present.values()])
        return f"; did you mean `{close}`?" if close is not None else ""

    def _faults(self, field: Field, remote: RemoteField, sent: Sent) -> Iterator[str]:
        there = f"`{field.name}` ({remote.type}) in {self.title}"
        if not remote.writable:
            yield (
                f"{there} cannot be written: it is computed or kept there, or this credential may not edit it."
                " Map another field, or grant the right to edit it"
            )
            return
        if sent.type is not None and sent.type not in remote.takes:
            yield f"{there} does not take {KINDS[sent.type]}: {_mend(field, sent.type, remote, self.mapping.vendor)}"
            return
        if remote.length is not None and sent.longest > remote.length:
            yield (
                f"{there} has room for {remote.length:,} characters, and the longest value has {sent.longest:,}:"
                f" shorten it, e.g. with `sql: left(..., {remote.length})`"
            )
        if remote.options:
            yield from self._strangers(field, remote, sent, there)

    def _strangers(self, field: Field, remote: RemoteField, sent: Sent, there: str) -> Iterator[str]:
        several = FieldType.LIST in remote.takes
        known = {*remote.options}
        wanted = dict.fromkeys([*sent.values, *(theirs for _, theirs in field.map)])
        if field.default:
            wanted[field.default] = None
        strange = [
            value
            for value in wanted
            if value not in known and not (several and all(each in known for each in value.split(";")))
        ]
        if strange:
            shown = ", ".join(f"`{value}`" for value in strange[:SHOWN]) + (
                ", ..." if len(strange) > SHOWN else ""
            )
            options = ", ".join(remote.options[:20]) + (", ..." if len(remote.options) > 20 else "")
            yield (
                f"{there} has no option {shown}; it has: {options}. Add it there, or say which one is meant with"
                f" `map: {{{strange[0]}: {remote.options[0]}}}`"
            )

    def _missing(self, missing: list[Field], sent: Mapping[str, Sent]) -> Iterator[str]:
        if not missing:
            return
        if not self.mapping.create_fields:
            for field in missing:
                kind = sent[field.name].type
                made = f" as {KINDS[kind]}" if kind is not None else ""
                yield (
                    f"{field.where}: {self.title} has no field `{field.name}` on {self.mapping.object}, or hides it"
                    f" from this credential{self._near(field.name)}. Make it there{made}, or let heatsync make it:"
                    " `create_fields: true`"
                )
            return
        names = ", ".join(f"`{field.name}`" for field in missing)
        try:
            room = self.destination.room(self.mapping.object)
        except ConfigurationError as error:
            yield f"{missing[0].where}: {error}"
            return
        if room is not None and room < len(missing):
            yield (
                f"{missing[room].where}: {self.title} has room for {room} more fields of your own, and {len(missing)}"
                " are to be made: delete some that nobody uses there, or map fewer"
            )
            return
        self.notes.append(f"{self.at}: the first sync makes {names} in {self.title} (`create_fields: true`)")

    def _sent(self) -> Mapping[str, Sent]:
        """What would be sent, by field: from the newest snapshot, else as far as the file itself tells."""
        day = self._newest()
        if day is not None:
            try:
                return self._measured(day)
            except ConfigurationError as error:
                self.notes.append(f"{self.at}: the values were not looked at: {error}")
        else:
            self.notes.append(
                f"{self.at}: there is no snapshot yet, so that no values were held against lengths and options:"
                " run `heatsync score`, and check again"
            )
        return {field.name: Sent(_declared(field)) for field in self.mapping.fields}

    def _newest(self) -> date | None:
        mapping = self.mapping
        folder = self.house.workspace.snapshot(mapping.profile, mapping.entity.value, date.min).parent
        days = sorted(path.stem for path in folder.glob("????-??-??.parquet"))
        return date.fromisoformat(days[-1]) if days else None

    def _measured(self, day: date) -> Mapping[str, Sent]:
        con = duckdb.connect(":memory:")
        try:
            rendered = rendering.render(self.mapping, self.house.workspace, con, day)
            sent: dict[str, Sent] = {}
            for position, field in enumerate(rendered.fields):
                remote = self._remote(field.name)
                text = f"SELECT f{position} AS v FROM ({rendered.sql}) WHERE f{position} IS NOT NULL"
                longest = 0
                several: tuple[str, ...] = ()
                if field.type is FieldType.TEXT and remote is not None:
                    row = con.execute(f"SELECT max(length(v)) FROM ({text})").fetchone()
                    longest = int(row[0] or 0) if row else 0
                if remote is not None and remote.options and field.type is not FieldType.LIST:
                    found = con.execute(
                        f"SELECT DISTINCT CAST(v AS VARCHAR) FROM ({text}) ORDER BY 1 LIMIT 1000"
                    )
                    several = tuple(str(value) for (value,) in found.fetchall())
                sent[field.name] = Sent(field.type, longest, several)
            return sent
        finally:
            con.close()


def _declared(field: Field) -> FieldType | None:
    """The type that a field has whatever the data are; None where that hangs on them."""
    if field.as_ is not None:
        return field.as_
    first = field.references[0].type if field.bare else None
    return FieldType.TEXT if field.map or first is FieldType.LIST else first


def _mend(field: Field, sent: FieldType, remote: RemoteField, vendor: Vendor) -> str:
    """The change of the mapping, or over there, that makes them fit."""
    if field.standard:
        return "delete or rename that field there, or map this trait by hand to another one"
    source = field.references[0].type if field.bare else None
    for wanted in remote.takes if field.bare else ():
        cast = replace(field, as_=wanted)
        if wanted is not FieldType.LIST and values.fault(cast, source or sent, vendor) is None:
            return f"write `as: {wanted.value}`, or map to a field of another type"
    return f"map to a field that takes {KINDS[sent]}"
