"""Signals: answers and judgements of people that no event carries. Each is a column of the users or accounts table."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from heatsync.scoring.definition import value_types
from heatsync.scoring.definition.sections import Section, raise_problems

MAX_WEIGHT = 50
"""The most percent of a score that all signals together may make up."""


def _weight(value: object) -> Decimal:
    number = value_types.decimal(value)
    if not 0 < number <= MAX_WEIGHT:
        raise ValueError(f"expected a weight in percent above 0, and at most {MAX_WEIGHT}, found `{number}`")
    return number


class Signal(Section):
    """A number that gives 0 points at `low` and 100 at `high`, and its share of the score in percent."""

    trait: value_types.Word
    low: Annotated[Decimal, BeforeValidator(value_types.decimal)] = Field(alias="from")
    high: Annotated[Decimal, BeforeValidator(value_types.decimal)] = Field(alias="to")
    weight: Annotated[Decimal, BeforeValidator(_weight)]

    @model_validator(mode="after")
    def _check_range(self) -> "Signal":
        if self.low == self.high:
            raise_problems([(("to",), f"`from` and `to` are both {self.high}: they must differ")])
        return self

    def column_of(self, entity: str) -> tuple[str, str] | None:
        """The table (`user` or `account`) and the column of the signal, for an entity; a bare name is a column of the
        entity's own table. None: an account has no value from a single user."""
        table, dot, column = self.trait.partition(".")
        if not dot or table not in ("user", "account"):
            return entity, self.trait
        return None if (entity, table) == ("account", "user") else (table, column)


def _check_all(signals: tuple[Signal, ...]) -> tuple[Signal, ...]:
    names = [signal.trait for signal in signals]
    raise_problems(
        ((position, "trait"), f"`signals` names `{name}` twice: keep one of them")
        for position, name in enumerate(names)
        if name in names[:position]
    )
    total = sum(signal.weight for signal in signals)
    if total > MAX_WEIGHT:
        raise ValueError(
            f"the weights of the signals add up to {total}; the most is {MAX_WEIGHT}:"
            " a score must mainly depend on activity"
        )
    return signals


Signals = Annotated[tuple[Signal, ...], AfterValidator(_check_all)]
