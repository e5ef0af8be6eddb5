"""Turns a mapping into one SQL query: columns of snapshots become fields of the destination, in its types.

The query has three layers:

files      the snapshot, other snapshots and the copies of tables, joined by id; one column per name
sources    q0, q1, ..: the source of each field; an `sql` that fails on a row affects only that row
values     f0, f1, .. in their types, and the problems of values that cannot be sent
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from connectors.errors import ConfigurationError
from connectors.types import Entity
from heatsync.snapshots.parquet_files import read_metadata
from heatsync.sync import value_problems
from heatsync.sync.mapping import conversions, local_days
from heatsync.sync.mapping.conversions import literal, quoted
from heatsync.sync.mapping.model import Mapping, MappingQuery, MatchKey, QueryField
from heatsync.sync.mapping.references import Origin, Reference, key_column
from heatsync.workspace.config import Workspace
from heatsync.workspace.strict_yaml import suggest


class SnapshotMissing(ConfigurationError):
    """A file of the day is missing or too old: `heatsync score` creates it."""


def build_query(
    mapping: Mapping, workspace: Workspace, connection: duckdb.DuckDBPyConnection, as_of: date
) -> MappingQuery:
    """The query over the files of a day.

    Raises SnapshotMissing if a file is missing or too old, and ConfigurationError if a column does not exist or its
    type does not fit the field. Creates the calendar of `local_days` in the connection if the query needs it.
    """
    files = _Files(mapping, workspace, connection, as_of)
    base = files.query()
    sources, types = _sources(mapping, connection, base)
    zoned = workspace.time_zone.key != "UTC"
    columns: list[conversions.Value] = []
    problems: list[str] = []
    for position, field in enumerate(mapping.fields):
        name = f"q{position}" if field.is_reference else f"q{position}.v"
        failed = None if field.is_reference else f"q{position} IS NULL"
        try:
            column = conversions.Column(name, types[f"q{position}"])
            days = f"days{position}" if zoned else None
            columns.append(conversions.convert(column, failed, field, mapping.vendor, f"w{position}", days))
        except ValueError as error:
            problems.append(f"{field.place}: {error}")
    matches: list[str] = []
    for position, match in enumerate(mapping.match):
        try:
            column = conversions.Column(f"m{position}", types[f"m{position}"])
            matches.append(conversions.match_text(column, _ignores_case(match)))
        except ValueError as error:
            problems.append(f"{match.place}: {error}")
    if problems:
        raise ConfigurationError("\n".join(problems))
    if any(column.day is not None for column in columns):
        local_days.prepare(connection, workspace.time_zone)
    return MappingQuery(
        sql=_compose(sources, columns, matches),
        fields=tuple(
            QueryField(
                name=field.name,
                type=column.type,
                when_null=field.when_null,
                write=field.write,
                tolerance=field.tolerance,
                guard="level" if field.tolerance is not None else None,
                label=field.label,
                tag=field.tag,
            )
            for field, column in zip(mapping.fields, columns, strict=True)
        ),
        match=tuple(key.field for key in mapping.match),
    )


def _ignores_case(match: MatchKey) -> bool:
    """Whether upper and lower case are equal: in e-mail addresses and domains."""
    names = {match.field.lower(), match.column.name.lower()}
    return bool(names & {"email", "domain"})


def _sources(
    mapping: Mapping, connection: duckdb.DuckDBPyConnection, base: str
) -> tuple[str, dict[str, str]]:
    """The query of the sources, and DuckDB's type of each.

    An `sql` is wrapped in a struct with the field v, so that a row on which it fails differs from one on which it is
    NULL. Raises ConfigurationError if DuckDB does not accept an `sql`.
    """

    def describe(chosen: str) -> dict[str, str]:
        rows = connection.execute(f"DESCRIBE SELECT {chosen} FROM ({base})").fetchall()
        return {str(row[0]): str(row[1]) for row in rows}

    matches = [f"m{position}" for position in range(len(mapping.match))]
    bare = [
        f"{field.sql} AS q{position}" for position, field in enumerate(mapping.fields) if field.is_reference
    ]
    types = describe(", ".join(["key", *matches, *bare]))
    problems: list[str] = []
    for position, field in enumerate(mapping.fields):
        if field.is_reference:
            continue
        try:
            types |= describe(f"{field.sql} AS q{position}")
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            reason = first.partition(": ")[2] or first
            problems.append(f"{field.place}: DuckDB does not understand this `sql`: {reason}")
    if problems:
        raise ConfigurationError("\n".join(problems))
    chosen = ["key", "level", "via", *matches]
    for position, field in enumerate(mapping.fields):
        chosen.append(
            f"{field.sql if field.is_reference else f'TRY(struct_pack(v := {field.sql}))'} AS q{position}"
        )
    return f"SELECT {', '.join(chosen)} FROM ({base})", types


def _compose(sources: str, columns: list[conversions.Value], matches: list[str]) -> str:
    problems = [column.problem for column in columns if column.problem is not None]
    found = (
        f"coalesce({', '.join(problems)}, NULL)" if problems else f"CAST(NULL AS {value_problems.SQL_TYPE})"
    )
    steps = ["*", *(f"{c.step} AS w{i}" for i, c in enumerate(columns) if c.step is not None)]
    joins = ""
    fields: list[str] = []
    for position, column in enumerate(columns):
        if column.day is not None:
            joins += f" LEFT JOIN {local_days.TABLE} days{position} ON days{position}.day = {column.day}"
        fields.append(f"{column.sql} AS f{position}")
    chosen = [
        "key",
        *(f"{sql} AS m{position}" for position, sql in enumerate(matches)),
        "via",
        f"{found} AS problem",
        "level",
        *fields,
    ]
    return f"SELECT {', '.join(chosen)} FROM (SELECT {', '.join(steps)} FROM ({sources})){joins}"


def level_moves(
    mapping: Mapping, workspace: Workspace, connection: duckdb.DuckDBPyConnection, as_of: date
) -> tuple[int, int]:
    """How many of the mapping's records have a level, and how many changed it on that day.

    If the profile changed since the day before, its history was computed again. The levels that were sent the day
    before are then those in the snapshot of that day.
    """
    files = _Files(mapping, workspace, connection, as_of)
    changed = files.before_profile_change()
    if changed is not None:
        key = key_column(mapping.entity)
        counted = connection.execute(
            "SELECT count(*) FILTER (s.level IS NOT NULL),"
            " count(*) FILTER (s.level IS NOT NULL AND b.level IS NOT NULL AND s.level <> b.level)"
            f" FROM {files.own()} LEFT JOIN {_scan(changed)} b ON b.{key} = s.{key}"
        ).fetchone()
        assert counted is not None
        return int(counted[0]), int(counted[1])
    counted = connection.execute(
        "SELECT count(*) FILTER (s.level IS NOT NULL),"
        " count(*) FILTER (s.level IS NOT NULL AND s.level_previous IS NOT NULL AND s.level_changed_on = ?)"
        f" FROM {files.own()}",
        [as_of],
    ).fetchone()
    assert counted is not None
    return int(counted[0]), int(counted[1])


@dataclass(slots=True)
class _Files:
    """The files to join: the mapping's snapshot, and the files that its names need."""

    mapping: Mapping
    workspace: Workspace
    connection: duckdb.DuckDBPyConnection
    as_of: date

    def before_profile_change(self) -> Path | None:
        """The snapshot of the day before if it is of another version of the profile, otherwise None."""
        mapping = self.mapping
        now, before = (
            read_metadata(self.workspace.snapshot_path(mapping.profile, mapping.entity.value, day))
            for day in (self.as_of, self.as_of - timedelta(days=1))
        )
        if now is None or before is None or now.version == before.version:
            return None
        return before.path

    def own(self) -> str:
        """The mapping's snapshot as `s`, only the members of its audience."""
        mapping = self.mapping
        path = self._snapshot(mapping.profile, mapping.entity)
        where = (
            f" WHERE list_contains(audiences, {literal(mapping.audience)})"
            if mapping.audience is not None
            else ""
        )
        return f"(SELECT * FROM {_scan(path)}{where}) s"

    def query(self) -> str:
        """One row per record: key, level, via, m0.. and a column for each name, under its alias."""
        references: dict[str, Reference] = {}
        for field in self.mapping.fields:
            references |= {reference.alias: reference for reference in field.references}
        needed = [*references.values(), *(key.column for key in self.mapping.match)]
        joins, names = self._joins(needed)
        self._check_columns(names)
        grouped = not self.mapping.vendor.readable and self.mapping.entity is Entity.ACCOUNT
        chosen = [
            f"s.{key_column(self.mapping.entity)} AS key",
            "s.level AS level",
            ("CAST(s.member AS VARCHAR)" if grouped else "CAST(NULL AS VARCHAR)") + " AS via",
            *(
                f"{_column(key.column, names)} AS m{position}"
                for position, key in enumerate(self.mapping.match)
            ),
            *(f"{_column(reference, names)} AS {quoted(alias)}" for alias, reference in references.items()),
        ]
        return f"SELECT {', '.join(chosen)} FROM {self.own()} {joins}"

    def _joins(
        self, needed: Iterable[Reference]
    ) -> tuple[str, dict[tuple[str, Entity], tuple[str, dict[str, str]]]]:
        """The joins; and for each (profile, entity) the alias, and the columns by their names in lower case.

        The profile is empty for a table.
        """
        mapping = self.mapping
        own = (mapping.profile, mapping.entity)
        names = {own: ("s", self._columns(self._snapshot(*own)))}
        joins: list[str] = []
        for reference in needed:
            place = (reference.profile, reference.entity)
            if place in names:
                continue
            alias = f"t{len(joins)}"
            path = self._snapshot(*place) if reference.profile else self._table(reference.entity)
            key = key_column(reference.entity)
            names[place] = (alias, self._columns(path))
            joins.append(f"LEFT JOIN {_scan(path)} {alias} ON {alias}.{key} = s.{key}")
        return " ".join(joins), names

    def _check_columns(self, names: dict[tuple[str, Entity], tuple[str, dict[str, str]]]) -> None:
        uses = [(reference, field.place) for field in self.mapping.fields for reference in field.references]
        uses += [(key.column, key.place) for key in self.mapping.match]
        stale: list[str] = []
        missing: list[str] = []
        for reference, where in uses:
            columns = names[(reference.profile, reference.entity)][1]
            wanted = "audiences" if reference.origin is Origin.AUDIENCE else reference.name
            if wanted.lower() in columns:
                continue
            if reference.computed:
                stale.append(
                    f"{where}: the snapshot of {self.as_of} has no `{wanted}`: create it again with `heatsync score`"
                )
            else:
                missing.append(
                    f"{where}: the {reference.entity.value}s table had no column `{wanted}` when it was copied for"
                    f" {self.as_of} (`heatsync score` copies it again){suggest(wanted, columns.values())}"
                )
        if missing:
            raise ConfigurationError("\n".join(dict.fromkeys([*missing, *stale])))
        if stale:
            raise SnapshotMissing("\n".join(dict.fromkeys(stale)))

    def _snapshot(self, profile: str, entity: Entity) -> Path:
        path = self.workspace.snapshot_path(profile, entity.value, self.as_of)
        if not path.is_file():
            raise SnapshotMissing(
                f"mappings/{self.mapping.path.name}: there is no snapshot of profile `{profile}` for"
                f" {entity.value}s on {self.as_of}: create it with `heatsync score --date {self.as_of}`"
            )
        return path

    def _table(self, entity: Entity) -> Path:
        path = self.workspace.traits_path(entity.value, self.as_of)
        if not path.is_file():
            raise SnapshotMissing(
                f"mappings/{self.mapping.path.name}: there is no copy of the {entity.value}s table for {self.as_of}:"
                f" create it with `heatsync score --date {self.as_of}`"
            )
        return path

    def _columns(self, path: Path) -> dict[str, str]:
        rows = self.connection.execute(f"DESCRIBE SELECT * FROM {_scan(path)}").fetchall()
        return {str(row[0]).lower(): str(row[0]) for row in rows}


def _scan(path: Path) -> str:
    return f"read_parquet({literal(str(path))})"


def _column(reference: Reference, names: dict[tuple[str, Entity], tuple[str, dict[str, str]]]) -> str:
    alias, columns = names[(reference.profile, reference.entity)]
    if reference.origin is Origin.AUDIENCE:
        return f"coalesce(list_contains({alias}.audiences, {literal(reference.name)}), false)"
    return f"{alias}.{quoted(columns[reference.name.lower()])}"
