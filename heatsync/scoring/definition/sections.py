"""A part of a profile's file, and complaints about places within it."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails

from heatsync.scoring.definition.condition_types import Route


class Section(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def raise_problems(faults: Iterable[tuple[Route, str]]) -> None:
    """Raises a ValidationError with a sentence for each place, counted from the value that is validated."""
    details = [
        InitErrorDetails(type="value_error", loc=route, input=None, ctx={"error": sentence})
        for route, sentence in faults
    ]
    if details:
        raise ValidationError.from_exception_data("file", details)
