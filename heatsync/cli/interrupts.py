"""What Ctrl-C and SIGTERM do to a command."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from heatsync.cli import terminal

STOPS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 130
"""The exit code of a process that was asked to stop, as in shells (128 + SIGINT)."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Report an interrupt and exit with 130, whatever exception it became: typer turns it into an exit, DuckDB into an
    error. A block that still ends normally, like the sandbox, exits normally.
    """
    asked = False

    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        nonlocal asked
        asked = True
        # A second request ends the process at once: the next sync looks up what may have arrived.
        for each in STOPS:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt

    # A process that was started with the signal ignored, like a background job, keeps ignoring it.
    previous = {each: handler for each in STOPS if (handler := signal.getsignal(each)) is not signal.SIG_IGN}
    for each in previous:
        signal.signal(each, stop)
    try:
        yield
    except BaseException as error:
        if not asked or (isinstance(error, SystemExit) and not error.code):
            raise
        terminal.say(
            "Stopped. Outcomes so far are stored. Unsent changes go out with the next `heatsync sync`."
        )
        sys.exit(STOPPED)
    finally:
        if not asked:
            for each, handler in previous.items():
                signal.signal(each, handler)
