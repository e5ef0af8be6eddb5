"""A hash of everything in a mapping that decides what it sends."""

import hashlib
import json

from heatsync.scoring.definition import audiences
from heatsync.sync.mapping.model import Mapping
from heatsync.sync.mapping.references import Origin
from heatsync.workspace.config import Workspace


def definition_hash(mapping: Mapping, workspace: Workspace) -> str:
    """32 hexadecimal digits. Equal hashes send equal values to equal fields.

    The schedule, the limits and the comments of a mapping do not change it; the conditions of its custom audiences do.
    """
    definition: dict[str, object] = {
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
        "time_zone": workspace.time_zone.key,
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
    custom = _custom_audiences(mapping, workspace)
    if custom:
        definition["audiences"] = custom
    text = json.dumps(definition, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _custom_audiences(mapping: Mapping, workspace: Workspace) -> list[list[str]]:
    """The custom audiences that a mapping is limited to or sends, each with the version of its condition.

    An audience is known by its key; if it is sent in the `segments`, by the name that arrives at the destination.
    """
    used = {(mapping.profile, mapping.entity.value, mapping.audience)} if mapping.audience else set()
    shipped: set[tuple[str, str]] = set()
    for reference in (reference for field in mapping.fields for reference in field.references):
        if reference.origin is Origin.AUDIENCE:
            used.add((reference.profile, reference.entity.value, reference.name))
        elif reference.origin is Origin.TRAIT and reference.name == "segments":
            shipped.add((reference.profile, reference.entity.value))
    found: set[tuple[str, ...]] = set()
    for profile, entity, key in used:
        version = audiences.audience_version(key, entity, workspace.audiences.get(profile, ()))
        if version is not None:
            found.add((profile, entity, "key", key, version))
    for profile, entity in shipped:
        own = workspace.audiences.get(profile, ())
        for audience in own:
            version = audiences.audience_version(audience.key, entity, own)
            if audience.shipped and audience.entity == entity and version is not None:
                found.add((profile, entity, "name", audience.name, version))
    return sorted(map(list, found))
