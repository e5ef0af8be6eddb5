"""The levels of a profile: bands of the shown score, or levels learned from churn."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from heatsync.scoring.definition import value_types
from heatsync.scoring.definition.sections import Section, raise_problems

BANDS = (("Low", 0), ("Medium", 25), ("High", 50), ("Very High", 75))
"""The names that Metadata uses; the bounds were chosen here."""
CHURN = ("None", "Low", "Medium", "High")
"""The names that InnerTrends uses."""


def _bands(value: object) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, dict) or not value:
        raise ValueError("expected levels with their lower bounds such as {Low: 0, High: 50}")
    bands: dict[int, str] = {}
    keys: dict[str, str] = {}
    problems: list[tuple[tuple[str], str]] = []
    for name, bound in value.items():
        try:
            low = value_types.whole(bound)
        except ValueError as error:
            problems.append(((name,), str(error)))
            continue
        key = value_types.snake(name)
        if not 0 <= low <= 100:
            problems.append(((name,), f"`{name}`: expected a lower bound from 0 to 100, found `{low}`"))
        elif low in bands:
            problems.append(((name,), f"`{bands[low]}` and `{name}` both begin at {low}"))
        elif not key or key in keys:
            other = (
                f"`{keys[key]}` and `{name}` are too similar" if key else f"`{name}` has no letter or digit"
            )
            own = f"level_{key or '...'}"
            problems.append(((name,), f"{other}: a level's name is also the name of its audience, `{own}`"))
        else:
            bands[low], keys[key] = name, name
    raise_problems(problems)
    return tuple((bands[low], low) for low in sorted(bands))


class Levels(Section):
    """`bands` are names and lower bounds of the shown score, the lowest first; a score below the first has no level.
    With `churn` there are no bands. With `hysteresis`, an entity leaves its level only when the score is clearly
    beyond the bound."""

    churn: value_types.Flag = False
    bands: Annotated[tuple[tuple[str, int], ...], BeforeValidator(_bands)] = Field(
        default_factory=lambda read: () if read.get("churn") else BANDS
    )
    hysteresis: value_types.Flag = False

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            found = value_types.one_of(value, ("churn", "bands"), "a kind of levels")
            return {"churn": "true"} if found == "churn" else {}
        if not isinstance(value, dict):
            raise ValueError("expected levels as {bands: {Low: 0, High: 50}} or churn")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> "Levels":
        if self.churn and self.bands:
            raise_problems(
                [(("bands",), "expected `bands` or `churn: true`, found both: learned levels have no bands")]
            )
        return self

    @property
    def kind(self) -> Literal["bands", "churn"]:
        """Whether levels are bands of the score or learned from churn."""
        return "churn" if self.churn else "bands"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the levels, the lowest first."""
        return CHURN if self.churn else tuple(name for name, _ in self.bands)
