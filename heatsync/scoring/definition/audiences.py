"""Audiences: groups of users or accounts that every snapshot computes again. A profile has built-in and custom ones."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

from heatsync.scoring.definition.builtin_audiences import Audience
from heatsync.scoring.definition.condition_types import Condition, Member, canonical, walk
from heatsync.scoring.definition.profile import Profile


def all_audiences(profile: Profile, entity: str, custom: Iterable[Audience] = ()) -> tuple[Audience, ...]:
    """All audiences of an entity, sorted by key: the profile's built-in ones, and the custom ones in `custom`."""
    chosen = (each for each in custom if each.entity == entity)
    return tuple(sorted((*profile.builtin_audiences(entity), *chosen), key=lambda each: each.key))


def audience_keys(profile: Profile, entity: str, custom: Iterable[Audience] = ()) -> frozenset[str]:
    """The keys of all audiences of an entity, for `audience.KEY` in mappings."""
    return frozenset(each.key for each in all_audiences(profile, entity, custom))


def audience_version(key: str, entity: str, custom: Iterable[Audience]) -> str | None:
    """A hash of everything that decides who is in a custom audience, except the profile: its condition and those of
    the audiences that it names. None for a built-in audience, which the profile's version covers."""
    conditions = {(each.entity, each.key): each.condition for each in custom}
    parts: dict[str, object] = {}
    waiting = [(entity, key)]
    while waiting:
        kind, name = waiting.pop()
        condition = conditions.get((kind, name))
        if condition is not None and f"{kind} {name}" not in parts:
            parts[f"{kind} {name}"] = canonical(condition)
            waiting.extend(_members(condition, kind))
    if not parts:
        return None
    # The key of the audience itself does not change who is in it.
    text = json.dumps([parts.pop(f"{entity} {key}"), parts], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_cycle(
    of_user: Mapping[str, Condition], of_account: Mapping[str, Condition]
) -> tuple[tuple[str, str], ...]:
    """Audiences that refer to each other in a cycle, as (entity, key), with the first one repeated at the end; empty
    without a cycle."""
    known = {"user": of_user, "account": of_account}
    done: set[tuple[str, str]] = set()

    def visit(entity: str, key: str, path: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        here = (entity, key)
        if here in path:
            return (*path[path.index(here) :], here)
        if here in done or key not in known[entity]:
            return ()
        for kind, other in _members(known[entity][key], entity):
            found = visit(kind, other, (*path, here))
            if found:
                return found
        done.add(here)
        return ()

    for entity, conditions in known.items():
        for key in sorted(conditions):
            found = visit(entity, key, ())
            if found:
                return found
    return ()


def _members(condition: Condition, entity: str) -> Iterator[tuple[str, str]]:
    """The audiences that a condition names, as (entity, key)."""
    for route, part in walk(condition):
        if isinstance(part, Member):
            yield ("user" if "users" in route else entity), part.key
