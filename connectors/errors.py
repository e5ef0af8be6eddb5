"""What can go wrong with a call, a file or a destination as a whole. An invalid record is an Outcome, not an error."""


class HeatsyncError(Exception):
    """A sentence for the person who must act: what happened, where, what was expected, what to do."""

    @property
    def message(self) -> str:
        """What happened, and what to do."""
        return str(self)

    @property
    def delivery_message(self) -> str:
        """The message, and what becomes of the changes that were being sent."""
        return self.message


class ConfigurationError(HeatsyncError):
    """A file or a setting must be fixed. `about` names the setting of the destination, or `object`, that it is about."""

    def __init__(self, message: str, about: str = "") -> None:
        super().__init__(message)
        self.about = about


class Unavailable(HeatsyncError):
    """Try again later: after `retry_after` seconds where the vendor said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def message(self) -> str:
        return as_sentence(str(self))

    @property
    def delivery_message(self) -> str:
        return f"{self.message} Unsent changes go out with the next sync."


class InProgress(Unavailable):
    """The vendor is still working on a batch that was noted: look again after `retry_after` seconds. Not an error.

    `progressed`: more of the batch is done than at the last look.
    """

    def __init__(self, message: str, retry_after: float, progressed: bool = False) -> None:
        super().__init__(message, retry_after)
        self.progressed = progressed


class Unauthorized(HeatsyncError):
    """The credentials are refused or do not suffice; a person must look."""


class Aborted(Unauthorized):
    """Someone stopped the work at the destination. The credentials are fine."""


class Misunderstood(HeatsyncError):
    """The answer cannot be read: our bug or their change. `evidence` is the answer, shortened."""

    def __init__(self, message: str, evidence: str = "") -> None:
        super().__init__(message)
        self.evidence = evidence[:2000]

    @property
    def message(self) -> str:
        """Without the evidence, which may hold personal data."""
        start = self.evidence[:500].lower()
        hint = (
            "The answer is a web page: is there a proxy or a login in between, or is `url` wrong?"
            if "<html" in start or "<!doctype" in start
            else "Was the answer cut short on its way, or is there a newer version of heatsync?"
        )
        return f"{as_sentence(str(self))} {hint}"

    @property
    def delivery_message(self) -> str:
        return f"{self.message} Nothing of it counts as delivered: the next sync reads and sends again."


def as_sentence(text: str) -> str:
    """The text with a full stop, which a vendor's words often lack."""
    return text if text.endswith((".", "?")) else f"{text}."
