"""One mapping file against the workspace: names, types and policies, each complaint at its place."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from connectors.destination import ObjectKind, Vendor
from connectors.errors import ConfigurationError
from connectors.types import TAG, Entity
from heatsync.scoring.definition import audiences
from heatsync.sync.mapping import conversions, sql_expressions
from heatsync.sync.mapping.conversions import quoted
from heatsync.sync.mapping.model import Field, Mapping, MatchKey
from heatsync.sync.mapping.references import STANDARD, Origin, Scope
from heatsync.sync.mapping.schema import FieldFile, MappingFile
from heatsync.workspace.config import PartialWorkspace, Workspace
from heatsync.workspace.strict_yaml import Document, Route, suggest


class MappingResolver:
    """Checks one file against the workspace; what is wrong goes to the problems."""

    def __init__(
        self, document: Document, written: MappingFile, path: Path, partial: PartialWorkspace, of: Workspace
    ) -> None:
        self.document = document
        self.written = written
        self.path = path
        self.partial = partial
        self.workspace = of

    def resolve(self) -> Mapping | None:
        """None when the destination, the object or the profile is not known: nothing else can be said then."""
        before = len(self.partial.problems.found)
        vendor = self._vendor()
        known_profile = self._profile()
        if vendor is None or not known_profile:
            return None
        self.vendor = vendor
        entity = self._entity()
        if entity is None:
            return None
        self.entity = entity
        tables = {Entity.USER: self.workspace.source.users, Entity.ACCOUNT: self.workspace.source.accounts}
        self.scope = Scope(
            entity,
            self.written.profile,
            self.workspace.profiles,
            frozenset(
                which
                for which, table in tables.items()
                if table is not None or self.partial.config_has_errors
            ),
            self.partial.broken_profiles,
            self.workspace.audiences,
            self.partial.broken_audiences,
        )
        match = self._match()
        mode = self._mode()
        audience = self._audience()
        fields = (*self._standard(), *self._fields(), *self._tags())
        self._sundry()
        mapping = Mapping(
            name=self.path.stem,
            path=self.path,
            destination=self.written.destination,
            vendor=vendor,
            object=self.written.object,
            entity=entity,
            profile=self.written.profile,
            audience=audience,
            on_exit=self.written.on_exit,
            match=match,
            mode=mode,
            fields=fields,
            create_fields=self.written.create_fields,
            max_writes=self.written.limits.max_writes,
            max_creates=self.written.limits.max_creates,
            recheck_after=self.written.recheck_after or timedelta(days=7),
            anonymous=self.written.anonymous,
            schedule=self.written.schedule,
            definition_hash="",
            place=self.document.place(("object",)),
        )
        if len(self.partial.problems.found) > before and not fields:
            return None
        return replace(mapping, definition_hash=_definition_hash(mapping, self.workspace))

    def _wrong(self, route: Route, sentence: str, key: bool = False) -> None:
        if not self.document.reported(route):
            self.partial.problems.add(self.document.problem(route, sentence, key))

    def _vendor(self) -> Vendor | None:
        name = self.written.destination
        if name in self.workspace.destinations:
            return self.workspace.destinations[name].vendor
        if name not in self.partial.broken_destinations:
            known = {*self.workspace.destinations, *self.partial.broken_destinations}
            self._wrong(
                ("destination",),
                f"`{name}` is not a destination of {self.workspace.config_file}{suggest(name, known)}",
            )
        return None

    def _profile(self) -> bool:
        name = self.written.profile
        known = {*self.workspace.profiles, *self.partial.broken_profiles}
        if name in known:
            return True
        self._wrong(
            ("profile",), f"there is no profile `{name}` (mappings/profiles/{name}.yml){suggest(name, known)}"
        )
        return False

    def _entity(self) -> Entity | None:
        kind = self.vendor.objects.get(self.written.object)
        said = self.written.entity
        if kind is not None:
            if said is None or said == kind.entity or self.vendor.any_object:
                return said or kind.entity
            self._wrong(
                ("entity",),
                f"{self.vendor.title}'s {self.written.object} are made of {kind.entity.value}s: take this out",
            )
            return kind.entity
        if not self.vendor.any_object:
            self._wrong(
                ("object",),
                f"`{self.written.object}` is not an object of {self.vendor.title}"
                f"{suggest(self.written.object, self.vendor.objects)}",
            )
            return None
        if said is not None:
            return said
        ours = {ours for pair in self.written.match for ours in pair.values()}
        for entity, columns in (
            (Entity.USER, {"user_id", "email"}),
            (Entity.ACCOUNT, {"account_id", "domain"}),
        ):
            if ours & columns:
                return entity
        self._wrong(
            ("object",),
            f"are {self.written.object} records made of users or of accounts? Add `entity: user` or `entity: account`",
        )
        return None

    def _match(self) -> tuple[MatchKey, ...]:
        kind = self.vendor.objects.get(self.written.object, ObjectKind(self.entity, ()))
        if not self.written.match and (not kind.match or self.entity is not kind.entity):
            self._wrong(
                (), f"`match` is missing: which field of {self.written.object} holds which column of ours?"
            )
        default = kind.match if self.entity is kind.entity else ()
        pairs: list[tuple[str, str, Route]] = [
            (theirs, ours, ("match", position, theirs) if self._listed() else ("match", theirs))
            for position, pair in enumerate(self.written.match)
            for theirs, ours in pair.items()
        ] or [(theirs, ours, ("object",)) for theirs, ours in default]
        keys: list[MatchKey] = []
        for theirs, ours, route in pairs:
            if self.written.match and kind.keys is not None and theirs not in kind.keys:
                self._wrong(
                    route,
                    f"{self.vendor.title} cannot look up {self.written.object} by `{theirs}`{suggest(theirs, kind.keys)}",
                    key=True,
                )
            if any(theirs.casefold() == key.field.casefold() for key in keys):
                self._wrong(route, f"`{theirs}` is in `match` twice: keep one", key=True)
                continue
            try:
                keys.append(MatchKey(theirs, self.scope.column(ours), self.document.place(route)))
            except ValueError as error:
                self._wrong(route, str(error))
        return tuple(keys)

    def _listed(self) -> bool:
        return isinstance(self.document.tree.get("match"), list)

    def _mode(self) -> str:
        mode = self.written.mode or self.vendor.modes[0]
        if mode not in self.vendor.modes:
            modes = ", ".join(self.vendor.modes)
            self._wrong(("mode",), f"{self.vendor.title} has no mode `{mode}`; possible: {modes}")
        return mode

    def _audience(self) -> str | None:
        key = self.written.audience
        if key is None:
            if self.written.on_exit is not None:
                self._wrong(
                    ("on_exit",), "`on_exit` is about leaving an `audience`, and there is none here", key=True
                )
            return None
        try:
            self.scope.resolve(("audience", key))
        except ValueError as error:
            self._wrong(("audience",), str(error))
        if self.written.on_exit is None:
            self._wrong(
                ("audience",),
                "`on_exit` is missing: `keep` or `clear` the mapped fields of who leaves the audience",
                key=True,
            )
        return key

    def _standard(self) -> Iterable[Field]:
        profile = self.workspace.profiles.get(self.written.profile)
        if not self.written.standard_traits or profile is None:
            return
        route: Route = ("standard_traits",)
        title = profile.name
        for metric in STANDARD[self.entity]:
            try:
                name = self.vendor.name_trait(self.workspace.prefix, profile.score_name, metric, self.entity)
            except (ValueError, ConfigurationError) as error:
                self._wrong(route, str(error))
                continue
            reference = self.scope.resolve((metric,))
            field = Field(
                name=name,
                label=f"{self.workspace.prefix} {title} {metric.replace('_', ' ').title()}",
                sql=quoted(reference.alias),
                references=(reference,),
                is_reference=True,
                when_null=self.written.when_null or "clear",
                standard=True,
                place=self.document.place(route, key=True),
            )
            self._check_name(name, route)
            yield field

    def _fields(self) -> Iterable[Field]:
        for name, written in self.written.fields.items():
            route: Route = ("fields", name)
            self._check_name(name, route)
            field = self._field(name, written, route)
            if field is not None:
                yield field

    def _tags(self) -> Iterable[Field]:
        """A field for each audience that is shipped: whether the record has its tag."""
        if self.written.tags is None:
            return
        route: Route = ("tags",)
        if not self.vendor.tags:
            self._wrong(
                route,
                f"{self.vendor.title} has no tags that heatsync can set: take this out, or map a list with"
                " `their_field: audiences`",
                key=True,
            )
            return
        name = self.written.profile
        profile = self.workspace.profiles.get(name)
        if profile is None:
            return
        known: dict[str, str] = {}
        for audience in audiences.of(profile, self.entity.value, self.workspace.audiences.get(name, ())):
            if not audience.shipped:
                continue
            other = known.setdefault(audience.name.casefold(), audience.key)
            if other != audience.key:
                self._wrong(
                    route,
                    f"the audiences `{other}` and `{audience.key}` would both be the tag `{audience.name}`: give one of"
                    " them another `name`, or do not ship it",
                    key=True,
                )
                continue
            reference = self.scope.resolve(("audience", audience.key))
            yield Field(
                name=f"{TAG}{audience.name}",
                label=audience.name,
                sql=quoted(reference.alias),
                references=(reference,),
                is_reference=True,
                when_null="clear",
                tag=True,
                place=self.document.place(route, key=True),
            )

    def _check_name(self, name: str, route: Route) -> None:
        if self.vendor.tags and name.casefold().startswith(TAG):
            self._wrong(
                route,
                f"`{name}`: names that begin with `{TAG}` stand for tags. Give the field another name, or use"
                " `tags: audiences`",
                key=True,
            )
            return
        if not self._can_be_named(name):
            wanted = f": expected {self.vendor.field_name_rule}" if self.vendor.field_name_rule else ""
            meant = f"; write `{name.lower()}`" if self._can_be_named(name.lower()) else ""
            self._wrong(
                route,
                f"`{name}` cannot be the name of a field of {self.vendor.title}{wanted}{meant}",
                key=True,
            )

    def _can_be_named(self, name: str) -> bool:
        return (
            bool(re.fullmatch(self.vendor.field_name_pattern, name))
            and "|" not in name
            and name.isprintable()
        )

    def _field(self, name: str, written: FieldFile, route: Route) -> Field | None:
        if (written.from_ is None) == (written.sql is None):
            if not self.document.reported((*route, "from")) and not self.document.reported((*route, "sql")):
                self._wrong(
                    route, f"`{name}` needs either `from` or `sql`: where does its value come from?", key=True
                )
            return None
        source: Route = (*route, "sql" if written.sql is not None else "from")
        if source not in self.document.positions:
            source = route
        try:
            if written.sql is not None:
                sql, references = sql_expressions.compile(written.sql, self.scope)
            else:
                reference = self.scope.resolve(tuple((written.from_ or "").split(".")))
                sql, references = quoted(reference.alias), (reference,)
        except ValueError as error:
            self._wrong(source, str(error))
            return None
        own = bool(references) and all(reference.computed for reference in references)
        field = Field(
            name=name,
            label=name.replace("_", " ").strip().capitalize() if name.islower() else name,
            sql=sql,
            references=references,
            is_reference=written.from_ is not None,
            map=tuple(written.map.items()),
            as_=written.as_,
            join=written.join,
            default=written.default,
            when_null=written.when_null or self.written.when_null or ("clear" if own else "keep"),
            write=written.write,
            tolerance=written.tolerance,
            source=written.sql or written.from_ or "",
            place=self.document.place(source),
        )
        if written.write == "if_empty" and not self.vendor.readable:
            self._wrong(
                (*route, "write"), f"{self.vendor.title} cannot be read, so what is empty there is not known"
            )
        kind = references[0].type if field.is_reference else None
        if kind is not None:
            fault = conversions.mismatch(field, kind, self.vendor)
            if fault is not None:
                self._wrong((*route, fault[0]), fault[1])
        return field

    def _sundry(self) -> None:
        if (
            not self.written.fields
            and not self.written.standard_traits
            and "tags" not in self.document.tree
            and not self.document.reported(("fields",))
        ):
            tags = ", or `tags: audiences`" if self.vendor.tags else ""
            self._wrong((), f"the mapping writes nothing: add `fields:` or `standard_traits: true`{tags}")
        if self.written.anonymous and not (self.vendor.anonymous_accounts and self.entity is Entity.ACCOUNT):
            sentence = f"`anonymous` does not apply to {self.vendor.title} {self.written.object}: remove it"
            self._wrong(("anonymous",), sentence, key=True)


def _definition_hash(mapping: Mapping, of: Workspace) -> str:
    """A hash of what is sent where and when; not of the schedule, the limits or the comments."""
    said: dict[str, object] = {
        "destination": mapping.destination,
        "vendor": mapping.vendor.type,
        "object": mapping.object,
        "entity": mapping.entity.value,
        "profile": mapping.profile,
        "audience": mapping.audience,
        "on_exit": mapping.on_exit,
        "match": [[key.field, key.column.alias] for key in mapping.match],
        "mode": mapping.mode,
        "anonymous": mapping.anonymous,
        "time_zone": of.time_zone.key,
        "fields": sorted(
            [
                field.name,
                field.sql,
                [list(pair) for pair in sorted(field.map)],
                field.as_.value if field.as_ else None,
                field.join,
                field.default,
                field.when_null,
                field.write,
                field.tolerance,
            ]
            for field in mapping.fields
        ),
    }
    groups = _groups(mapping, of)
    if groups:
        said["audiences"] = groups
    text = json.dumps(said, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _groups(mapping: Mapping, of: Workspace) -> list[list[str]]:
    """One's own audiences that a mapping is limited to or sends, with what decides who is in them: by its key, or,
    of those that are shipped in the segments, by the name that arrives over there."""
    used = {(mapping.profile, mapping.entity.value, mapping.audience)} if mapping.audience else set()
    shipped: set[tuple[str, str]] = set()
    for reference in (reference for field in mapping.fields for reference in field.references):
        if reference.origin is Origin.AUDIENCE:
            used.add((reference.profile, reference.entity.value, reference.name))
        elif reference.origin is Origin.TRAIT and reference.name == "segments":
            shipped.add((reference.profile, reference.entity.value))
    found: set[tuple[str, ...]] = set()
    for profile, entity, key in used:
        version = audiences.version(key, entity, of.audiences.get(profile, ()))
        if version is not None:
            found.add((profile, entity, "key", key, version))
    for profile, entity in shipped:
        own = of.audiences.get(profile, ())
        for audience in own:
            version = audiences.version(audience.key, entity, own)
            if audience.shipped and audience.entity == entity and version is not None:
                found.add((profile, entity, "name", audience.name, version))
    return sorted(map(list, found))
