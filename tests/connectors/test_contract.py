"""The contract of every destination in the registry; the cases are in the test module of each vendor."""

import importlib
import json
import subprocess
import sys

import pytest
from contract import *  # noqa: F403
from contract import Case, parametrize

from connectors.registry import VENDORS


def cases() -> list[Case]:
    """`CONTRACT` of `test_hubspot` and so on, for every vendor."""
    return [case for type in VENDORS for case in importlib.import_module(f"test_{type}").CONTRACT]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, cases())


def test_every_object_of_a_vendor_that_is_known_has_a_case() -> None:
    tested = {(case.vendor, case.object) for case in cases()}
    assert {(type, object) for type, vendor in VENDORS.items() for object in vendor.objects} - tested <= {
        # Contacts are written like accounts, by the same requests.
        ("salesforce", "Contact")
    }


def test_knowing_the_vendors_loads_none_of_their_libraries() -> None:
    heavy = "{'hubspot', 'intercom', 'segment', 'simple_salesforce', 'requests', 'httpx', 'urllib3', 'jwt'}"
    code = f"import sys, connectors.registry; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_registry_knows_each_vendor_by_its_type() -> None:
    for type, vendor in VENDORS.items():
        assert vendor.type == type
        assert vendor.modes[0] in ("update", "upsert")
        assert all(setting in vendor.settings for setting in vendor.account_settings)
        assert "url" in vendor.settings
        assert (vendor.field_name_pattern == ".+") == (vendor.field_name_rule == "")
        json.dumps(sorted(vendor.objects))
