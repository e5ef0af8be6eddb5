"""Strategies for profiles and audiences of all kinds, as trees of their files."""

from typing import Any

from hypothesis import strategies as st
from worlds import World

Tree = dict[str, Any]
EVENTS = (
    {"event": "Report Created", "weight": "8"},
    {"event": "Invited", "tier": "advanced", "per_day": "2"},
    {"event": "Viewed", "weight": "0.5"},
    {"event": "Logged In", "weight": "1", "passive": "true"},
    {"event": "Paid", "weight": "0", "passive": "true"},
)
TOUCHPOINTS = (
    {"name": "Visits", "event": "Viewed"},
    {"name": "High intent", "event": "Viewed", "where": {"page_type": {"eq": "high"}}},
    {
        "name": "Deals",
        "event": ["Paid", "Invited"],
        "where": {"amount": {"gte": "2"}, "ok": {"neq": "false"}},
    },
    {"name": "Large", "event": "Paid", "where": {"value": {"gt": "1"}}},
    {"name": "Rate", "ratio": {"of": {"event": "Invited"}, "to": {"event": ["Viewed", "Report Created"]}}},
    {
        "name": "Forms",
        "ratio": {"of": {"event": "Viewed", "where": {"ok": {"eq": "true"}}}, "to": {"event": "Viewed"}},
    },
    {"name": "Log ins", "event": "Logged In"},
    {"name": "Never", "event": "Not There"},
)
SHARES = ((100,), (40, 60), (50, 30, 20), (10, 20, 30, 40), (0, 100), (33.5, 33.25, 33.25))
DECAYS = ("none", {"half_life": "3d"}, {"half_life": "2w"}, {"linear": "5d"}, {"linear": "40d"})
STEPS: tuple[Tree, ...] = (
    {"event": "Invited"},
    {"event": ["Report Created", "Viewed"], "count": {"gte": "3"}},
    {"event": "Paid", "count": {"gt": "1"}},
)
USER_STEPS: tuple[Tree, ...] = (
    {"trait": "user.plan", "in": ["pro", "team"]},
    {"trait": "user.seats", "gte": "2.5"},
    {"trait": "user.vip", "eq": "true"},
    {"trait": "user.plan", "exists": "false"},
)
ACCOUNT_STEPS: tuple[Tree, ...] = (
    {"trait": "account.plan", "neq": "free"},
    {"trait": "account.nps", "between": ["3", "10"]},
)


@st.composite
def profiles(draw: st.DrawFn, world: World, models: tuple[str, ...]) -> Tree:
    model = draw(st.sampled_from(models))
    tree: Tree = {"model": model} if model != "weighted" or draw(st.booleans()) else {}
    if draw(st.booleans()):
        tree["window"] = draw(st.sampled_from(["7d", "1d", "2w", "40d", "30d"]))
    if model == "kpi":
        shares = draw(st.sampled_from(SHARES))
        picked = draw(st.permutations(TOUCHPOINTS))[: len(shares)]
        tree["touchpoints"] = [
            {**point, "weight": str(share)} for point, share in zip(picked, shares, strict=True)
        ]
    else:
        picked = draw(st.permutations(EVENTS))
        events = list(picked[: draw(st.integers(1, len(EVENTS)))])
        if all(each["event"] == "Paid" for each in events):
            events = list(EVENTS)
        if model == "weighted" and draw(st.booleans()):
            events = [{**each, "per_window": "4"} if each["event"] == "Viewed" else each for each in events]
        tree["events"] = events
    tree["normalize"] = draw(
        st.sampled_from(["exponential", "exponential", "winsor", "percentile", {"target": "20"}])
    )
    frozen = {"frozen": min(world.days).isoformat()}
    tree["benchmark"] = draw(st.sampled_from(["smoothed", "smoothed", "rolling", frozen]))
    if draw(st.booleans()):
        tree["decay"] = draw(st.sampled_from(DECAYS))
    if model == "weighted":
        tree["rollup"] = draw(st.sampled_from(["average", "total", "pooled"]))
    tree["levels"] = draw(levels(model))
    activation = draw(steps(world))
    if activation:
        tree["activation"] = activation
    signals = draw(signals_of(world))
    if signals:
        tree["signals"] = signals
    ship = draw(st.sampled_from([{}, {"trend_new": "true", "new": "false"}, {"all": "true"}]))
    if ship:
        tree["ship"] = ship
    return tree


def levels(model: str) -> st.SearchStrategy[Any]:
    kinds: list[Any] = [
        {"bands": {"Cold": "0", "Hot": "60"}},
        {"bands": {"Some": "10", "Very Hot": "90"}},
        {"bands": {"Low": "0", "Medium": "25", "High": "50", "Very High": "75"}, "hysteresis": "true"},
        {"bands": {"Some": "5", "More": "20", "Much": "40", "Most": "80"}, "hysteresis": "true"},
    ]
    if model == "engagement":
        kinds += ["churn", {"churn": "true", "hysteresis": "true"}] * 3
    return st.sampled_from(kinds)


def traits(world: World, user: tuple[Tree, ...], account: tuple[Tree, ...]) -> tuple[Tree, ...]:
    """Only what the existing tables allow."""
    return (*(user if world.users is not None else ()), *(account if world.accounts is not None else ()))


@st.composite
def steps(draw: st.DrawFn, world: World) -> Tree:
    pool = (*STEPS, *traits(world, USER_STEPS, ACCOUNT_STEPS))
    found = {
        entity: draw(st.lists(st.sampled_from(pool), max_size=4, unique_by=str))
        for entity in ("user", "account")
    }
    return {entity: those for entity, those in found.items() if those}


@st.composite
def signals_of(draw: st.DrawFn, world: World) -> list[Tree]:
    pool = traits(
        world,
        ({"trait": "user.seats", "from": "1", "to": "3", "weight": "15"},),
        (
            {"trait": "account.nps", "from": "0", "to": "10", "weight": "20"},
            {"trait": "account.nps", "from": "10", "to": "0", "weight": "12.5"},
        ),
    )
    return (
        draw(st.lists(st.sampled_from(pool), max_size=2, unique_by=lambda each: each["trait"]))
        if pool
        else []
    )
