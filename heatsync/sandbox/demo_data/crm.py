"""What the destinations already hold about the people and companies of a data folder, before heatsync comes.

Not everything fits, as in life: some records are missing, some are known by e-mail address only, one company exists
twice, two contacts share an e-mail address, and a note that a person wrote by hand must survive.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heatsync.sandbox.registry import SIMULATORS


def state(folder: Path) -> dict[str, Any]:
    """The sandbox's state for `users.csv` and, if it exists, `accounts.csv` of a folder."""
    users, accounts = list(_rows(folder / "users.csv")), list(_rows(folder / "accounts.csv"))
    demos = {name: simulator.demo for name, simulator in SIMULATORS.items()}
    return {
        **{name: demo.records(users, accounts) for name, demo in demos.items()},
        "fields": {name: demo.fields for name, demo in demos.items() if demo.fields is not None},
    }


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)
