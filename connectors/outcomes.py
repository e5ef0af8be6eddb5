"""Outcomes that are worded alike for all vendors."""

from connectors.types import Change, Outcome, Status


def already_exists(key: str, title: str, id: str) -> Outcome:
    """A record that could not be created because it exists, and for which there is nothing to write: its current values
    are not known."""
    cause = (
        f"{title} already has this record ({id}), although search did not return it. The next sync reads it."
    )
    return Outcome(key, Status.UNKNOWN, code="there_already", cause=cause)


def invalid_value(key: str, field: str, error: ValueError) -> Outcome:
    """A record with a value that cannot be sent."""
    return Outcome(key, Status.REJECTED, code="bad_value", cause=f"{field}: {error}", field=field)


def no_answer(key: str, title: str, error: Exception, record: str = "record") -> Outcome:
    """A record that may have been created, although no answer came."""
    cause = f"{title}'s answer was lost ({error}): the {record} may have been created"
    return Outcome(key, Status.UNKNOWN, code="no_answer", cause=cause)


def not_found(change: Change) -> Outcome:
    """A record that leaves its audience, and that the destination does not have."""
    return Outcome(
        change.key, Status.SKIPPED, code="not_found", cause="the destination has no record to clear"
    )
