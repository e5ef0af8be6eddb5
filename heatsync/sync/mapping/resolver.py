"""Resolves one mapping file against the workspace: names, types and policies."""

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
from heatsync.sync.mapping.definition_hash import definition_hash
from heatsync.sync.mapping.model import Field, Mapping, MatchKey
from heatsync.sync.mapping.references import STANDARD, Scope
from heatsync.sync.mapping.schema import FieldFile, MappingFile
from heatsync.workspace.config import PartialWorkspace, Workspace
from heatsync.workspace.strict_yaml import Document, Route, suggest


class MappingResolver:
    """Turns one validated file into a mapping. Problems are added to those of the workspace."""

    def __init__(
        self, document: Document, written: MappingFile, path: Path, partial: PartialWorkspace, of: Workspace
    ) -> None:
        self.document = document
        self.written = written
        self.path = path
        self.partial = partial
        self.workspace = of

    def resolve(self) -> Mapping | None:
        """The mapping; None if its destination, object or profile is unknown, or if nothing of it is left."""
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
        self._check_whole()
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
        return replace(mapping, definition_hash=definition_hash(mapping, self.workspace))

    def _add_problem(self, route: Route, message: str, key: bool = False) -> None:
        if not self.document.reported(route):
            self.partial.problems.add(self.document.problem(route, message, key))

    def _vendor(self) -> Vendor | None:
        name = self.written.destination
        if name in self.workspace.destinations:
            return self.workspace.destinations[name].vendor
        if name not in self.partial.broken_destinations:
            known = {*self.workspace.destinations, *self.partial.broken_destinations}
            self._add_problem(
                ("destination",),
                f"`{name}` is not a destination of {self.workspace.config_file}{suggest(name, known)}",
            )
        return None

    def _profile(self) -> bool:
        name = self.written.profile
        known = {*self.workspace.profiles, *self.partial.broken_profiles}
        if name in known:
            return True
        self._add_problem(
            ("profile",), f"there is no profile `{name}` (mappings/profiles/{name}.yml){suggest(name, known)}"
        )
        return False

    def _entity(self) -> Entity | None:
        kind = self.vendor.objects.get(self.written.object)
        entity = self.written.entity
        if kind is not None:
            if entity is None or entity == kind.entity or self.vendor.any_object:
                return entity or kind.entity
            self._add_problem(
                ("entity",),
                f"{self.written.object} of {self.vendor.title} are {kind.entity.value}s: remove `entity`",
            )
            return kind.entity
        if not self.vendor.any_object:
            self._add_problem(
                ("object",),
                f"`{self.written.object}` is not an object of {self.vendor.title}"
                f"{suggest(self.written.object, self.vendor.objects)}",
            )
            return None
        if entity is not None:
            return entity
        ours = {ours for pair in self.written.match for ours in pair.values()}
        for likely, columns in (
            (Entity.USER, {"user_id", "email"}),
            (Entity.ACCOUNT, {"account_id", "domain"}),
        ):
            if ours & columns:
                return likely
        self._add_problem(
            ("object",),
            f"`{self.written.object}` records may be users or accounts: add `entity: user` or `entity: account`",
        )
        return None

    def _match(self) -> tuple[MatchKey, ...]:
        kind = self.vendor.objects.get(self.written.object, ObjectKind(self.entity, ()))
        if not self.written.match and (not kind.match or self.entity is not kind.entity):
            self._add_problem(
                (),
                f"`match` is missing: name the field of {self.written.object} and our column that find a record",
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
                self._add_problem(
                    route,
                    f"{self.vendor.title} cannot look up {self.written.object} by `{theirs}`{suggest(theirs, kind.keys)}",
                    key=True,
                )
            if any(theirs.casefold() == key.field.casefold() for key in keys):
                self._add_problem(route, f"`{theirs}` is in `match` twice: keep one of them", key=True)
                continue
            try:
                keys.append(MatchKey(theirs, self.scope.column(ours), self.document.place(route)))
            except ValueError as error:
                self._add_problem(route, str(error))
        return tuple(keys)

    def _listed(self) -> bool:
        return isinstance(self.document.tree.get("match"), list)

    def _mode(self) -> str:
        mode = self.written.mode or self.vendor.modes[0]
        if mode not in self.vendor.modes:
            modes = ", ".join(self.vendor.modes)
            self._add_problem(("mode",), f"{self.vendor.title} has no mode `{mode}`; possible: {modes}")
        return mode

    def _audience(self) -> str | None:
        key = self.written.audience
        if key is None:
            if self.written.on_exit is not None:
                self._add_problem(
                    ("on_exit",), "`on_exit` needs an `audience`: add one or remove `on_exit`", key=True
                )
            return None
        try:
            self.scope.resolve(("audience", key))
        except ValueError as error:
            self._add_problem(("audience",), str(error))
        if self.written.on_exit is None:
            self._add_problem(
                ("audience",),
                "`on_exit` is missing: choose `keep` or `clear` for the fields of records that leave the audience",
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
                self._add_problem(route, str(error))
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
        """A field for each shipped audience: whether the record has its tag."""
        if self.written.tags is None:
            return
        route: Route = ("tags",)
        if not self.vendor.tags:
            self._add_problem(
                route,
                f"{self.vendor.title} has no tags that heatsync can set: remove `tags`, or map a list with"
                " `their_field: audiences`",
                key=True,
            )
            return
        name = self.written.profile
        profile = self.workspace.profiles.get(name)
        if profile is None:
            return
        known: dict[str, str] = {}
        for audience in audiences.all_audiences(
            profile, self.entity.value, self.workspace.audiences.get(name, ())
        ):
            if not audience.shipped:
                continue
            other = known.setdefault(audience.name.casefold(), audience.key)
            if other != audience.key:
                self._add_problem(
                    route,
                    f"the audiences `{other}` and `{audience.key}` would have the same tag `{audience.name}`: give one of"
                    " them another `name`, or set `ship: false`",
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
            self._add_problem(
                route,
                f"`{name}` cannot be the name of a field: names that begin with `{TAG}` are tags. Rename the field, or use"
                " `tags: audiences`",
                key=True,
            )
            return
        if not self._can_be_named(name):
            wanted = f": expected {self.vendor.field_name_rule}" if self.vendor.field_name_rule else ""
            meant = f"; write `{name.lower()}`" if self._can_be_named(name.lower()) else ""
            self._add_problem(
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
                self._add_problem(
                    route,
                    f"`{name}` needs either `from` or `sql`, and not both: add the source of its value",
                    key=True,
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
            self._add_problem(source, str(error))
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
            self._add_problem(
                (*route, "write"),
                f"{self.vendor.title} cannot be read, so its empty fields are unknown: remove `write: if_empty`",
            )
        kind = references[0].type if field.is_reference else None
        if kind is not None:
            fault = conversions.mismatch(field, kind, self.vendor)
            if fault is not None:
                self._add_problem((*route, fault[0]), fault[1])
        return field

    def _check_whole(self) -> None:
        if (
            not self.written.fields
            and not self.written.standard_traits
            and "tags" not in self.document.tree
            and not self.document.reported(("fields",))
        ):
            tags = ", or `tags: audiences`" if self.vendor.tags else ""
            self._add_problem(
                (), f"the mapping writes nothing: add `fields:` or `standard_traits: true`{tags}"
            )
        if self.written.anonymous and not (self.vendor.anonymous_accounts and self.entity is Entity.ACCOUNT):
            sentence = f"`anonymous` does not apply to {self.vendor.title} {self.written.object}: remove it"
            self._add_problem(("anonymous",), sentence, key=True)
