"""The steps of an activation: an event done often enough, or a trait with a certain value."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from heatsync.scoring.definition import comparisons, value_types
from heatsync.scoring.definition.comparisons import OPERATORS, Comparison, Operator

_UNSUPPORTED = (
    "within",
    "where",
    "ratio_to",
    "all",
    "any",
    "not",
    "time",
    "users",
    "level_change",
    "audience",
)


def _names(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if not names:
        raise ValueError("expected an event or a list of events, found an empty list")
    found = tuple(value_types.word(name) for name in names)
    if "*" in found or "scored" in found:
        raise ValueError("a step must list its events: `*` and `scored` are not supported here")
    return found


def _at_least(value: object) -> int:
    key, inner = value_types.only_key(value, ("gte", "gt"), "a count (a step that is met stays met)")
    return value_types.positive(inner) if key == "gte" else max(1, value_types.whole(inner) + 1)


class Step(BaseModel):
    """`{event: NAME, count: {gte: N}}` or `{trait: user.plan, eq: pro}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: Annotated[tuple[str, ...], BeforeValidator(_names)] | None = None
    count: Annotated[int, BeforeValidator(_at_least)] = 1
    trait: value_types.Word | None = None
    eq: Any = None
    neq: Any = None
    gt: Any = None
    gte: Any = None
    lt: Any = None
    lte: Any = None
    between: Any = None
    in_: Any = Field(default=None, alias="in")
    not_in: Any = None
    contains: Any = None
    starts_with: Any = None
    exists: Any = None

    @model_validator(mode="before")
    @classmethod
    def _one_kind(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("expected a step such as {event: Report Created, count: {gte: 3}}")
        for key in _UNSUPPORTED:
            if key in value:
                raise ValueError(f"`{key}` is not supported in a step of the activation")
        operators = [key for key in value if key in OPERATORS]
        if ("event" in value) == ("trait" in value):
            raise ValueError("expected a step with either `event` or `trait`")
        if "event" in value and operators:
            raise ValueError(f"`{operators[0]}` belongs to a trait; an event has `count: {{gte: 3}}`")
        if "trait" in value and "count" in value:
            raise ValueError(
                "`count` belongs to an event; a trait is compared, as in {trait: user.plan, eq: pro}"
            )
        if "trait" in value and len(operators) != 1:
            raise ValueError(f"expected one comparison of the trait: {', '.join(OPERATORS)}")
        return value

    @property
    def operator(self) -> Operator | None:
        """The operator of a trait step; None for an event step."""
        given = {name.rstrip("_") for name in self.model_fields_set}
        return next((operator for operator in OPERATORS if operator in given), None)

    @property
    def value(self) -> Any:
        """The value that the trait is compared with, as written."""
        return getattr(self, "in_" if self.operator == "in" else str(self.operator))

    def column_of(self, entity: str) -> tuple[str, str]:
        """The table (`user` or `account`) and the column that a trait step of an entity reads."""
        assert self.trait is not None
        table, dot, column = self.trait.partition(".")
        return (table, column) if dot and table in ("user", "account") else (entity, self.trait)

    def canonical(self) -> dict[str, Any]:
        """The step in one form for all that mean the same, for hashing."""
        if self.event is not None:
            return {"event": sorted(self.event), "count": self.count}
        return {"trait": self.trait, str(self.operator): self.value}

    @property
    def comparison(self) -> Comparison:
        """The comparison of a trait step. Raises ValueError for an invalid value."""
        assert self.operator is not None
        return comparisons.read(self.operator, self.value)

    def sql(self, column: str, kind: str) -> str:
        """The comparison in DuckDB's dialect: true or false, and false when the trait is missing (NULL, NaN or an
        empty text).

        `column` is an SQL name, `kind` its DuckDB type. Raises ValueError when the two cannot be compared.
        """
        assert self.trait is not None
        return comparisons.sql(self.comparison, self.trait, column, kind)
