"""The records of the destinations before the demo, and the mappings that write to them."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from heatsync.sandbox.demo_data import crm, product

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def state() -> dict:
    return crm.state(ROOT / "data")


def test_most_records_exist_and_some_do_not(state):
    users = len((ROOT / "data/users.csv").read_text().splitlines()) - 1
    assert 0.9 * users < len(state["hubspot"]["contacts"]) < users
    assert 0.9 * users < len(state["intercom"]["contacts"]) < users
    assert state["segment"] == {"users": {}, "groups": {}}


def test_something_is_ambiguous_in_each_tool_that_allows_it(state):
    domains = [
        c["properties"]["domain"] for c in state["hubspot"]["companies"] if "domain" in c["properties"]
    ]
    assert len(domains) == len(set(domains)) + 1
    emails = [contact["email"].lower() for contact in state["intercom"]["contacts"]]
    [twice] = {email for email in emails if emails.count(email) > 1}
    assert not any("external_id" in c for c in state["intercom"]["contacts"] if c["email"].lower() == twice)


def test_ids_are_unique_within_an_object(state):
    for vendor in ("hubspot", "intercom", "salesforce"):
        for records in state[vendor].values():
            ids = [record.get("id", record.get("Id")) for record in records]
            assert len(ids) == len(set(ids))


def test_salesforce_has_every_field_that_the_mapping_writes(state):
    mapping = yaml.safe_load((ROOT / "mappings/salesforce-accounts.yml").read_text())
    assert mapping["fields"].keys() <= state["fields"]["salesforce"]["Account"].keys()
    assert all(len(name) <= 40 for name in state["fields"]["salesforce"]["Account"])


def test_the_demo_state_can_be_loaded_into_the_sandbox(state, sandbox):
    sandbox.seed(state)
    held = sandbox.state()
    assert len(held["hubspot"]["contacts"]) == len(state["hubspot"]["contacts"])
    assert len(held["salesforce"]["Account"]) == len(state["salesforce"]["Account"])
    assert len(held["intercom"]["companies"]) == len(state["intercom"]["companies"])


def test_a_folder_without_accounts_is_enough(tmp_path):
    product.write(tmp_path, users=20, days=5, end=date(2026, 11, 21))
    (tmp_path / "accounts.csv").unlink()
    assert crm.state(tmp_path)["salesforce"]["Account"] == []
