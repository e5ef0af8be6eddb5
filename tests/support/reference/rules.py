"""A profile's file, parsed into what the definitions need."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any

from .log import Event
from .numbers import compare, days, truth

Tree = Mapping[str, Any]
TIERS = {"advanced": 8.0, "core": 5.0, "common": 2.0}
BANDS = {"Low": 0, "Medium": 25, "High": 50, "Very High": 75}
WINDOWS = {"weighted": "7d", "kpi": "90d", "engagement": "30d"}


@dataclass(frozen=True)
class Counted:
    """The events that a touchpoint counts."""

    names: frozenset[str]
    where: tuple[tuple[str, str, Any], ...]

    def has(self, event: Event) -> bool:
        return event.name in self.names and all(
            compare(operator, wanted, event.property(name)) for name, operator, wanted in self.where
        )


@dataclass(frozen=True)
class Touchpoint:
    name: str
    weight: float
    of: Counted
    to: Counted | None


@dataclass(frozen=True)
class Signal:
    trait: str
    low: float
    high: float
    share: float


class Rules:
    def __init__(self, tree: Tree) -> None:
        self.model = tree.get("model", "weighted")
        self.window = days(tree.get("window", WINDOWS[self.model]))
        self.weights: dict[str, float] = {}
        self.passive: set[str] = set()
        self.per_day: dict[str, float] = {}
        self.per_window: dict[str, float] = {}
        for entry in tree.get("events", []):
            name = entry["event"]
            weight = TIERS[entry["tier"]] if "tier" in entry else float(entry.get("weight", 0))
            if weight > 0:
                self.weights[name] = weight
            if truth(entry.get("passive")):
                self.passive.add(name)
            self.per_day[name] = float(entry.get("per_day", math.inf))
            self.per_window[name] = float(entry.get("per_window", math.inf))
        self.touchpoints = [_touchpoint(entry) for entry in tree.get("touchpoints", [])]
        self.signals = [
            Signal(
                str(each["trait"]),
                float(each["from"]),
                float(each["to"]),
                float(Fraction(str(each["weight"])) / 100),
            )
            for each in tree.get("signals", [])
        ]
        self.filter: Tree | None = tree.get("filter")
        activation = tree.get("activation", {})
        self.steps = {entity: list(activation.get(entity, [])) for entity in ("user", "account")}
        normalize = tree.get("normalize", "exponential")
        self.target = float(normalize["target"]) if isinstance(normalize, Mapping) else None
        self.normalize = "exponential" if isinstance(normalize, Mapping) else normalize
        benchmark = tree.get("benchmark", "smoothed")
        self.frozen = date.fromisoformat(benchmark["frozen"]) if isinstance(benchmark, Mapping) else None
        self.benchmark = "frozen" if isinstance(benchmark, Mapping) else benchmark
        self.decay = tree.get("decay", {"half_life": "30d"} if self.model == "kpi" else "none")
        self.rollup = tree.get("rollup", "average")
        levels = tree.get("levels", {})
        if isinstance(levels, str):
            levels = {levels: "true"}
        self.churn = truth(levels.get("churn"))
        self.hysteresis = truth(levels.get("hysteresis"))
        bands = levels.get("bands", BANDS)
        self.bands = sorted((int(low), name) for name, low in bands.items())
        self.ship = {key: truth(value) for key, value in tree.get("ship", {}).items()}

    @property
    def level_names(self) -> list[str]:
        return ["None", "Low", "Medium", "High"] if self.churn else [name for _, name in self.bands]

    @property
    def history(self) -> int:
        """How many days before a scored day a first run stores."""
        return max(30, self.window)

    def factor(self, age: int) -> float:
        """The weight of an event after whole days of age."""
        if self.decay == "none":
            return 1.0
        if isinstance(self.decay, Mapping):
            if "half_life" in self.decay:
                return float(2 ** (-age / days(self.decay["half_life"])))
            return max(0.0, 1 - age / days(self.decay["linear"]))
        raise ValueError(self.decay)

    def scores(self, event: Event) -> bool:
        """Whether an event is scored: it has a weight, or belongs to a touchpoint with one."""
        if self.model == "kpi":
            return any(point.weight > 0 and point.of.has(event) for point in self.touchpoints)
        return event.name in self.weights

    def tier(self, name: str) -> str | None:
        weight = self.weights.get(name, 0.0)
        return next(
            (tier for low, tier in ((7, "advanced"), (4, "core")) if weight >= low),
            "common" if weight else None,
        )


def _touchpoint(entry: Tree) -> Touchpoint:
    ratio = entry.get("ratio")
    of = _counted(ratio["of"] if ratio else entry)
    to = _counted(ratio["to"]) if ratio else None
    return Touchpoint(str(entry["name"]), float(entry["weight"]), of, to)


def _counted(entry: Tree) -> Counted:
    names = entry["event"]
    return Counted(frozenset([names] if isinstance(names, str) else names), where(entry.get("where", {})))


def where(tree: Tree) -> tuple[tuple[str, str, Any], ...]:
    """Property, operator and value, of `{property: {OP: value}}`."""
    return tuple(
        (name, operator, tuple(value) if isinstance(value, list) else value)
        for name, each in tree.items()
        for operator, value in each.items()
    )
