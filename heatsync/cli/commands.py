"""The command line. Each command is a thin skin over a function of the same name in a lower room."""

import sys
from datetime import datetime

import typer

from connectors.errors import HeatsyncError
from connectors.registry import VENDORS
from heatsync.cli import (
    analysis_commands,
    audience_commands,
    profile_commands,
    run_commands,
    terminal,
    workspace_commands,
)
from heatsync.cli.interrupts import stoppable
from heatsync.cli.options import exit_code

_TITLES = [vendor.title for vendor in VENDORS.values()]

app = typer.Typer(
    name="heatsync",
    help=(
        "Score users and accounts by their product events, and keep"
        f" {', '.join(_TITLES[:-1])} and {_TITLES[-1]} up to date."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
workspace_commands.register(app)
run_commands.register(app)
app.add_typer(profile_commands.app, name="profile")
audience_commands.register(app)
analysis_commands.register(app)


def main() -> None:
    """The entry point: every error becomes a message and an exit code, never a traceback."""
    try:
        with stoppable():
            app()
    except HeatsyncError as error:
        terminal.say(f"error: {error.delivery_message}")
        sys.exit(exit_code(error))
    except OSError as error:
        sys.exit(_unusable(error) if error.filename else _unexpected())
    except BrokenPipeError:
        sys.exit(0)
    except Exception:
        sys.exit(_unexpected())


def _unusable(error: OSError) -> int:
    """A file or folder that cannot be read or written."""
    terminal.say(
        f"error: {error.filename}: {error.strerror}. Check that the folder exists, that this user may write to it, and"
        " that the disk has room; then run the command again. Unsent changes go out with the next sync."
    )
    return 2


def _unexpected() -> int:
    """Write the traceback to a file for a bug report, and print its path."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix=f"heatsync-{datetime.now():%Y%m%d-%H%M%S}-", suffix=".log", delete=False
    ) as file:
        traceback.print_exc(file=file)
    kind = sys.exc_info()[0]
    terminal.say(
        f"error: unexpected {kind.__name__ if kind else 'error'} in heatsync; this is a bug. Details: {file.name}"
    )
    return 70
