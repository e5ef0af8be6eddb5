"""The files under mappings/audiences: custom audiences."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, create_model

from heatsync.scoring.compute import condition_sql
from heatsync.scoring.compute.condition_sql import Scope
from heatsync.scoring.definition import audiences, value_types
from heatsync.scoring.definition.builtin_audiences import Audience
from heatsync.scoring.definition.condition_parser import Written
from heatsync.scoring.definition.condition_types import All, Condition, Member, Route, walk
from heatsync.scoring.definition.profile import Profile
from heatsync.workspace import profile_files
from heatsync.workspace.schema import Version
from heatsync.workspace.strict_yaml import Document, Problem, Problems, read, suggest
from heatsync.workspace.validation import Section, validate

FOLDER = "mappings/audiences"
_ENTITIES = ("user", "account")


def _entity(value: object) -> str:
    return value_types.one_of(value, _ENTITIES, "an entity")


class AudienceFile(Section):
    """One audience of a file."""

    name: value_types.Word | None = None
    entity: Annotated[str, BeforeValidator(_entity)]
    profile: value_types.Word
    where: Written
    ship: value_types.Flag = True


@dataclass(frozen=True, slots=True)
class LoadedAudiences:
    """Custom audiences by profile, in the order of their keys, and the keys of invalid ones.

    `broken` is None if a whole file is unreadable, so that any key may be in it.
    """

    audiences: Mapping[str, tuple[Audience, ...]] = field(default_factory=dict)
    broken: frozenset[str] | None = frozenset()


@dataclass(frozen=True, slots=True)
class _LoadedAudience:
    audience: Audience
    profile: str
    document: Document

    def problem(self, route: Route, message: str, key: bool = False) -> Problem:
        return self.document.problem((self.audience.key, *route), message, key)


def load(folder: Path, profiles: profile_files.LoadedProfiles, problems: Problems) -> LoadedAudiences:
    """The custom audiences of a workspace. Problems are added to `problems`."""
    collected: list[_LoadedAudience] = []
    broken: set[str] = set()
    has_unreadable_file = False
    for path in profile_files.yaml_files(folder, FOLDER, problems):
        document = read(path, f"{FOLDER}/{path.name}", problems)
        if document is None:
            has_unreadable_file = True
            continue
        audiences_of_file = _file(document, problems)
        broken |= document.tree.keys() - audiences_of_file.keys() - {"version"}
        for key, audience in audiences_of_file.items():
            before = len(problems.found)
            checked = _audience(document, key, audience, profiles, problems)
            if checked is None or len(problems.found) > before:
                broken.add(key)
            if checked is not None:
                collected.append(checked)
    unique = _without_duplicates(collected, broken, problems)
    for name, profile in profiles.profiles.items():
        _check(profile, [each for each in unique if each.profile == name], broken, problems)
    valid = [each for each in unique if each.audience.key not in broken]
    return LoadedAudiences(
        {
            name: tuple(
                sorted(
                    (each.audience for each in valid if each.profile == name),
                    key=lambda audience: (audience.key, audience.entity),
                )
            )
            for name in profiles.profiles
        },
        None if has_unreadable_file else frozenset(broken),
    )


def _file(document: Document, problems: Problems) -> dict[str, AudienceFile]:
    """The valid audiences of a file by key."""
    keys = [key for key in document.tree if key != "version"]
    # A field per key: an invalid audience does not hide the others.
    fields: dict[str, Any] = {
        f"audience_{place}": (AudienceFile | None, Field(default=None, alias=key))
        for place, key in enumerate(keys)
    }
    model = create_model("Audiences", __base__=Section, version=(Version, ""), **fields)
    if "version" not in document.tree:
        problems.add(document.problem((), "`version` is missing: begin the file with `version: 1`"))
    found = validate(document, model, problems)
    read = {key: getattr(found, f"audience_{place}", None) for place, key in enumerate(keys)}
    return {key: audience for key, audience in read.items() if audience is not None}


def _audience(
    document: Document,
    key: str,
    settings: AudienceFile,
    profiles: profile_files.LoadedProfiles,
    problems: Problems,
) -> _LoadedAudience | None:
    """One audience, checked by itself; None if its key is invalid or its profile unknown."""
    if re.fullmatch(r"[a-z][a-z0-9_]*", key) is None:
        better = re.sub(r"^[^a-z]+", "", value_types.snake(key))
        hint = f", as in `{better}`" if better else ""
        problems.add(
            document.problem(
                (key,),
                f"`{key}` cannot be a key: expected lower-case letters, digits and _, beginning with a letter{hint}."
                " Mappings use it as `audience.KEY`; `name:` is what people see",
                key=True,
            )
        )
        return None
    profile = profiles.profiles.get(settings.profile)
    if profile is None:
        if settings.profile not in profiles.broken:
            names = [*profiles.profiles, *profiles.broken]
            message = f"`{settings.profile}` is not a profile{suggest(settings.profile, names)}"
            problems.add(document.problem((key, "profile"), message))
        return None
    if key in audiences.audience_keys(profile, settings.entity):
        problems.add(
            document.problem(
                (key,), f"`{key}` is a built-in audience of {settings.entity}s: choose another key", key=True
            )
        )
    start = (key, "where")
    return _LoadedAudience(
        Audience(
            key=key,
            name=settings.name or key,
            entity=settings.entity,
            shipped=settings.ship,
            condition=settings.where,
            place=document.place((key,), key=True),
            custom=True,
            places={route[2:]: document.place(route) for route in document.positions if route[:2] == start},
        ),
        settings.profile,
        document,
    )


def _without_duplicates(
    collected: list[_LoadedAudience], broken: set[str], problems: Problems
) -> list[_LoadedAudience]:
    """The audiences without those that repeat a key of the same profile and entity. Repeated keys are reported."""
    first: dict[tuple[str, str, str], _LoadedAudience] = {}
    for each in collected:
        audience = each.audience
        other = first.setdefault((each.profile, audience.entity, audience.key), each)
        if other is not each:
            problems.add(
                each.problem(
                    (),
                    f"`{audience.key}` is already an audience of {audience.entity}s of `{each.profile}`, at"
                    f" {other.audience.place}: choose another key",
                    key=True,
                )
            )
            broken.add(audience.key)
    return list(first.values())


def _check(profile: Profile, custom: list[_LoadedAudience], broken: set[str], problems: Problems) -> None:
    """Check the names in the conditions. Columns and events are not checked: they need the data."""
    conditions: dict[str, dict[str, Condition]] = {}
    for entity in ("user", "account"):
        conditions[entity] = {each.key: each.condition for each in profile.builtin_audiences(entity)}
        # The condition of an invalid audience is unknown, but other conditions may name it.
        conditions[entity] |= {key: All(()) for key in broken if key not in conditions[entity]}
        conditions[entity] |= {
            each.audience.key: each.audience.condition for each in custom if each.audience.entity == entity
        }
    _break_circles(custom, conditions, broken, problems)
    scopes = _scopes(profile, conditions)
    for each in custom:
        for route, message in condition_sql.find_problems(
            each.audience.condition, scopes[each.audience.entity]
        ):
            problems.add(each.problem(("where", *route), message))
            broken.add(each.audience.key)


def _scopes(profile: Profile, conditions: Mapping[str, Mapping[str, Condition]]) -> dict[str, Scope]:
    users = Scope(
        profile=profile,
        entity="user",
        day=0,
        zone=ZoneInfo("UTC"),
        columns=None,
        traits=condition_sql.TRAITS["user"],
        audiences=conditions["user"],
        events=None,
    )
    accounts = replace(
        users,
        entity="account",
        traits=condition_sql.TRAITS["account"],
        audiences=conditions["account"],
        users=users,
    )
    return {"user": users, "account": accounts}


def _break_circles(
    custom: list[_LoadedAudience],
    conditions: dict[str, dict[str, Condition]],
    broken: set[str],
    problems: Problems,
) -> None:
    """Report audiences that depend on each other in a circle, once per circle, and break the circle."""
    while circle := audiences.find_cycle(conditions["user"], conditions["account"]):
        entity, key, following = circle[0][0], circle[0][1], circle[1][1]
        each = next(one for one in custom if (one.audience.entity, one.audience.key) == (entity, key))
        place = next(
            route
            for route, part in walk(each.audience.condition)
            if isinstance(part, Member) and part.key == following
        )
        shown = " -> ".join(name for _, name in circle)
        problems.add(
            each.problem(
                ("where", *place, "audience"),
                f"audiences cannot depend on each other in a circle: {shown}. Write the condition out in one of them",
            )
        )
        broken |= {name for _, name in circle}
        conditions[entity][key] = All(())
