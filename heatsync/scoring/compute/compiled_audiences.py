"""The audiences of an entity, compiled to SQL."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from heatsync.scoring.compute import condition_sql
from heatsync.scoring.compute.condition_sql import CompiledCondition, Scope
from heatsync.scoring.definition.builtin_audiences import Audience


@dataclass(frozen=True, slots=True)
class CompiledAudiences:
    """Compiled audiences of an entity. Their SQL reads r, u, a, c and m (see condition_sql)."""

    audiences: Sequence[tuple[Audience, CompiledCondition]]

    @property
    def tables(self) -> frozenset[str]:
        """The tables that the conditions read."""
        return frozenset(table for _, compiled in self.audiences for table in compiled.tables)

    @property
    def counting(self) -> dict[str, CompiledCondition]:
        """By column, the conditions that count an account's users."""
        return {column: inner for _, compiled in self.audiences for column, inner in compiled.members}


def compile_audiences(audiences: Iterable[Audience], scope: Scope) -> CompiledAudiences:
    """Compile the conditions of audiences. Raises AudienceError for one that does not fit."""
    found = []
    for audience in audiences:
        try:
            found.append((audience, condition_sql.compile_condition(audience.condition, scope)))
        except condition_sql.ConditionError as error:
            raise AudienceError(audience, error) from error
    return CompiledAudiences(found)


class AudienceError(ValueError):
    """An audience whose condition does not fit the data."""

    def __init__(self, audience: Audience, problem: condition_sql.ConditionError) -> None:
        super().__init__(str(problem))
        self.audience, self.problem = audience, problem
