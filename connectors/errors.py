"""What can go wrong as a whole."""


class HeatsyncError(Exception):
    """A sentence for the person who must act: what, where, what was expected, what to do."""

    @property
    def said(self) -> str:
        """What happened, and what to do."""
        return str(self)

    @property
    def told(self) -> str:
        """The same for who was sending: besides, what becomes of what was to be sent."""
        return self.said


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
    def said(self) -> str:
        return ended(str(self))

    @property
    def told(self) -> str:
        return f"{self.said} What was not sent stays due: the next sync sends it."


class Underway(Unavailable):
    """The vendor is at work on a batch, which was noted: look again after `retry_after` seconds. No error.

    `moved`: it got on since the last look.
    """

    def __init__(self, message: str, retry_after: float, moved: bool = False) -> None:
        super().__init__(message, retry_after)
        self.moved = moved


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
    def said(self) -> str:
        """Without the evidence, which may hold personal data."""
        start = self.evidence[:500].lower()
        page = "<html" in start or "<!doctype" in start
        found = (
            "It is a web page: is there a proxy or a login in between, or is `url` wrong?"
            if page
            else "Was it cut short on its way, or is there a newer version of heatsync?"
        )
        return f"{ended(str(self))} {found}"

    @property
    def told(self) -> str:
        return f"{self.said} Nothing of it counts as delivered: the next sync looks and sends again."


def ended(sentence: str) -> str:
    """A sentence with its full stop, which a vendor's words often lack."""
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."
