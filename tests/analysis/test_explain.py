"""Explanations of real snapshots add up for all entities in every model."""

from datetime import timedelta
from math import log10

import duckdb
import leavers
import pytest
from examples import examples

from connectors.errors import ConfigurationError
from heatsync.analysis import explain
from heatsync.analysis.explain import COMPARED_DAYS, Explanation
from heatsync.snapshots import run as snapshot_run
from heatsync.sync.context import Context
from heatsync.workspace import config
from heatsync.workspace.config import Workspace

TAIL = leavers.HEALTH.partition("model: weighted\n")[2]
SIGNALS = "signals: [{trait: account.nps, from: 0, to: 10, weight: 20}]\n"
PROFILES = {
    "winsor": f"version: 1\nname: Winsor\nmodel: weighted\nrollup: total\nnormalize: winsor\n{TAIL}",
    "rank": f"version: 1\nname: Rank\nmodel: weighted\nrollup: pooled\nnormalize: percentile\n{TAIL}",
    "aimed": f"version: 1\nname: Aimed\nmodel: weighted\nnormalize: {{target: 60}}\n{SIGNALS}{TAIL}",
    "decayed": f"version: 1\nname: Decayed\nmodel: weighted\ndecay: {{half_life: 7d}}\nbenchmark: rolling\n{SIGNALS}{TAIL}",
    "habit": "version: 1\nname: Habit\nmodel: engagement\nlevels: churn\n"
    "events: [{event: Report Created}, {event: Comment Added, per_day: 1}]\n",
    "touch": f"version: 1\nname: Touch\nmodel: kpi\n{SIGNALS}"
    "touchpoints:\n  - {name: Reports, event: Report Created, weight: 60}\n"
    "  - {name: Rate, ratio: {of: {event: Comment Added}, to: {event: Logged In}}, weight: 30}\n"
    "  - {name: Nothing, event: Never Done, weight: 10}\n",
}
NAMES = ("health", *PROFILES)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    opened = config.load(leavers.write(tmp_path_factory.mktemp("world"), PROFILES))
    snapshot_run.score(opened, [leavers.DAY - timedelta(days=COMPARED_DAYS), leavers.DAY])
    return opened


def explained(world: Workspace, name: str, entity: str) -> list[Explanation]:
    """All entities in a long run, otherwise some of them."""
    path = world.snapshot_path(name, entity, leavers.DAY)
    with duckdb.connect() as con:
        keys = con.execute(f"SELECT {entity}_id FROM read_parquet(?)", [str(path)]).fetchall()
    assert keys
    return [
        explain.explain_scores(world, key, entity, [name], leavers.DAY)[0] for (key,) in keys[: examples(8)]
    ]


@pytest.mark.parametrize("entity", ["user", "account"])
@pytest.mark.parametrize("name", NAMES)
def test_the_contributions_of_all_entities_add_up_to_their_scores(
    world: Workspace, name: str, entity: str
) -> None:
    for day in (leavers.DAY - timedelta(days=COMPARED_DAYS), leavers.DAY):
        with duckdb.connect() as con:
            rows, apart = con.execute(
                "SELECT count(*), count(*) FILTER (abs(coalesce(list_sum(list_transform(contributions, lambda x: x.points)), 0)"
                " - coalesce(score_exact, 0)) > 1e-6) FROM read_parquet(?)",
                [str(world.snapshot_path(name, entity, day))],
            ).fetchone() or (0, 0)
        assert rows
        assert apart == 0


@pytest.mark.parametrize("entity", ["user", "account"])
@pytest.mark.parametrize("name", NAMES)
def test_contributions_add_up_to_the_score_and_parts_to_the_change(
    world: Workspace, name: str, entity: str
) -> None:
    found = explained(world, name, entity)
    for each in found:
        exact = each.row["score_exact"] or 0.0
        assert sum(part.points for part in each.contributions) == pytest.approx(exact, abs=1e-6)
        if each.compared is not None:
            before = each.compared.exact_before or 0.0
            assert each.compared.change.total == pytest.approx(exact - before, abs=1e-6)
    assert any(each.compared is not None for each in found)


@pytest.mark.parametrize("name", NAMES)
def test_the_users_of_an_account_share_what_is_done(world: Workspace, name: str) -> None:
    traits = {signal.trait for signal in world.profiles[name].signals}
    for each in explained(world, name, "account"):
        done = sum(part.points for part in each.contributions if part.name not in traits)
        assert sum(member.points for member in each.members) == pytest.approx(done, abs=1e-6)


@pytest.mark.parametrize("name", ["health", "winsor", "aimed", "decayed"])
def test_the_way_to_the_next_level_is_given_as_a_number_of_each_event(world: Workspace, name: str) -> None:
    bands = dict(world.profiles[name].levels.bands)
    shown = 0
    for each in explained(world, name, "user"):
        if each.next_level is None:
            assert each.row["level"] == "Very High"
            continue
        assert bands[each.next_level.level] == each.next_level.bound > each.row["score"]
        if each.next_level.points is not None:
            shown += 1
            counts = {event: count for event, count, _ in each.next_level.events}
            assert (
                8 * (counts["Report Created"] - 1)
                < each.next_level.points
                <= 8 * counts["Report Created"] + 1e-6
            )
    assert shown


def test_the_points_to_the_next_level_match_the_formula(world: Workspace) -> None:
    each = next(each for each in explained(world, "health", "user") if each.row["level"] == "Medium")
    assert each.next_level is not None
    expected = -each.row["benchmark"] * log10(1 - 50 / 100) - each.row["raw"]
    assert each.next_level.points == pytest.approx(expected)


def test_a_learned_level_starts_above_its_bound(world: Workspace) -> None:
    found = [
        each for each in explained(world, "habit", "user") if each.row["level"] == "Low" and each.next_level
    ]
    assert found
    for each in found:
        assert each.next_level is not None
        assert each.next_level.level == "Medium"
        assert each.next_level.points == pytest.approx(each.next_level.bound - each.row["raw"])


def test_an_unknown_id_is_reported(world: Workspace) -> None:
    with pytest.raises(
        ConfigurationError, match=r"no user and no account 'u1@x\.com'.*not an e-mail address"
    ):
        explain.explain_scores(world, "u1@x.com", None, ["health"], leavers.DAY)


def test_an_id_is_looked_for_among_users_and_accounts(world: Workspace) -> None:
    assert explain.explain_scores(world, "u1", None, ["health"], leavers.DAY)[0].entity == "user"
    assert explain.explain_scores(world, "a1", None, ["health"], leavers.DAY)[0].entity == "account"
    with pytest.raises(ConfigurationError, match="no user 'a1'"):
        explain.explain_scores(world, "a1", "user", ["health"], leavers.DAY)


def test_a_missing_day_to_compare_with_is_scored(world: Workspace) -> None:
    world.snapshot_path("health", "user", leavers.DAY - timedelta(days=COMPARED_DAYS)).unlink()
    found = explain.explain_scores(world, "u1", "user", ["health"], None)
    assert found[0].as_of == leavers.DAY
    assert found[0].compared is not None or "did not exist" in found[0].no_change_reason


def test_the_desired_record_is_shown_even_when_nothing_was_sent(world: Workspace) -> None:
    with Context(world, environ={}) as context:
        (payload,) = explain.desired_records(context, "user", "u1", leavers.DAY)
    row = explain.explain_scores(world, "u1", "user", ["health"], leavers.DAY)[0].row
    assert payload.covered
    assert payload.wants == {"score": row["score"], "level": row["level"]}
    assert payload.statuses == ()
