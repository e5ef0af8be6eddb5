"""Strategies for conditions of the audience grammar, for a world and a profile."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from worlds import World

Tree = dict[str, Any]
DURATIONS = ("12h", "36h", "1d", "7d", "2w", "30d", "4w", "60d", "90d")
INTERVALS = (["60d", "30d"], ["14d", "7d"], ["2w", "0d"], ["36h", "12h"], ["1d", "12h"])
DATES = ("2026-03-29", "2026-04-05", "2026-10-25", "2025-10-05", "2018-11-04")
NUMBERS = ("0", "1", "2.5", "10", "25", "50", "75", "100", "-10")
COUNTS: tuple[Tree, ...] = (
    {"gte": "1"},
    {"eq": "0"},
    {"lt": "3"},
    {"gt": "2"},
    {"neq": "1"},
    {"between": ["1", "4"]},
    {"gte": "1", "lte": "2"},
)
WHERE: tuple[Tree, ...] = (
    {"page_type": {"eq": "high"}},
    {"page_type": {"neq": "high"}},
    {"page_type": {"starts_with": "hig"}},
    {"page_type": {"contains": "igh"}},
    {"page_type": {"in": ["low", "higher"]}},
    {"page_type": {"exists": "false"}},
    {"amount": {"gte": "2.5"}},
    {"amount": {"not_in": ["1", "10"]}},
    {"ok": {"eq": "true"}},
    {"value": {"gt": "1"}},
    {"value": {"exists": "false"}},
    {"amount": {"exists": "true"}, "page_type": {"eq": "low"}},
)
NUMERIC = (
    "score",
    "activation",
    "adoption_recent",
    "adoption_ever",
    "frequency",
    "score_change",
    "tenure_days",
)
OF_ACCOUNTS = ("active_users", "total_users", "percent_active")


def comparisons(numbers: Sequence[str]) -> st.SearchStrategy[Tree]:
    one = st.sampled_from(numbers)
    return st.one_of(
        st.tuples(st.sampled_from(["eq", "neq", "gt", "gte", "lt", "lte"]), one).map(
            lambda pair: {pair[0]: pair[1]}
        ),
        st.tuples(st.sampled_from(["in", "not_in"]), st.lists(one, min_size=1, max_size=3, unique=True)).map(
            lambda pair: {pair[0]: pair[1]}
        ),
        st.lists(one, min_size=2, max_size=2, unique=True)
        .map(lambda pair: sorted(pair, key=float))
        .map(lambda pair: {"between": pair}),
        st.sampled_from(["true", "false"]).map(lambda word: {"exists": word}),
    )


def words(known: Sequence[str]) -> st.SearchStrategy[Tree]:
    one = st.sampled_from(known)
    return st.one_of(
        st.tuples(st.sampled_from(["eq", "neq"]), one).map(lambda pair: {pair[0]: pair[1]}),
        st.tuples(st.sampled_from(["in", "not_in"]), st.lists(one, min_size=1, max_size=3, unique=True)).map(
            lambda pair: {pair[0]: pair[1]}
        ),
        one.map(lambda word: {"contains": word[1:3]}),
        one.map(lambda word: {"starts_with": word[:2]}),
        st.sampled_from(["true", "false"]).map(lambda word: {"exists": word}),
    )


def columns(world: World, entity: str) -> st.SearchStrategy[Tree] | None:
    """Conditions on the columns of the tables that exist."""
    kinds = []
    plans = words(["pro", "team", "free"])
    if world.users is not None and entity == "user":
        kinds += [
            plans.map(lambda test: {"trait": "user.plan", **test}),
            comparisons(["1", "2.5", "3"]).map(lambda test: {"trait": "user.seats", **test}),
            st.sampled_from(["true", "false"]).map(lambda word: {"trait": "user.vip", "eq": word}),
        ]
    if world.accounts is not None:
        kinds += [
            plans.map(lambda test: {"trait": "account.plan", **test}),
            comparisons(["0", "3", "7.5", "10"]).map(lambda test: {"trait": "account.nps", **test}),
        ]
    return st.one_of(kinds) if kinds else None


@st.composite
def events(draw: st.DrawFn, world: World, tiers: bool) -> Tree:
    names = st.sampled_from(world.names)
    tree: Tree = {
        "event": draw(
            st.one_of(
                names,
                st.lists(names, min_size=1, max_size=3, unique=True),
                st.sampled_from(["*", "scored"]),
                st.sampled_from([{"tier": "core"}, {"tier": "advanced"}, {"tier": "common"}])
                if tiers
                else names,
            )
        )
    }
    tree |= draw(st.sampled_from([{}, {"within": "ever"}]) | intervals())
    if draw(st.booleans()):
        tree["where"] = draw(st.sampled_from(WHERE))
    if draw(st.integers(0, 3)) == 0:
        tree["ratio_to"] = draw(intervals())
        tree["count"] = draw(st.sampled_from([{"gte": "1.5"}, {"lt": "1"}, {"eq": "1"}, {"gt": "0.5"}]))
    elif draw(st.booleans()):
        tree["count"] = draw(st.sampled_from(COUNTS))
    return tree


def intervals() -> st.SearchStrategy[Tree]:
    return st.sampled_from(DURATIONS).map(lambda word: {"within": word}) | st.sampled_from(INTERVALS).map(
        lambda pair: {"between": pair}
    )


def times(names: Sequence[str]) -> st.SearchStrategy[Tree]:
    test = st.one_of(
        intervals(),
        st.sampled_from(DURATIONS).map(lambda word: {"older_than": word}),
        st.sampled_from(DATES).map(lambda day: {"after": day}),
        st.sampled_from(DATES).map(lambda day: {"before": day}),
    )
    return st.tuples(st.sampled_from(names), test).map(lambda pair: {"time": pair[0], **pair[1]})


@st.composite
def nested(draw: st.DrawFn, leaf: st.SearchStrategy[Tree], depth: int = 3) -> Tree:
    kind = draw(st.sampled_from(["", "", "all", "any", "not"])) if depth else ""
    if not kind:
        return draw(leaf)
    if kind == "not":
        return {"not": draw(nested(leaf, depth - 1))}
    return {kind: draw(st.lists(nested(leaf, depth - 1), min_size=1, max_size=3))}


def created(world: World, entity: str) -> list[str]:
    """`created_at` is a column of a table."""
    table = world.users if entity == "user" else world.accounts
    return ["first_seen", "last_seen", "last_active", *(["created_at"] if table is not None else [])]


def filters(world: World, model: str) -> st.SearchStrategy[Tree]:
    """Conditions for both entities."""
    both = [name for name in created(world, "user") if name in created(world, "account")]
    leaves = [events(world, model != "kpi"), times(both)]
    for entity in ("user", "account"):
        of = columns(world, entity)
        leaves += [] if of is None else [of]
    return nested(st.one_of(leaves))


def conditions(
    world: World, model: str, entity: str, names: Sequence[str], keys: Sequence[str]
) -> st.SearchStrategy[Tree]:
    """`names` are the levels of the profile, `keys` the audiences that a condition may refer to."""
    level = st.sampled_from(names)
    numeric = (*NUMERIC, "score_change_window", *(OF_ACCOUNTS if entity == "account" else ()))
    leaves: list[st.SearchStrategy[Tree]] = [
        events(world, model != "kpi"),
        times([*created(world, entity), "level_changed_on"]),
        st.tuples(st.sampled_from(numeric), comparisons(NUMBERS)).map(
            lambda pair: {"trait": pair[0], **pair[1]}
        ),
        words(names).map(lambda test: {"trait": "level", **test}),
        words(names).map(lambda test: {"trait": "level_previous", **test}),
        words(["New", "Cooling", "Neutral", "Heating", "Surging"]).map(
            lambda test: {"trait": "trend", **test}
        ),
        words(["Viewed", "Report"]).map(lambda test: {"trait": "drivers", **test}),
        st.fixed_dictionaries(
            {"within": st.sampled_from(["1d", "7d", "4w", "30d"])}, optional={"from": level, "to": level}
        ).map(lambda tree: {"level_change": tree}),
        st.sampled_from(keys).map(lambda key: {"audience": key}),
    ]
    of = columns(world, entity)
    leaves += [] if of is None else [of]
    if entity == "account":
        users = conditions(world, model, "user", names, ("all_active", "new", "passive"))
        leaves += [
            st.tuples(users, st.sampled_from([{"gte": "1"}, {"eq": "0"}, {"lt": "2"}])).map(
                lambda pair: {"users": pair[0], **pair[1]}
            ),
            st.tuples(users, st.sampled_from([{"gte": "50"}, {"eq": "0"}, {"lt": "100"}])).map(
                lambda pair: {"users": pair[0], "share": pair[1]}
            ),
        ]
    return nested(st.one_of(leaves))
