"""A profile: how a score is computed. The model of a file in mappings/profiles.

Values are texts, as written. Problems raise ValidationError; `loc` is the path to the value.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from heatsync.scoring.definition import condition_types, value_types
from heatsync.scoring.definition.activation import Step
from heatsync.scoring.definition.builtin_audiences import Audience, builtin_audiences
from heatsync.scoring.definition.condition_parser import WrittenFilter
from heatsync.scoring.definition.condition_types import Condition, Route
from heatsync.scoring.definition.levels import Levels
from heatsync.scoring.definition.sections import Section, raise_problems
from heatsync.scoring.definition.signals import Signals
from heatsync.scoring.definition.touchpoints import (
    DEFAULT_TOUCHPOINTS,
    EventSelection,
    Touchpoints,
    plain_number,
)

REVISION = 1
"""Increased when the same profile would give other numbers; snapshots of an older revision are computed again."""
MODELS = ("weighted", "kpi", "engagement")
TIERS: Mapping[str, int] = {"advanced": 8, "core": 5, "common": 2}
MAX_STEPS = 60
"""The most steps of one entity: they are stored as the bits of a number."""

MODEL_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "weighted": {"window": "7d"},
    "kpi": {
        "window": "90d",
        "decay": {"half_life": "30d"},
        "events": [],
        "touchpoints": [dict(each) for each in DEFAULT_TOUCHPOINTS],
    },
    "engagement": {"window": "30d"},
}
"""By model, the values of keys that are left out, as they would be written in a file."""
MODEL_KEYS = {
    "rollup": ("weighted", "remove it: an account is scored by its own events"),
    "touchpoints": ("kpi", "remove it, or write `model: kpi`"),
}
"""Keys that belong to one model, and what to do with them in another one."""


def _format(value: object) -> str:
    if (found := value_types.text(value)) != "1":
        raise ValueError(f"this version of heatsync reads format version 1, not `{found}`")
    return found


def _title(value: object) -> str:
    found = value_types.word(value)
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_ ]*", found, re.ASCII) is None:
        raise ValueError(
            f"expected a name of letters, digits, spaces and _ with a letter first (it becomes part of"
            f" field names), found `{found}`"
        )
    return found


def _model(value: object) -> str:
    return value_types.one_of(value, MODELS, "a model")


def _tier(value: object) -> str:
    return value_types.one_of(value, TIERS, "a tier")


class Event(Section):
    """What one event is worth. Without weight and tier it only marks the event as passive."""

    event: value_types.Word
    weight: value_types.Weight = Decimal(0)
    tier: Annotated[Literal["advanced", "core", "common"] | None, BeforeValidator(_tier)] = None
    passive: value_types.Flag = False
    per_day: value_types.Positive | None = None
    per_window: value_types.Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_weight(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("expected an event such as {event: Report Created, weight: 8}")
        if "weight" in value and "tier" in value:
            raise ValueError("expected `weight` or `tier`, found both: a tier is a weight")
        if value.get("tier") in TIERS:
            return {**value, "weight": str(TIERS[value["tier"]])}
        return value

    @property
    def rank(self) -> str:
        """The tier of the weight; empty for a weight of 0."""
        if self.weight >= 7:
            return "advanced"
        return "core" if self.weight >= 4 else "common" if self.weight > 0 else ""


class Activation(Section):
    user: Annotated[tuple[Step, ...], Field(max_length=MAX_STEPS)] = ()
    account: Annotated[tuple[Step, ...], Field(max_length=MAX_STEPS)] = ()


@dataclass(frozen=True, slots=True)
class Normalize:
    """How a raw score becomes 0-100. `target` is the fixed benchmark of `{target: R0}`."""

    kind: Literal["exponential", "winsor", "percentile", "target"] = "exponential"
    target: Decimal | None = None


def _normalize(value: object) -> Normalize:
    kinds: tuple[Literal["exponential", "winsor", "percentile"], ...] = (
        "exponential",
        "winsor",
        "percentile",
    )
    if isinstance(value, str):
        found = value_types.one_of(value, (*kinds, "target: 50"), "a way to normalize")
        for kind in kinds:
            if kind == found:
                return Normalize(kind)
        raise ValueError("`target` needs a number, as in {target: 50}")
    _, inner = value_types.only_key(value, ("target",), "a way to normalize")
    target = value_types.decimal(inner)
    if target <= 0:
        raise ValueError(f"expected a target above 0, found `{target}`")
    return Normalize("target", target)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What a raw score is measured against. `day` is the date of `{frozen: DATE}`."""

    kind: Literal["smoothed", "rolling", "frozen"] = "smoothed"
    day: date | None = None


def _benchmark(value: object) -> Benchmark:
    if isinstance(value, str):
        found = value_types.one_of(value, ("smoothed", "rolling", "frozen"), "a benchmark")
        if found == "frozen":
            raise ValueError("`frozen` needs a date, as in {frozen: 2026-01-31}")
        return Benchmark("rolling" if found == "rolling" else "smoothed")
    _, inner = value_types.only_key(value, ("frozen",), "a benchmark")
    return Benchmark("frozen", value_types.day(inner))


@dataclass(frozen=True, slots=True)
class Decay:
    """How much an event counts after some days: half after `days` (half_life), or linearly down to nothing after
    `days`."""

    kind: Literal["none", "half_life", "linear"] = "none"
    days: int = 0


def _decay(value: object) -> Decay:
    if isinstance(value, str):
        found = value_types.one_of(value, ("none", "half_life", "linear"), "a decay")
        if found != "none":
            raise ValueError(f"`{found}` needs a number of days, as in {{{found}: 14d}}")
        return Decay()
    key, inner = value_types.only_key(value, ("half_life", "linear"), "a decay")
    return Decay("half_life" if key == "half_life" else "linear", value_types.days(inner))


def _ship(value: object) -> Mapping[str, bool]:
    """`{key: true}` adds to the shipped audiences, `{key: false}` removes from them."""
    if not isinstance(value, dict):
        raise ValueError("expected built-in audiences such as {red_hot: false, level_high: true}")
    return {value_types.word(key): value_types.flag(shipped) for key, shipped in value.items()}


class Profile(Section):
    """Everything in a profile's file. `window` is in days. In `model: kpi`, `events` only say which events are
    passive; `touchpoints` belong to that model alone."""

    format: Annotated[str, BeforeValidator(_format)] = Field(alias="version")
    name: Annotated[str, BeforeValidator(_title)]
    model: Annotated[Literal["weighted", "kpi", "engagement"], BeforeValidator(_model)] = "weighted"
    window: value_types.Days = 7
    filter: WrittenFilter | None = None
    events: tuple[Event, ...]
    touchpoints: Touchpoints = ()
    signals: Signals = ()
    activation: Activation = Activation()
    normalize: Annotated[Normalize, BeforeValidator(_normalize)] = Normalize()
    benchmark: Annotated[Benchmark, BeforeValidator(_benchmark)] = Benchmark()
    decay: Annotated[Decay, BeforeValidator(_decay)] = Decay()
    rollup: Annotated[
        Literal["average", "total", "pooled"],
        BeforeValidator(lambda value: value_types.one_of(value, ("average", "total", "pooled"), "a rollup")),
    ] = "average"
    levels: Levels = Levels()
    ship: Annotated[Mapping[str, bool], BeforeValidator(_ship)] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _add_defaults(cls, value: Any) -> Any:
        """Add the model's values for keys that are left out."""
        if not isinstance(value, dict):
            return value
        model = value.get("model", "weighted")
        if model not in MODELS or (model != "kpi" and "touchpoints" in value):
            # Other missing keys would only repeat this problem.
            return {"events": [], **value}
        tree = {**MODEL_DEFAULTS[model], **value}
        if model == "engagement" and isinstance(tree.get("events"), list):
            tree["events"] = [_action(event) for event in tree["events"]]
        return tree

    @model_validator(mode="after")
    def _check_combinations(self, info: ValidationInfo) -> "Profile":
        # What depends on an invalid value cannot be checked.
        unread = {route[0] for route in (info.context or {}).get("unread", ())}
        if "model" not in unread:
            unshipped = () if "levels" in unread else self._unknown_ships()
            raise_problems([*self._keys_of_other_models(), *self._duplicate_events(), *unshipped])
        return self

    def _keys_of_other_models(self) -> Iterator[tuple[Route, str]]:
        """Keys that do not fit the model."""
        here = f"`model: {self.model}`" + (
            "" if "model" in self.model_fields_set else " (no `model` is named)"
        )
        for key, (model, cure) in MODEL_KEYS.items():
            if key in self.model_fields_set and self.model != model:
                yield (key,), f"`{key}` belongs to `model: {model}`, and this is {here}: {cure}"
        if self.levels.churn and self.model != "engagement":
            yield (
                ("levels", "churn"),
                f"`churn` levels need `model: engagement`, and this is {here}: use `levels: {{bands: {{...}}}}`",
            )
        if self.model == "kpi":
            yield from self._only_passive()
            return
        for position, event in enumerate(self.events):
            place = ("events", position)
            if self.model == "weighted" and "weight" not in event.model_fields_set and not event.passive:
                yield place, "expected a `weight` from 0 to 10 or a `tier`: advanced, core or common"
            if self.model == "engagement" and event.per_window is not None:
                yield (
                    (*place, "per_window"),
                    f"`per_window` belongs to `model: weighted`, and this is {here}: remove it, or use `per_day`",
                )
        bare = any("weight" not in event.model_fields_set and not event.passive for event in self.events)
        if not self.scored and not bare and "touchpoints" not in self.model_fields_set:
            yield ("events",), "`events` has no event with a weight above 0: nothing would be scored"

    def _only_passive(self) -> Iterator[tuple[Route, str]]:
        """Keys of `events` that have no meaning in `model: kpi`."""
        meaning = "its `touchpoints` say what counts, and `events` only which events are passive"
        if not all(event.passive for event in self.events):
            yield (
                ("events",),
                f"this is `model: kpi`: {meaning}, as in {{event: Logged In, passive: true}}; remove the others",
            )
            return
        for position, event in enumerate(self.events):
            for key in ("tier", "weight", "per_day", "per_window"):
                if key in event.model_fields_set and not (key == "weight" and event.tier is not None):
                    yield ("events", position, key), f"`{key}` has no effect in `model: kpi`: {meaning}"

    def _duplicate_events(self) -> Iterator[tuple[Route, str]]:
        names = [event.event for event in self.events]
        for position, name in enumerate(names):
            if name in names[:position]:
                yield ("events", position, "event"), f"`events` names `{name}` twice: keep one of them"

    def _unknown_ships(self) -> Iterator[tuple[Route, str]]:
        known = {
            audience.key for entity in ("user", "account") for audience in self.builtin_audiences(entity)
        }
        for key in self.ship:
            if key not in known:
                yield (
                    ("ship", key),
                    f"`ship`: `{key}` is not a built-in audience{value_types.suggest(key, known)}",
                )

    def builtin_audiences(self, entity: str) -> tuple[Audience, ...]:
        """The built-in audiences of an entity (`user` or `account`), sorted by key."""
        return builtin_audiences(entity, window=self.window, levels=self.levels.names, ship=self.ship)

    @property
    def score_name(self) -> str:
        """{scoreName} in the names of traits."""
        return self.name.replace(" ", "")

    @property
    def scored(self) -> tuple[Event, ...]:
        """The events with a weight above 0, sorted by name; the position is the event's bit in a set of events. Empty
        in `model: kpi`."""
        return tuple(
            sorted((event for event in self.events if event.weight > 0), key=lambda event: event.event)
        )

    @property
    def passive(self) -> tuple[str, ...]:
        """The passive events, sorted."""
        return tuple(sorted(event.event for event in self.events if event.passive))

    @property
    def warnings(self) -> tuple[tuple[Route, str], ...]:
        """The path to a value, and a warning about it."""
        count = len(self.scored)
        if self.model != "weighted" or 5 <= count <= 20:
            return ()
        amount = "only " if count < 5 else ""
        return ((("events",), f"{amount}{count} scored events: 10 to 20 are recommended"),)

    @property
    def version(self) -> str:
        """A hash of everything that changes the numbers of a snapshot."""
        canonical = json.dumps(self._canonical(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def _canonical(self) -> dict[str, Any]:
        return {
            "revision": REVISION,
            "model": self.model,
            "window": self.window,
            "filter": None if self.filter is None else condition_types.canonical(self.filter),
            "events": [
                [event.event, plain_number(event.weight), event.passive, event.per_day, event.per_window]
                for event in sorted(self.events, key=lambda event: event.event)
            ],
            "touchpoints": [
                [
                    each.name,
                    plain_number(each.weight),
                    _canonical_selection(each.of),
                    each.to and _canonical_selection(each.to),
                ]
                for each in self.touchpoints
            ],
            "signals": [
                [each.trait, plain_number(each.low), plain_number(each.high), plain_number(each.weight)]
                for each in sorted(self.signals, key=lambda signal: signal.trait)
            ],
            "activation": {
                entity: sorted(
                    (step.canonical() for step in steps), key=lambda step: json.dumps(step, sort_keys=True)
                )
                for entity, steps in (("user", self.activation.user), ("account", self.activation.account))
            },
            "normalize": [self.normalize.kind, self.normalize.target and plain_number(self.normalize.target)],
            "benchmark": [
                self.benchmark.kind,
                self.benchmark.day.isoformat() if self.benchmark.day else None,
            ],
            "decay": [self.decay.kind, self.decay.days],
            "rollup": self.rollup,
            "levels": [self.levels.kind, self.levels.bands, self.levels.hysteresis],
            "ship": dict(self.ship),
        }


def _action(event: Any) -> Any:
    """In `model: engagement`, an event without weight and tier counts once."""
    if isinstance(event, dict) and event.get("passive") != "true" and not event.keys() & {"weight", "tier"}:
        return {**event, "weight": "1"}
    return event


def _canonical_selection(counted: EventSelection) -> Any:
    condition: Condition = condition_types.Events(counted.events, where=counted.where)
    return condition_types.canonical(condition)
