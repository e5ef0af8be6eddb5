"""Mappings compared with the fields at the destination. Each problem names its place in the file, and its remedy.

Reads only. If there is a snapshot of the mapping's profile, its values are checked against lengths and options, too.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from connectors.destination import ReadableDestination
from connectors.errors import ConfigurationError, HeatsyncError
from connectors.types import FieldType, Lookup, Match, RemoteField
from heatsync.sync.context import Context
from heatsync.sync.mapping import conversions, sample_check
from heatsync.sync.mapping.model import Field, MatchKey
from heatsync.sync.mapping.model import Mapping as FieldMapping
from heatsync.sync.mapping.query import SnapshotMissing
from heatsync.sync.mapping.sample_check import FieldSample
from heatsync.workspace.strict_yaml import nearest

PROBE_VALUES = {"email": "heatsync-check@nobody.invalid"}
"""By key field: a value that no record has, to test whether the field can be searched. Else it is `heatsync-check`."""
SHOWN = 5
"""Unknown options that a problem lists."""
KINDS = {
    FieldType.TEXT: "text",
    FieldType.INTEGER: "a whole number",
    FieldType.NUMBER: "a number",
    FieldType.BOOLEAN: "true or false",
    FieldType.DATE: "a date",
    FieldType.DATETIME: "a date and time",
    FieldType.LIST: "a list",
}
SAFE_CASTS = {
    FieldType.INTEGER: {FieldType.TEXT, FieldType.NUMBER},
    FieldType.NUMBER: {FieldType.TEXT},
    FieldType.BOOLEAN: {FieldType.TEXT, FieldType.INTEGER, FieldType.NUMBER},
    FieldType.DATE: {FieldType.TEXT, FieldType.DATETIME},
    FieldType.DATETIME: {FieldType.TEXT, FieldType.DATE},
    FieldType.LIST: {FieldType.TEXT},
}
"""The casts that cannot fail, whatever the data are."""


@dataclass(frozen=True, slots=True)
class LiveCheckResult:
    """One mapping compared with its destination.

    compared  number of fields and keys; 0 if the vendor cannot be read, or did not answer: see `error`
    problems  `file:line:column: sentence`: a sync would fail or reject records
    notes     no problems, but good to know
    """

    mapping: str
    destination: str
    object: str
    account: str
    compared: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    error: HeatsyncError | None = None


def check_mapping(context: Context, mapping: FieldMapping) -> LiveCheckResult:
    """Compare one mapping with its destination. Changes nothing on either side."""
    at = f"mappings/{mapping.path.name}"
    account = ""
    try:
        opened = context.open(mapping)
        account = opened.account.label
        if not isinstance(opened.destination, ReadableDestination):
            note = f"{at}: {mapping.vendor.title} cannot be read: only the destination itself shows whether the fields fit"
            return LiveCheckResult(mapping.name, mapping.destination, mapping.object, account, 0, (), (note,))
        present = opened.destination.fields(mapping.object)
        check = _Check(context, mapping, opened.destination, present, at)
        problems = tuple(check.problems())
    except HeatsyncError as error:
        return LiveCheckResult(mapping.name, mapping.destination, mapping.object, account, 0, (), (), error)
    compared = sum(not field.tag for field in mapping.fields) + len(mapping.match)
    return LiveCheckResult(
        mapping.name,
        mapping.destination,
        mapping.object,
        account,
        compared,
        problems,
        tuple(dict.fromkeys(check.notes)),
    )


class _Check:
    """The check of one mapping."""

    def __init__(
        self,
        context: Context,
        mapping: FieldMapping,
        destination: ReadableDestination,
        present: Mapping[str, RemoteField],
        at: str,
    ) -> None:
        self.context = context
        self.mapping = mapping
        self.destination = destination
        self.present = present
        self.at = at
        self.title = mapping.vendor.title
        self.notes: list[str] = []
        self.day = sample_check.newest_snapshot_day(context.workspace, mapping)
        self._folded = {name.casefold(): name for name in present}

    def problems(self) -> Iterator[str]:
        for key in self.mapping.match:
            yield from self._key(key)
        existing = [key for key in self.mapping.match if self._remote(key.field) is not None]
        if existing and not any(self._unique(key.field) for key in self.mapping.match):
            keys = " and ".join(f"`{key.field}`" for key in existing)
            self.notes.append(
                f"{existing[0].place}: {keys} may have duplicates in {self.title}: if several records match, none is"
                " written, and the record is reported as ambiguous. A field with unique values is safer"
            )
        if self.day is None:
            self.notes.append(
                f"{self.at}: there is no snapshot yet, so values were not checked against lengths and options: run"
                " `heatsync score`, and check again"
            )
        missing: dict[Field, FieldType | None] = {}
        for field in self.mapping.fields:
            if field.tag:
                continue  # the first call that names a tag creates it
            present = self._remote(field.name)
            remote = present or self._archived_field(field.name)
            try:
                sent = self._sent(field, remote)
            except SnapshotMissing as error:
                self.notes.append(f"{self.at}: the values were not checked: {error}")
                sent = None
            except ConfigurationError as error:
                yield from str(error).splitlines()
                continue
            found = list(self._field_problems(field, remote, sent)) if remote is not None else []
            yield from (f"{field.place}: {sentence}" for sentence in found)
            if present is None and not found:
                missing[field] = sent.type if sent is not None else _declared(field)
            if remote is None and sent is not None and sent.unsendable:
                yield f"{field.place}: {_unsendable(field, sent)}: map it without a cast, or fix it in the source"
        yield from self._missing(missing)
        permissions = self.destination.missing_permissions(
            self.mapping.object, bool(missing and self.mapping.create_fields)
        )
        if permissions:
            names = " and ".join(permissions)
            yield f"{self.at}: the credential lacks {names} in {self.title}: grant it, or use another one"

    def _archived_field(self, name: str) -> RemoteField | None:
        archived = self._archived.get(name)
        return replace(archived, type=f"archived {archived.type}") if archived is not None else None

    @cached_property
    def _archived(self) -> Mapping[str, RemoteField]:
        """Archived fields, which can be restored; read only if a field is missing."""
        return self.destination.archived_fields(self.mapping.object)

    def _remote(self, name: str) -> RemoteField | None:
        """A field by its name. For some vendors a name in another case is another field."""
        if name in self.present:
            return self.present[name]
        near = self._folded.get(name.casefold())
        return self.present[near] if near is not None and self.mapping.vendor.any_object else None

    def _unique(self, name: str) -> bool:
        remote = self._remote(name)
        return remote is not None and remote.unique

    def _key(self, key: MatchKey) -> Iterator[str]:
        """A key field must exist, and the vendor must be able to search for it."""
        is_record_id = key.field.casefold() in ("id", self.mapping.vendor.id_field)
        if self._remote(key.field) is None and not is_record_id:
            yield (
                f"{key.place}: {self.title} has no field `{key.field}` on {self.mapping.object} to match by, or hides"
                f" it from this credential{self._near(key.field)}. Create it there with unique values, or match by"
                " another field"
            )
            return
        probe = Lookup("check", (Match(key.field, PROBE_VALUES.get(key.field.casefold(), "heatsync-check")),))
        try:
            list(self.destination.find(self.mapping.object, [probe], {}))
        except ConfigurationError as error:
            yield f"{key.place}: {error}"

    def _near(self, name: str) -> str:
        close = nearest(name, [each.name for each in self.present.values()])
        return f" (did you mean `{close}`?)" if close is not None else ""

    def _field_problems(self, field: Field, remote: RemoteField, sent: FieldSample | None) -> Iterator[str]:
        subject = f"`{field.name}` ({remote.type}) in {self.title}"
        if not remote.writable:
            yield (
                f"{subject} cannot be written: {self.title} sets it itself, or this credential may not edit it. Map"
                " another field, or grant the permission to edit it"
            )
            return
        type = sent.type if sent is not None else _declared(field)
        if type is not None and type not in remote.accepts:
            yield f"{subject} does not accept {KINDS[type]}: {self._remedy(field, type, remote)}"
        elif sent is None:
            yield from _unknown_options(field, remote, (), subject)
        elif sent.unsendable:
            yield f"{subject}: {_unsendable(field, sent)}: {self._remedy(field, sent.type, remote)}"
        else:
            if remote.length is not None and sent.longest > remote.length:
                yield (
                    f"{subject} has room for {remote.length:,} characters, and the longest value has {sent.longest:,}:"
                    f" {self._shortened(field, remote)}"
                )
            yield from _unknown_options(field, remote, sent.unknown_options, subject)

    def _unfilled(self) -> Iterator[str]:
        """Fields that a new record must have and that the mapping does not fill."""
        mapping = self.mapping
        if mapping.mode != "upsert":
            return
        given = {each.name.casefold() for each in mapping.fields} | {
            key.field.casefold() for key in mapping.match
        }
        for remote in self.present.values():
            if remote.required and remote.name.casefold() not in given:
                yield (
                    f"{mapping.place}: {self.title} requires `{remote.name}` for new {mapping.object}. This mapping creates"
                    f" some (`mode: upsert`) and does not fill it: map `{remote.name}` under `fields:`, or remove"
                    " `mode: upsert`"
                )
        kind = mapping.vendor.objects.get(mapping.object)
        if kind is not None and kind.name_field and kind.name_field not in given:
            self.notes.append(
                f"{mapping.place}: new {mapping.object} are created in {self.title} without a `{kind.name_field}`"
                f" (`mode: upsert`): map `{kind.name_field}` as well, so that people recognise them"
            )

    def _missing(self, missing: Mapping[Field, FieldType | None]) -> Iterator[str]:
        yield from self._unfilled()
        if not missing:
            return
        archived = [field for field in missing if field.name in self._archived]
        if not self.mapping.create_fields:
            for field, kind in missing.items():
                if field in archived:
                    yield (
                        f"{field.place}: `{field.name}` is archived in {self.title}: unarchive it there, or let"
                        " heatsync restore it: `create_fields: true`"
                    )
                    continue
                type = f" as {KINDS[kind]}" if kind is not None else ""
                yield (
                    f"{field.place}: {self.title} has no field `{field.name}` on {self.mapping.object}, or hides it"
                    f" from this credential{self._near(field.name)}. Create it there{type}, or let heatsync create it:"
                    f" `create_fields: true`{self._creation_setting()}"
                )
            return
        try:
            room = self.destination.fields_left(self.mapping.object)
        except ConfigurationError as error:
            placed = self.context.locate(self.mapping, error)
            names = ", ".join(f"`{field.name}`" for field in missing)
            sentence = f"{next(iter(missing)).place}: {self.title} has no {names} on {self.mapping.object}"
            yield f"{sentence}: {error}" if placed is error else str(placed)
            return
        if room is not None and room < len(missing):
            yield (
                f"{[*missing][room].place}: {self.title} has room for {room} more custom fields, and {len(missing)} are"
                " missing: delete unused ones there, or map fewer"
            )
            return
        new = [field for field in missing if field not in archived]
        for verb, some in ("creates", new), ("unarchives", archived):
            if some:
                names = ", ".join(f"`{field.name}`" for field in some)
                self.notes.append(
                    f"{self.at}: the first sync {verb} {names} in {self.title} (`create_fields: true`)"
                )

    def _creation_setting(self) -> str:
        """The setting without which heatsync creates no fields, if it is not set."""
        key = self.mapping.vendor.create_fields_setting
        config = self.context.workspace.destinations[self.mapping.destination]
        return (
            f", and `{key}` for {config.name} ({config.place})" if key and key not in config.templates else ""
        )

    def _sent(self, field: Field, remote: RemoteField | None) -> FieldSample | None:
        """What would be sent to a field; None if there is no snapshot. Raises ConfigurationError, SnapshotMissing."""
        if self.day is None:
            return None
        options, several = (remote.options, remote.multiple) if remote is not None else ((), False)
        return sample_check.measure(self.context.workspace, self.mapping, field, self.day, options, several)

    def _remedy(self, field: Field, sent: FieldType, remote: RemoteField) -> str:
        """A change of the mapping, or at the destination, that makes them fit. A cast is suggested only if it works."""
        if field.standard:
            return "delete or rename that field there, or map this trait explicitly to another field"
        plain = replace(field, as_=None)
        kind = self._kind(plain) or sent
        # A whole number last: that cast rounds.
        accepted = sorted(remote.accepts, key=lambda wanted: wanted is FieldType.INTEGER)
        for wanted in accepted if field.is_reference else ():
            cast = replace(field, as_=wanted)
            wrong = wanted in (FieldType.LIST, field.as_) or conversions.mismatch(
                cast, kind, self.mapping.vendor
            )
            if not wrong and self._fits(cast, kind, remote):
                return f"write `as: {wanted.value}`, or map to a field of another type"
        if field.as_ is not None and self._fits(plain, kind, remote):
            return f"remove `as: {field.as_.value}`"
        return f"map to a field that accepts {KINDS[kind]}"

    def _kind(self, field: Field) -> FieldType | None:
        """The type of a field; None if it cannot be computed, or depends on data that do not exist."""
        try:
            sent = self._sent(field, None)
        except ConfigurationError:
            return None
        return sent.type if sent is not None else _declared(field)

    def _fits(self, field: Field, kind: FieldType, remote: RemoteField) -> bool:
        """Whether all values fit into the remote field; if there are none, whether a cast from `kind` cannot fail."""
        try:
            sent = self._sent(field, remote)
        except ConfigurationError:
            return False
        if sent is None or not (sent.filled or sent.unsendable):
            return not remote.options and field.as_ in SAFE_CASTS.get(kind, ())
        room = remote.length or sent.longest
        return (
            sent.type in remote.accepts
            and not (sent.unsendable or sent.unknown_options)
            and sent.longest <= room
        )

    def _shortened(self, field: Field, remote: RemoteField) -> str:
        """How to make the values of a field fit its length."""
        if field.map or not field.source:
            return "send shorter values, or allow longer ones there"
        separator = field.join if field.join is not None else ";"
        joined = f"array_to_string({{}}, {conversions.literal(separator)})"
        for form in ("{}", "CAST({} AS VARCHAR)", joined):
            sql = f"left({form}, {remote.length})"
            cut = replace(field, sql=sql.format(field.sql), is_reference=False, as_=None, join=None)
            if self._fits(cut, FieldType.TEXT, remote):
                return f"shorten it: `sql: {_quoted(sql.format(field.source))}` instead of its source"
        return "shorten it, or allow longer values there"


def _unsendable(field: Field, sent: FieldSample) -> str:
    """How many records have a value that cannot be sent, and an example."""
    many = f"{sent.unsendable:,} of {sent.records:,} records"
    if not (field.is_reference or sent.example):
        return f"`sql` fails on {many}"
    return f"{many} have a value that cannot be sent as {KINDS[sent.type]}, such as `{sent.example}`"


def _unknown_options(
    field: Field, remote: RemoteField, found: tuple[str, ...], subject: str
) -> Iterator[str]:
    """Values that are sent or may be sent, and are no option of the remote field."""
    if not remote.options:
        return
    known = set(remote.options)
    configured = [*(theirs for _, theirs in field.map), *([field.default] if field.default else [])]
    wanted = [each for text in configured for each in (text.split(";") if remote.multiple else [text])]
    unknown = [value for value in dict.fromkeys([*found, *wanted]) if value not in known]
    if not unknown:
        return
    shown = ", ".join(f"`{value}`" for value in unknown[:SHOWN]) + (", ..." if len(unknown) > SHOWN else "")
    options = ", ".join(remote.options[:20]) + (", ..." if len(remote.options) > 20 else "")
    folded = {option.casefold(): option for option in remote.options}
    meant = {value: folded.get(value.casefold(), "...") for value in unknown[:SHOWN]}
    pairs = ", ".join(f"{_quoted(ours)}: {_quoted(theirs)}" for ours, theirs in meant.items())
    yield (
        f"{subject} has no option {shown}; it has: {options}. Add it there, or choose one with `map: {{{pairs}}}`"
    )


def _quoted(text: str) -> str:
    """A text as it can be written anywhere in YAML."""
    plain = text == "..." or re.fullmatch(r"\w[\w ()-]*", text) is not None
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _declared(field: Field) -> FieldType | None:
    """The type that a field has whatever the data are; None if it depends on them."""
    if field.as_ is not None:
        return field.as_
    first = field.references[0].type if field.is_reference else None
    return FieldType.TEXT if field.map or first is FieldType.LIST else first
