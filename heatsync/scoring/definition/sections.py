"""The base of the parts of a profile's file, and how to report problems in them."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails

from heatsync.scoring.definition.condition_types import Route


class Section(BaseModel):
    """A part of a file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def raise_problems(problems: Iterable[tuple[Route, str]]) -> None:
    """Raises ValidationError with all problems, each a path (from the value that is validated) and a message; returns
    without any."""
    details = [
        InitErrorDetails(type="value_error", loc=route, input=None, ctx={"error": message})
        for route, message in problems
    ]
    if details:
        raise ValidationError.from_exception_data("file", details)
