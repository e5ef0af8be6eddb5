"""Resolves one mapping file against the workspace: names, types and policies."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
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
from heatsync.sync.mapping.references import STANDARD, NameScope
from heatsync.sync.mapping.schema import FieldFile, MappingFile
from heatsync.workspace.config import PartialWorkspace, Workspace
from heatsync.workspace.strict_yaml import Document, Route, suggest


@dataclass(frozen=True, slots=True)
class _File:
    """A validated mapping file, and the workspace in which its names are looked up."""

    document: Document
    settings: MappingFile
    partial: PartialWorkspace
    workspace: Workspace

    def _add_problem(self, route: Route, message: str, key: bool = False) -> None:
        if not self.document.reported(route):
            self.partial.problems.add(self.document.problem(route, message, key))

    def destination_vendor(self) -> Vendor | None:
        """None if the destination is unknown or invalid."""
        name = self.settings.destination
        if name in self.workspace.destinations:
            return self.workspace.destinations[name].vendor
        if name not in self.partial.broken_destinations:
            known = {*self.workspace.destinations, *self.partial.broken_destinations}
            self._add_problem(
                ("destination",),
                f"`{name}` is not a destination of {self.workspace.config_file}{suggest(name, known)}",
            )
        return None

    def has_profile(self) -> bool:
        """Whether the profile exists, valid or not."""
        name = self.settings.profile
        known = {*self.workspace.profiles, *self.partial.broken_profiles}
        if name in known:
            return True
        self._add_problem(
            ("profile",), f"there is no profile `{name}` (mappings/profiles/{name}.yml){suggest(name, known)}"
        )
        return False

    def entity_of_records(self, vendor: Vendor) -> Entity | None:
        """The entity of the records; None if the object is unknown or the entity unclear."""
        kind = vendor.objects.get(self.settings.object)
        entity = self.settings.entity
        if kind is not None:
            if entity is None or entity == kind.entity or vendor.any_object:
                return entity or kind.entity
            self._add_problem(
                ("entity",),
                f"{self.settings.object} of {vendor.title} are {kind.entity.value}s: remove `entity`",
            )
            return kind.entity
        if not vendor.any_object:
            self._add_problem(
                ("object",),
                f"`{self.settings.object}` is not an object of {vendor.title}"
                f"{suggest(self.settings.object, vendor.objects)}",
            )
            return None
        if entity is not None:
            return entity
        ours = {ours for pair in self.settings.match for ours in pair.values()}
        for likely, columns in (
            (Entity.USER, {"user_id", "email"}),
            (Entity.ACCOUNT, {"account_id", "domain"}),
        ):
            if ours & columns:
                return likely
        self._add_problem(
            ("object",),
            f"`{self.settings.object}` records may be users or accounts: add `entity: user` or `entity: account`",
        )
        return None


@dataclass(frozen=True, slots=True)
class _Resolver(_File):
    """Resolves the parts of a mapping, once its vendor and its entity are known."""

    vendor: Vendor
    entity: Entity
    scope: NameScope

    def match(self) -> tuple[MatchKey, ...]:
        kind = self.vendor.objects.get(self.settings.object, ObjectKind(self.entity, ()))
        if not self.settings.match and (not kind.match or self.entity is not kind.entity):
            self._add_problem(
                (),
                f"`match` is missing: name the field of {self.settings.object} and our column that find a record",
            )
        default = kind.match if self.entity is kind.entity else ()
        pairs: list[tuple[str, str, Route]] = [
            (theirs, ours, ("match", position, theirs) if self._listed() else ("match", theirs))
            for position, pair in enumerate(self.settings.match)
            for theirs, ours in pair.items()
        ] or [(theirs, ours, ("object",)) for theirs, ours in default]
        keys: list[MatchKey] = []
        for theirs, ours, route in pairs:
            if self.settings.match and kind.keys is not None and theirs not in kind.keys:
                self._add_problem(
                    route,
                    f"{self.vendor.title} cannot look up {self.settings.object} by `{theirs}`{suggest(theirs, kind.keys)}",
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

    def mode(self) -> str:
        mode = self.settings.mode or self.vendor.modes[0]
        if mode not in self.vendor.modes:
            modes = ", ".join(self.vendor.modes)
            self._add_problem(("mode",), f"{self.vendor.title} has no mode `{mode}`; possible: {modes}")
        return mode

    def audience(self) -> str | None:
        key = self.settings.audience
        if key is None:
            if self.settings.on_exit is not None:
                self._add_problem(
                    ("on_exit",), "`on_exit` needs an `audience`: add one or remove `on_exit`", key=True
                )
            return None
        try:
            self.scope.resolve(("audience", key))
        except ValueError as error:
            self._add_problem(("audience",), str(error))
        if self.settings.on_exit is None:
            self._add_problem(
                ("audience",),
                "`on_exit` is missing: choose `keep` or `clear` for the fields of records that leave the audience",
                key=True,
            )
        return key

    def standard_traits(self) -> Iterable[Field]:
        profile = self.workspace.profiles.get(self.settings.profile)
        if not self.settings.standard_traits or profile is None:
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
                when_null=self.settings.when_null or "clear",
                standard=True,
                place=self.document.place(route, key=True),
            )
            self._check_name(name, route)
            yield field

    def fields(self) -> Iterable[Field]:
        for name, settings in self.settings.fields.items():
            route: Route = ("fields", name)
            self._check_name(name, route)
            field = self._field(name, settings, route)
            if field is not None:
                yield field

    def tags(self) -> Iterable[Field]:
        """A field for each shipped audience: whether the record has its tag."""
        if self.settings.tags is None:
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
        name = self.settings.profile
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
        return bool(re.fullmatch(self.vendor.field_name_pattern, name)) and name.isprintable()

    def _field(self, name: str, settings: FieldFile, route: Route) -> Field | None:
        if (settings.from_ is None) == (settings.sql is None):
            if not self.document.reported((*route, "from")) and not self.document.reported((*route, "sql")):
                self._add_problem(
                    route,
                    f"`{name}` needs either `from` or `sql`, and not both: add the source of its value",
                    key=True,
                )
            return None
        source: Route = (*route, "sql" if settings.sql is not None else "from")
        if source not in self.document.positions:
            source = route
        try:
            if settings.sql is not None:
                sql, references = sql_expressions.compile(settings.sql, self.scope)
            else:
                reference = self.scope.resolve(tuple((settings.from_ or "").split(".")))
                sql, references = quoted(reference.alias), (reference,)
        except ValueError as error:
            self._add_problem(source, str(error))
            return None
        is_computed = bool(references) and all(reference.computed for reference in references)
        field = Field(
            name=name,
            label=name.replace("_", " ").strip().capitalize() if name.islower() else name,
            sql=sql,
            references=references,
            is_reference=settings.from_ is not None,
            map=tuple(settings.map.items()),
            as_=settings.as_,
            join=settings.join,
            default=settings.default,
            when_null=settings.when_null or self.settings.when_null or ("clear" if is_computed else "keep"),
            write=settings.write,
            tolerance=settings.tolerance,
            source=settings.sql or settings.from_ or "",
            place=self.document.place(source),
        )
        if settings.write == "if_empty" and not self.vendor.readable:
            self._add_problem(
                (*route, "write"),
                f"{self.vendor.title} cannot be read, so its empty fields are unknown: remove `write: if_empty`",
            )
        kind = references[0].type if field.is_reference else None
        if kind is not None:
            misfit = conversions.mismatch(field, kind, self.vendor)
            if misfit is not None:
                self._add_problem((*route, misfit[0]), misfit[1])
        return field

    def check_whole(self) -> None:
        """Add the problems that need several keys."""
        if (
            not self.settings.fields
            and not self.settings.standard_traits
            and "tags" not in self.document.tree
            and not self.document.reported(("fields",))
        ):
            tags = ", or `tags: audiences`" if self.vendor.tags else ""
            self._add_problem(
                (), f"the mapping writes nothing: add `fields:` or `standard_traits: true`{tags}"
            )
        if self.settings.anonymous and not (self.vendor.anonymous_accounts and self.entity is Entity.ACCOUNT):
            message = f"`anonymous` does not apply to {self.vendor.title} {self.settings.object}: remove it"
            self._add_problem(("anonymous",), message, key=True)


def resolve(
    document: Document, settings: MappingFile, path: Path, partial: PartialWorkspace
) -> Mapping | None:
    """The mapping of a file. Problems are added to those of the workspace.

    None if there is no workspace, if the destination, the object or the profile is unknown, or if no field is valid.
    """
    workspace = partial.workspace
    if workspace is None:
        return None
    before = len(partial.problems.found)
    file = _File(document, settings, partial, workspace)
    vendor = file.destination_vendor()
    has_profile = file.has_profile()
    if vendor is None or not has_profile:
        return None
    entity = file.entity_of_records(vendor)
    if entity is None:
        return None
    tables = {Entity.USER: workspace.source.users, Entity.ACCOUNT: workspace.source.accounts}
    scope = NameScope(
        entity,
        settings.profile,
        workspace.profiles,
        frozenset(which for which, table in tables.items() if table is not None or partial.config_has_errors),
        partial.broken_profiles,
        workspace.audiences,
        partial.broken_audiences,
    )
    resolver = _Resolver(document, settings, partial, workspace, vendor, entity, scope)
    match = resolver.match()
    mode = resolver.mode()
    audience = resolver.audience()
    fields = (*resolver.standard_traits(), *resolver.fields(), *resolver.tags())
    resolver.check_whole()
    mapping = Mapping(
        name=path.stem,
        path=path,
        destination=settings.destination,
        vendor=vendor,
        object=settings.object,
        entity=entity,
        profile=settings.profile,
        audience=audience,
        on_exit=settings.on_exit,
        match=match,
        mode=mode,
        fields=fields,
        create_fields=settings.create_fields,
        max_writes=settings.limits.max_writes,
        max_creates=settings.limits.max_creates,
        recheck_after=settings.recheck_after or timedelta(days=7),
        anonymous=settings.anonymous,
        schedule=settings.schedule,
        definition_hash="",
        place=document.place(("object",)),
    )
    if len(partial.problems.found) > before and not fields:
        return None
    return replace(mapping, definition_hash=definition_hash(mapping, workspace))
