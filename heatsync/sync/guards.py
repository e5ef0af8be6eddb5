"""Nothing massive happens by surprise: the reasons to hold a run until a person approves it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What holds a run. Shares are in percent; `first_run`, `changed_definition`, `empty_source` and `health` are whether
    these hold one."""

    first_run: bool = True
    changed_definition: bool = True
    empty_source: bool = True
    health: bool = True
    clear_share: float = 20.0
    level_share: float = 30.0
    shrink_share: float = 50.0
    max_writes: int | None = None
    max_creates: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a planned run, in records.

    approved  definition hash of the last released run; `previous` is how many records that one covered
    health    why the events of the day do not look complete, as sentences
    """

    approved: str | None
    definition_hash: str
    records: int
    previous: int | None
    cleared: int
    dropped: int
    writes: int
    creates: int
    levels: int
    level_moves: int
    health: tuple[str, ...] = ()


def reasons(facts: Facts, limits: Thresholds) -> list[str]:
    """Why a run must wait for approval, as sentences without a full stop. Empty if it may go."""
    if facts.writes == 0:
        return []
    found: list[str] = []
    if facts.approved is None and limits.first_run:
        found.append("this is the first run of the mapping to this account")
    if facts.approved is not None and facts.approved != facts.definition_hash and limits.changed_definition:
        found.append("the mapping's definition changed since the last approved run")
    if facts.records == 0 and limits.empty_source:
        found.append("the source has no record at all for this mapping")
    if limits.health:
        found.extend(facts.health)
    covered = max(facts.previous or 0, facts.records, 1)
    emptied = facts.cleared + facts.dropped
    if facts.approved is not None and 100 * emptied > limits.clear_share * covered:
        found.append(
            f"it would clear or drop {emptied} of {covered} records (limit {limits.clear_share:g} %)"
        )
    if facts.levels and 100 * facts.level_moves > limits.level_share * facts.levels:
        found.append(
            f"{facts.level_moves} of {facts.levels} moved to another level in a day (limit {limits.level_share:g} %)"
        )
    if facts.previous and 100 * facts.records < (100 - limits.shrink_share) * facts.previous:
        found.append(f"the source shrank from {facts.previous} to {facts.records} records")
    if limits.max_writes is not None and facts.writes > limits.max_writes:
        found.append(f"it would write {facts.writes} records (max_writes {limits.max_writes})")
    if limits.max_creates is not None and facts.creates > limits.max_creates:
        found.append(f"it would create {facts.creates} records (max_creates {limits.max_creates})")
    return found
