"""The result of `heatsync check`, as JSON and for people."""

from collections.abc import Sequence
from typing import Any

from heatsync.cli import terminal
from heatsync.sync.live_check import LiveCheckResult
from heatsync.sync.mapping.files import CheckResult


def answer(checked: CheckResult, inspected: Sequence[LiveCheckResult], live: bool) -> dict[str, Any]:
    """`live` is present with --live: one entry per mapping; `error` is null if the destination answered."""
    problems = [*checked.problems, *(problem for each in inspected for problem in each.problems)]
    files = {"problems": problems, "warnings": list(checked.warnings)}
    if not live:
        return files
    looked = [
        {
            "mapping": each.mapping,
            "destination": each.destination,
            "account": each.account,
            "object": each.object,
            "compared": each.compared,
            "problems": list(each.problems),
            "notes": list(each.notes),
            "error": each.error.message if each.error is not None else None,
        }
        for each in inspected
    ]
    return {**files, "live": looked}


def show(answered: dict[str, Any]) -> None:
    """Print the answer of `check`."""
    for warning in answered["warnings"]:
        terminal.say(f"warning: {warning}")
    for problem in answered["problems"]:
        terminal.show(problem)
    looked = answered.get("live", ())
    for each in looked:
        for note in each["notes"]:
            terminal.say(f"note: {note}")
        if each["error"]:
            terminal.say(f"error: {each['mapping']} was not compared: {each['error']}")
        elif each["compared"] and not each["problems"]:
            terminal.show(
                f"{each['mapping']}: {each['compared']} fields and keys fit {each['object']} of"
                f" {each['destination']} ({each['account']})."
            )
    if "live" in answered and answered["problems"] and not looked:
        terminal.say("The destinations were not contacted: fix the files first.")
    if not answered["problems"] and not any(each["error"] for each in looked):
        terminal.show("No problem found.")
