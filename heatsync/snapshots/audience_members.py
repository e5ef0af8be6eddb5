"""The members of an audience on a day that was scored: read from the snapshot, and the copy of the tables, of the day."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb

from connectors.errors import ConfigurationError
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.scoring.definition import audiences
from heatsync.scoring.definition.builtin_audiences import Audience
from heatsync.snapshots.parquet_files import SnapshotMetadata, read_metadata
from heatsync.source.duckdb_session import open_duckdb
from heatsync.workspace.config import Workspace
from heatsync.workspace.strict_yaml import suggest

CHUNK = 10_000
"""Rows that become Python objects at a time."""
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "user": ("user_id", "name", "email", "score", "level"),
    "account": ("account_id", "name", "domain", "score", "level"),
}
"""The columns of a member, by entity; NULL where the tables do not have one."""
SCORES = ("score", "level")


@dataclass(frozen=True, slots=True)
class AudienceMembers:
    """An audience on a day, and the number of its members. `entered` and `left` are counted since `since`, the day
    before; all three are None, and `not_compared` says why, where that day was not scored by the same rules. `notes` are
    sentences for the person who asked."""

    workspace: Workspace
    profile: str
    audience: Audience
    day: date
    count: int
    since: date | None
    entered: int | None
    left: int | None
    not_compared: str
    notes: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the rows of `rows`."""
        return COLUMNS[self.audience.entity]

    def rows(self) -> Iterator[list[tuple[Any, ...]]]:
        """The members in the order of their keys, in chunks of rows with a value per column (`columns`)."""
        entity = self.audience.entity
        snapshot = self.workspace.snapshot_path(self.profile, entity, self.day)
        copied = self.workspace.traits_path(entity, self.day)
        with open_duckdb(self.workspace) as con:
            traits: dict[str, str] = {}
            if copied.is_file():
                described = con.execute("DESCRIBE FROM read_parquet(?)", [str(copied)]).fetchall()
                traits = {name.lower(): name for name, *_ in described}
            shown = [f"s.{self.columns[0]}"]
            for name in self.columns[1:]:
                if name in SCORES:
                    shown.append(f"s.{name}")
                else:
                    shown.append(f't."{traits[name]}"::VARCHAR' if name in traits else "NULL::VARCHAR")
            beside = (
                f"LEFT JOIN read_parquet($traits) t ON t.{self.columns[0]} = s.{self.columns[0]}"
                if traits
                else ""
            )
            found = con.execute(
                f"SELECT {', '.join(shown)} FROM read_parquet($snapshot) s {beside}"
                f" WHERE list_contains(s.audiences, $key) ORDER BY s.{self.columns[0]}",
                {"snapshot": str(snapshot), "key": self.audience.key}
                | ({"traits": str(copied)} if traits else {}),
            )
            for batch in found.to_arrow_reader(CHUNK):
                yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def find(
    workspace: Workspace, key: str, profile: str | None, entity: str | None, day: date | None
) -> AudienceMembers:
    """The audience with a key on a day (default: the last day that was scored). Raises ConfigurationError."""
    name, audience = _the(workspace, key, profile, entity)
    days = _days(workspace, name, audience.entity)
    if not days:
        raise ConfigurationError(f"`{name}` was not scored yet: run `heatsync score`, then ask again.")
    on = day or days[-1]
    path = workspace.snapshot_path(name, audience.entity, on)
    stored = read_metadata(path)
    if stored is None:
        why = "cannot be read" if path.exists() else f"does not exist; the last one is of {days[-1]}"
        raise ConfigurationError(
            f"The snapshot of {on} of `{name}` {why}. Run `heatsync score --date {on}`, then ask again."
        )
    notes = _notes(workspace, name, audience, stored, on)
    since = on - timedelta(days=1)
    before = read_metadata(workspace.snapshot_path(name, audience.entity, since))
    not_compared = ""
    if before is None:
        not_compared = f"{since} was not scored"
    elif (before.version, before.audiences.get(key)) != (stored.version, stored.audiences.get(key)):
        not_compared = f"{since} was scored by other rules"
    count, entered, left = _counted(
        workspace, audience, stored, before if before is not None and not not_compared else None
    )
    compared = not not_compared
    return AudienceMembers(
        workspace,
        name,
        audience,
        on,
        count,
        since if compared else None,
        entered if compared else None,
        left if compared else None,
        not_compared,
        notes,
    )


def _the(workspace: Workspace, key: str, profile: str | None, entity: str | None) -> tuple[str, Audience]:
    """The profile and audience of a key. Raises ConfigurationError unless there is exactly one."""
    if profile is not None and profile not in workspace.profiles:
        raise ConfigurationError(
            f"There is no profile `{profile}` in {workspace.folder / 'mappings' / 'profiles'}"
            f"{suggest(profile, workspace.profiles)}"
        )
    every = [
        (name, each)
        for name, known in sorted(workspace.profiles.items())
        for kind in ENTITIES
        for each in audiences.all_audiences(known, kind, workspace.audiences.get(name, ()))
    ]
    called = [(name, each) for name, each in every if each.key == key]
    meant = [
        (name, each) for name, each in called if profile in (None, name) and entity in (None, each.entity)
    ]
    if len(meant) == 1:
        return meant[0]
    if not called:
        # A custom audience is more likely meant than a built-in one.
        own = [each.key for _, each in every if each.custom]
        near = suggest(key, own)
        names = own if "did you mean" in near else [each.key for _, each in every]
        raise ConfigurationError(f"There is no audience `{key}`{suggest(key, names)}")
    if not meant:
        places = " and ".join(f"of {each.entity}s of `{name}`" for name, each in called)
        raise ConfigurationError(
            f"`{key}` is an audience {places}: leave out --entity and --profile, or name one of these."
        )
    kinds = sorted({each.entity for _, each in meant})
    profiles = sorted({name for name, _ in meant})
    if len(kinds) > 1 and len(profiles) > 1:
        raise ConfigurationError(
            f"`{key}` is an audience of users and of accounts of several profiles: say which, with --entity user or"
            f" account, and with --profile {', '.join(profiles[:-1])} or {profiles[-1]}."
        )
    if len(kinds) > 1:
        raise ConfigurationError(
            f"`{key}` is an audience of users and one of accounts: say which, with --entity user or --entity account."
        )
    raise ConfigurationError(
        f"`{key}` is an audience of several profiles: say which, with --profile"
        f" {', '.join(profiles[:-1])} or {profiles[-1]}."
    )


def _days(workspace: Workspace, profile: str, entity: str) -> list[date]:
    """The days with a snapshot, the earliest first."""
    found = []
    for path in workspace.snapshot_path(profile, entity, date.min).parent.glob("????-??-??.parquet"):
        try:
            found.append(date.fromisoformat(path.stem))
        except ValueError:
            continue
    return sorted(found)


def _notes(
    workspace: Workspace, profile: str, audience: Audience, stored: SnapshotMetadata, day: date
) -> tuple[str, ...]:
    """Notes where the audience or profile has changed since. Raises ConfigurationError where it did not exist yet."""
    again = f"`heatsync score --date {day}` scores the day with the files as they are now"
    if audience.custom and audience.key not in stored.audiences:
        raise ConfigurationError(
            f"{audience.place}: `{audience.key}` did not exist when {day} was scored: {again}; then ask again."
        )
    version = audiences.audience_version(audience.key, audience.entity, workspace.audiences.get(profile, ()))
    if stored.audiences.get(audience.key) != version:
        return (
            f"`{audience.key}` has changed since {day} was scored; these are its members as of then: {again}",
        )
    if stored.version != f"{workspace.profiles[profile].version} {workspace.time_zone.key}":
        return (f"`{profile}` has changed since {day} was scored; these are its members as of then: {again}",)
    return ()


def _counted(
    workspace: Workspace, audience: Audience, stored: SnapshotMetadata, before: SnapshotMetadata | None
) -> tuple[int, int, int]:
    """How many members there are, how many entered, and how many left."""
    members = f"SELECT {audience.entity}_id AS id FROM read_parquet(?) WHERE list_contains(audiences, ?)"
    query = (
        f"SELECT count(n.id), count(*) FILTER (b.id IS NULL), count(*) FILTER (n.id IS NULL) FROM ({members}) n"
        f" FULL JOIN ({members}) b ON b.id = n.id"
    )
    with open_duckdb(workspace) as con:
        try:
            paths = [str(stored.path), audience.key, str((before or stored).path), audience.key]
            row = con.execute(query, paths).fetchone()
        except duckdb.Error as error:
            raise ConfigurationError(
                f"{stored.path} or the snapshot of the day before cannot be read: score these days again"
            ) from error
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])
