"""Touchpoints, the parts of `model: kpi`. Each counts events, or divides one count by another."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from heatsync.scoring.definition import value_types
from heatsync.scoring.definition.condition_parser import Where
from heatsync.scoring.definition.sections import Section, raise_problems

TOTAL_WEIGHT = Decimal(100)
TOLERANCE = Decimal("0.000001")
"""How far the sum of the weights may be from 100: a third is written as 33.333333."""

DEFAULT_TOUCHPOINTS: tuple[Mapping[str, Any], ...] = (
    {"name": "LinkedIn impressions", "event": "LinkedIn Ad Impression", "weight": "3"},
    {"name": "LinkedIn clicks", "event": "LinkedIn Ad Click", "weight": "10"},
    {"name": "LinkedIn leads", "event": "LinkedIn Lead Form Submitted", "weight": "17"},
    {
        "name": "LinkedIn click-through rate",
        "ratio": {"of": {"event": "LinkedIn Ad Click"}, "to": {"event": "LinkedIn Ad Impression"}},
        "weight": "5",
    },
    {
        "name": "LinkedIn form conversion rate",
        "ratio": {
            "of": {"event": "LinkedIn Lead Form Submitted"},
            "to": {"event": "LinkedIn Lead Form Opened"},
        },
        "weight": "5",
    },
    {"name": "Lead conversions from other channels", "event": "Lead Converted", "weight": "15"},
    {
        "name": "Leads added to Salesforce campaigns",
        "event": "Lead Added to Salesforce Campaign",
        "weight": "10",
    },
    {
        "name": "Visits to high-intent pages",
        "event": "Page Viewed",
        "where": {"page_type": {"eq": "high_intent"}},
        "weight": "15",
    },
    {
        "name": "Visits to other pages",
        "event": "Page Viewed",
        "where": {"page_type": {"neq": "high_intent"}},
        "weight": "5",
    },
    {"name": "Emails", "event": "Email Logged", "weight": "5"},
    {"name": "Calls", "event": "Call Logged", "weight": "10"},
)
"""Metadata's eleven touchpoints, as they would be written in a file. The names of events and the weights were chosen
here."""


def _names(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if not names:
        raise ValueError("expected an event or a list of events, found an empty list")
    found = tuple(value_types.word(name) for name in names)
    if "*" in found:
        raise ValueError("a touchpoint must list its events: `*` is not supported here")
    return tuple(sorted(set(found)))


def _weight(value: object) -> Decimal:
    number = value_types.decimal(value)
    if not 0 <= number <= TOTAL_WEIGHT:
        raise ValueError(f"expected a weight in percent, from 0 to 100, found `{number}`")
    return number


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


class EventSelection(Section):
    """Some events: all with these names, or those of them with certain properties."""

    events: Names = Field(alias="event")
    where: Where = ()


class Ratio(Section):
    """A ratio: the count `of` divided by the count `to`."""

    of: EventSelection
    to: EventSelection


class Touchpoint(Section):
    """A count of events, or a ratio of two counts, and its share of the score in percent."""

    name: value_types.Word
    weight: Annotated[Decimal, BeforeValidator(_weight)]
    event: Names | None = None
    where: Where = ()
    ratio: Ratio | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_kind(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("expected a touchpoint such as {name: Calls, event: Call Logged, weight: 10}")
        if ("event" in value) == ("ratio" in value):
            raise ValueError("expected a touchpoint with either `event` or `ratio`")
        if "ratio" in value and "where" in value:
            raise ValueError(
                "`where` belongs to each side of a ratio, as in"
                " {of: {event: Page Viewed, where: {page_type: {eq: demo}}}, to: {event: Page Viewed}}"
            )
        if isinstance(value.get("event"), str) and "name" not in value:
            return {**value, "name": value["event"]}
        return value

    @property
    def of(self) -> EventSelection:
        """The count; for a ratio, its numerator."""
        if self.ratio is not None:
            return self.ratio.of
        assert self.event is not None
        return EventSelection.model_construct(events=self.event, where=self.where)

    @property
    def to(self) -> EventSelection | None:
        """The denominator of a ratio; None for a count."""
        return self.ratio.to if self.ratio is not None else None


def _check_all(touchpoints: tuple[Touchpoint, ...]) -> tuple[Touchpoint, ...]:
    """The touchpoints sorted by name: their order in the file has no effect."""
    if not touchpoints:
        raise ValueError("expected touchpoints; remove `touchpoints` to use the eleven default ones")
    names = [touchpoint.name for touchpoint in touchpoints]
    raise_problems(
        ((position, "name"), f"`touchpoints` names `{name}` twice: rename one of them")
        for position, name in enumerate(names)
        if name in names[:position]
    )
    total = sum((touchpoint.weight for touchpoint in touchpoints), Decimal(0))
    if abs(total - TOTAL_WEIGHT) > TOLERANCE:
        off = (
            f"{plain_number(TOTAL_WEIGHT - total)} are missing"
            if total < TOTAL_WEIGHT
            else f"{plain_number(total - TOTAL_WEIGHT)} too many"
        )
        raise ValueError(
            f"the weights of the touchpoints add up to {plain_number(total)}, but must add up to 100: {off}."
            " `heatsync profile reset` restores the default ones"
        )
    return tuple(sorted(touchpoints, key=lambda touchpoint: touchpoint.name))


def yaml_line(touchpoint: Mapping[str, Any]) -> str:
    """A default touchpoint as one line of YAML."""
    inner = ", ".join(
        f"{key}: {yaml_line(value) if isinstance(value, Mapping) else value}"
        for key, value in touchpoint.items()
    )
    return f"{{{inner}}}"


def plain_number(number: Decimal) -> str:
    """The same text for 5, 5.0 and 5.00."""
    return f"{number.normalize():f}"


Touchpoints = Annotated[tuple[Touchpoint, ...], AfterValidator(_check_all)]
