"""Printing: data on stdout, messages and progress on stderr, JSON on request."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from heatsync.sync.context import OnProgress

WIDE = 150
"""Columns, where the output is not a terminal."""


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDE
    return console


out = _console(stderr=False)
messages = _console(stderr=True)


def data(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, ensure_ascii=False, default=str))  # noqa: T201 - rich would wrap it


def say(text: str) -> None:
    """Print a line on stderr."""
    messages.print(text, markup=False)


def show(text: str = "") -> None:
    """Print a line on stdout."""
    out.print(text, markup=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table on stdout, numbers aligned to the right."""
    grid = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False
    )
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=index == 0)
    for row in rows:
        grid.add_row(*(shorten(cell) for cell in row))
    out.print(grid)


def shorten(value: Any, length: int = 70) -> str:
    """A cell's text: a missing value is a dash, lists are joined, long text ends in an ellipsis."""
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", " ")
    text = "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = text.replace("[", "\\[")
    return text if len(text) <= length else text[: length - 1] + "…"


def at(seconds: float | None) -> str | None:
    """A time of the ledger as text, in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@contextmanager
def progress(quiet: bool) -> Iterator[OnProgress]:
    """Progress bars on a terminal, one per mapping; nothing elsewhere."""
    if quiet or not messages.is_terminal:
        yield lambda _mapping, _doing, _done, _of: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=messages, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def on_progress(mapping: str, doing: str, done: int, of: int) -> None:
            if mapping not in tasks:
                tasks[mapping] = bars.add_task(mapping, total=None)
            bars.update(tasks[mapping], description=f"{mapping}: {doing}", completed=done, total=of or None)

        yield on_progress


def fields(changed: Mapping[str, Any]) -> str:
    """`old -> new` per field."""
    return ", ".join(
        f"{name}: {shorten(c['old'], 30)} -> {shorten(c['new'], 30)}" for name, c in changed.items()
    )
