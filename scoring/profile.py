"""A profile: how a score is computed. The file under mappings/profiles, parsed.

Values arrive as text, as they were typed. What is wrong is a ValidationError; its `loc` is the way to the value.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scoring import scalars
from scoring.audiences import builtin
from scoring.steps import Step

REVISION = 1
"""Grows when the same profile would give other numbers; snapshots of an older one are computed again."""
TIERS: Mapping[str, int] = {"advanced": 8, "core": 5, "common": 2}
BANDS = (("Low", 0), ("Medium", 25), ("High", 50), ("Very High", 75))
"""Metadata's names; the bounds were chosen here."""
MOST_STEPS = 60
"""Steps of one entity: they are kept as the bits of a number."""


def _later(what: str) -> BeforeValidator:
    def refuse(_: object) -> object:
        raise ValueError(f"{what} is not available in this version: take it out")

    return BeforeValidator(refuse)


def _format(value: object) -> str:
    if (found := scalars.text(value)) != "1":
        raise ValueError(f"this heatsync reads version 1, not `{found}`")
    return found


def _title(value: object) -> str:
    found = scalars.word(value)
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_ ]*", found, re.ASCII) is None:
        raise ValueError(
            f"expected a name of letters, digits, spaces and _ with a letter first (it becomes part of"
            f" field names), found `{found}`"
        )
    return found


def _model(value: object) -> str:
    found = scalars.one_of(value, ("weighted", "kpi", "engagement"), "a model")
    if found != "weighted":
        raise ValueError(f"`model: {found}` is not available in this version: use `weighted`")
    return found


def _tier(value: object) -> str:
    return scalars.one_of(value, TIERS, "a tier")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Event(Section):
    """What one event is worth. Without weight and tier it only says that the event is passive."""

    event: scalars.Word
    weight: scalars.Weight = Decimal(0)
    tier: Annotated[Literal["advanced", "core", "common"] | None, BeforeValidator(_tier)] = None
    passive: scalars.Flag = False
    per_day: scalars.Positive | None = None
    per_window: scalars.Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_weight(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("expected an event such as {event: Report Created, weight: 8}")
        if "weight" in value and "tier" in value:
            raise ValueError("expected `weight` or `tier`, found both: a tier stands for a weight")
        if "weight" not in value and "tier" not in value and value.get("passive") != "true":
            raise ValueError("expected a `weight` from 0 to 10 or a `tier`: advanced, core or common")
        if value.get("tier") in TIERS:
            return {**value, "weight": str(TIERS[value["tier"]])}
        return value

    @property
    def rank(self) -> str:
        """The tier that the weight lies in; empty for a weight of 0."""
        if self.weight >= 7:
            return "advanced"
        return "core" if self.weight >= 4 else "common" if self.weight > 0 else ""


class Activation(Section):
    user: Annotated[tuple[Step, ...], Field(max_length=MOST_STEPS)] = ()
    account: Annotated[tuple[Step, ...], Field(max_length=MOST_STEPS)] = ()


@dataclass(frozen=True, slots=True)
class Normalize:
    """How a raw score becomes 0-100; `target` is the fixed benchmark of `{target: R0}`."""

    kind: Literal["exponential", "winsor", "percentile", "target"] = "exponential"
    target: Decimal | None = None


def _normalize(value: object) -> Normalize:
    kinds: tuple[Literal["exponential", "winsor", "percentile"], ...] = (
        "exponential",
        "winsor",
        "percentile",
    )
    if isinstance(value, str):
        found = scalars.one_of(value, (*kinds, "target: 50"), "a way to normalize")
        for kind in kinds:
            if kind == found:
                return Normalize(kind)
        raise ValueError("`target` wants its number, as in {target: 50}")
    _, inner = scalars.only_key(value, ("target",), "a way to normalize")
    target = scalars.decimal(inner)
    if target <= 0:
        raise ValueError(f"expected a target above 0, found `{target}`")
    return Normalize("target", target)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What a raw score is measured against; `day` is that of `{frozen: DATE}`."""

    kind: Literal["smoothed", "rolling", "frozen"] = "smoothed"
    day: date | None = None


def _benchmark(value: object) -> Benchmark:
    if isinstance(value, str):
        found = scalars.one_of(value, ("smoothed", "rolling", "frozen"), "a benchmark")
        if found == "frozen":
            raise ValueError("`frozen` wants its date, as in {frozen: 2026-01-31}")
        return Benchmark("rolling" if found == "rolling" else "smoothed")
    _, inner = scalars.only_key(value, ("frozen",), "a benchmark")
    return Benchmark("frozen", scalars.day(inner))


@dataclass(frozen=True, slots=True)
class Decay:
    """How much an event counts after some days: half after `days`, or nothing from `days` on."""

    kind: Literal["none", "half_life", "linear"] = "none"
    days: int = 0


def _decay(value: object) -> Decay:
    if isinstance(value, str):
        found = scalars.one_of(value, ("none", "half_life", "linear"), "a decay")
        if found != "none":
            raise ValueError(f"`{found}` wants its days, as in {{{found}: 14d}}")
        return Decay()
    key, inner = scalars.only_key(value, ("half_life", "linear"), "a decay")
    return Decay("half_life" if key == "half_life" else "linear", scalars.days(inner))


def _bands(value: object) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, dict) or not value:
        raise ValueError("expected levels with their lower bounds such as {Low: 0, High: 50}")
    bands: dict[int, str] = {}
    keys: dict[str, str] = {}
    for name, bound in value.items():
        low = scalars.whole(bound)
        if not 0 <= low <= 100:
            raise ValueError(f"`{name}`: expected a lower bound from 0 to 100, found `{low}`")
        if low in bands:
            raise ValueError(f"`{bands[low]}` and `{name}` both begin at {low}")
        key = scalars.snake(name)
        if not key or key in keys:
            other = (
                f"`{keys[key]}` and `{name}` are too much alike"
                if key
                else f"`{name}` has no letter or digit"
            )
            raise ValueError(
                f"{other}: the name of a level is also that of its audience, `level_{key or '...'}`"
            )
        bands[low], keys[key] = name, name
    return tuple((bands[low], low) for low in sorted(bands))


class Levels(Section):
    """Names and lower bounds on the shown score, the lowest first. Below the first there is no level."""

    bands: Annotated[tuple[tuple[str, int], ...], BeforeValidator(_bands)] = BANDS
    hysteresis: Annotated[None, _later("`hysteresis`")] = None

    @model_validator(mode="before")
    @classmethod
    def _kind(cls, value: Any) -> Any:
        if value == "churn":
            raise ValueError("`levels: churn` is not available in this version: use `levels: {bands: {...}}`")
        if not isinstance(value, dict):
            raise ValueError("expected levels as {bands: {Low: 0, High: 50}}")
        return value


def _ship(value: object) -> Mapping[str, bool]:
    """`{key: true}` adds to the audiences that are shipped, `{key: false}` takes away."""
    if not isinstance(value, dict):
        raise ValueError("expected built-in audiences such as {red_hot: false, level_high: true}")
    return {scalars.word(key): scalars.flag(shipped) for key, shipped in value.items()}


class Profile(Section):
    """Everything that a profile's file says. `window` is in days."""

    format: Annotated[str, BeforeValidator(_format)] = Field(alias="version")
    name: Annotated[str, BeforeValidator(_title)]
    model: Annotated[Literal["weighted"], BeforeValidator(_model)] = "weighted"
    window: scalars.Days = 7
    events: tuple[Event, ...]
    activation: Activation = Activation()
    normalize: Annotated[Normalize, BeforeValidator(_normalize)] = Normalize()
    benchmark: Annotated[Benchmark, BeforeValidator(_benchmark)] = Benchmark()
    decay: Annotated[Decay, BeforeValidator(_decay)] = Decay()
    rollup: Annotated[
        Literal["average", "total", "pooled"],
        BeforeValidator(lambda value: scalars.one_of(value, ("average", "total", "pooled"), "a rollup")),
    ] = "average"
    levels: Levels = Levels()
    ship: Annotated[Mapping[str, bool], BeforeValidator(_ship)] = Field(default_factory=dict)
    filter: Annotated[None, _later("`filter`")] = None
    signals: Annotated[None, _later("`signals`")] = None
    touchpoints: Annotated[None, _later("`touchpoints` (of `model: kpi`)")] = None

    @model_validator(mode="after")
    def _whole(self) -> "Profile":
        names = [event.event for event in self.events]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"`events` names `{twice}` twice: keep one of them")
        if not self.scored:
            raise ValueError("`events` has none with a weight above 0: nothing would be scored")
        if self.decay.kind == "linear" and self.decay.days < 1:
            raise ValueError("`decay` wants at least one day")
        known = {audience.key for entity in ("user", "account") for audience in builtin(self, entity)}
        for key in self.ship:
            if key not in known:
                raise ValueError(f"`ship`: `{key}` is not a built-in audience{scalars.suggest(key, known)}")
        return self

    @property
    def score_name(self) -> str:
        """{scoreName} of the trait names."""
        return self.name.replace(" ", "")

    @property
    def scored(self) -> tuple[Event, ...]:
        """The events with a weight above 0, by name: their place here is their bit in a set of events."""
        return tuple(
            sorted((event for event in self.events if event.weight > 0), key=lambda event: event.event)
        )

    @property
    def passive(self) -> tuple[str, ...]:
        return tuple(sorted(event.event for event in self.events if event.passive))

    @property
    def warnings(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """The way to a value, and what is doubtful about it."""
        count = len(self.scored)
        if 5 <= count <= 20:
            return ()
        amount = "only " if count < 5 else ""
        return ((("events",), f"{amount}{count} scored events: a profile wants 10 to 20"),)

    @property
    def version(self) -> str:
        """A hash of everything that changes the numbers of a snapshot."""
        canonical = json.dumps(self._meaning(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def _meaning(self) -> dict[str, Any]:
        return {
            "revision": REVISION,
            "model": self.model,
            "window": self.window,
            "events": [
                [event.event, _plain(event.weight), event.passive, event.per_day, event.per_window]
                for event in sorted(self.events, key=lambda event: event.event)
            ],
            "activation": {
                entity: sorted(
                    (step.meaning() for step in steps), key=lambda step: json.dumps(step, sort_keys=True)
                )
                for entity, steps in (("user", self.activation.user), ("account", self.activation.account))
            },
            "normalize": [self.normalize.kind, _plain(self.normalize.target)],
            "benchmark": [
                self.benchmark.kind,
                self.benchmark.day.isoformat() if self.benchmark.day else None,
            ],
            "decay": [self.decay.kind, self.decay.days],
            "rollup": self.rollup,
            "levels": self.levels.bands,
            "ship": dict(self.ship),
        }


def _plain(number: Decimal | None) -> str | None:
    """The same text for 5, 5.0 and 5.00."""
    return None if number is None else f"{number.normalize():f}"
