"""Every column of every snapshot, compared with the definitions in plain Python, for all kinds of worlds.

A world is small. Several profiles score it once, on one day or several, and each profile has its own audiences. A
snapshot of one profile and day is one case.
"""

import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import reference
import tiny
from conditions_of_all_kinds import conditions, filters
from examples import examples
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from profiles_of_all_kinds import Tree, profiles
from reference.rules import Rules
from worlds import World, worlds, written

from heatsync.snapshots import run as snapshot_run
from heatsync.workspace.config import Workspace

ENTITIES = ("user", "account")
MODELS = ("weighted", "kpi", "engagement")
Difference = tuple[Any, ...]
Case = tuple[World, dict[str, Tree], dict[str, dict[str, Tree]]]


@st.composite
def cases(draw: st.DrawFn, models: Sequence[str] = MODELS, crowd: bool = False, count: int = 3) -> Case:
    """A world, profiles by name, and the audiences of each profile."""
    world = draw(worlds(crowd).filter(lambda world: world.names))
    trees, own = {}, {}
    for number in range(count):
        tree = draw(profiles(world, tuple(models)))
        model = tree.get("model", "weighted")
        if draw(st.integers(0, 2)) == 0:
            tree["filter"] = draw(filters(world, model))
        name = f"p{number}"
        trees[name], own[name] = tree, draw(audiences(world, tree, number))
    return world, trees, own


@st.composite
def audiences(draw: st.DrawFn, world: World, tree: Tree, number: int) -> dict[str, Tree]:
    names = Rules(tree).level_names
    found: dict[str, Tree] = {}
    for place in range(draw(st.integers(0, 4))):
        entity = draw(st.sampled_from(ENTITIES))
        keys = ["all_active", "mature", "red_hot", "trend_new", "least_engaged"]
        keys += [key for key, each in found.items() if each["entity"] == entity]
        model = tree.get("model", "weighted")
        each: Tree = {
            "entity": entity,
            "where": draw(conditions(world, model, entity, names, keys)),
        }
        each |= draw(st.sampled_from([{}, {"name": f"Own {place}"}, {"ship": "false"}]))
        found[f"own_{number}_{place}"] = each
    return found


def disagreements(case: Case) -> list[Difference]:
    """Profile, day, entity, id, metric, the value found and the value expected."""
    world, trees, own = case
    with tempfile.TemporaryDirectory() as folder:
        created = written(Path(folder), world, trees, own)
        snapshot_run.score(created, list(world.days))
        found: list[Difference] = []
        for name, tree in trees.items():
            expected = reference.snapshots(
                world.events,
                world.users,
                world.accounts,
                tree,
                world.zone,
                world.days,
                audiences=own.get(name),
            )
            for day in world.days:
                rows = {entity: stored(created, name, entity, day) for entity in ENTITIES}
                found += [(name, day, *each) for each in tiny.differences(rows, expected.of(day))]
    return found


def stored(created: Workspace, name: str, entity: str, day: date) -> dict[str, dict[str, Any]]:
    table = pq.read_table(snapshot_run.snapshot_path(created, name, entity, day))
    return {row[f"{entity}_id"]: row for row in table.to_pylist()}


# A case takes seconds: shrinking a failing one would take minutes.
slowly = settings(
    phases=(Phase.explicit, Phase.reuse, Phase.generate), suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("model", MODELS)
def test_every_column_matches_the_definitions(model: str) -> None:
    compared = 0

    @settings(slowly, max_examples=examples(2))
    @given(cases([model]))
    def law(case: Case) -> None:
        nonlocal compared
        assert disagreements(case) == []
        compared += len(case[1]) * len(case[0].days)

    law()
    print(f"{compared} snapshots of {model} compared")


@settings(slowly, max_examples=examples(1))
@given(cases(crowd=True, count=2))
def test_every_column_matches_the_definitions_for_many_entities(case: Case) -> None:
    assert disagreements(case) == []
