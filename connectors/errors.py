"""What can go wrong as a whole."""


class HeatsyncError(Exception):
    """A sentence for the person who must act: what, where, what was expected, what to do."""

    @property
    def message(self) -> str:
        """What happened, and what to do."""
        return str(self)

    @property
    def delivery_message(self) -> str:
        """The same for who was sending: besides, what becomes of what was to be sent."""
        return self.message


class ConfigurationError(HeatsyncError):
    """Mend the file. `about` is a setting of the destination, or the mapping's `object`, where it is about one."""

    def __init__(self, message: str, about: str = "") -> None:
        super().__init__(message)
        self.about = about


class Unavailable(HeatsyncError):
    """Come back later: after `retry_after` seconds where the vendor said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def message(self) -> str:
        return as_sentence(str(self))

    @property
    def delivery_message(self) -> str:
        return f"{self.message} What was not sent stays due: the next sync sends it."


class InProgress(Unavailable):
    """The vendor is at work on a batch, which was noted: look again after `retry_after` seconds. No error.

    `progressed`: it got on since the last look.
    """

    def __init__(self, message: str, retry_after: float, progressed: bool = False) -> None:
        super().__init__(message, retry_after)
        self.progressed = progressed


class Unauthorized(HeatsyncError):
    """The credentials are refused, or do not suffice; a person must look."""


class Aborted(Unauthorized):
    """Somebody stopped it over there: with the credentials nothing is wrong."""


class Misunderstood(HeatsyncError):
    """The answer cannot be read: our bug or their change. `evidence` is what was answered, shortened."""

    def __init__(self, message: str, evidence: str = "") -> None:
        super().__init__(message)
        self.evidence = evidence[:2000]

    @property
    def message(self) -> str:
        """Without the evidence, which may hold personal data."""
        start = self.evidence[:500].lower()
        page = "<html" in start or "<!doctype" in start
        found = (
            "It is a web page: is there a proxy or a login in between, or is `url` wrong?"
            if page
            else "Was it cut short on its way, or is there a newer version of heatsync?"
        )
        return f"{as_sentence(str(self))} {found}"

    @property
    def delivery_message(self) -> str:
        return f"{self.message} Nothing of it counts as delivered: the next sync looks and sends again."


def as_sentence(sentence: str) -> str:
    """A sentence with its full stop, which a vendor's words often lack."""
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."
