"""Every request to Intercom is one that Intercom's own description allows, in whatever the other tests do.

Two deviations are known. A company's `custom_attributes` are described as strings: the description's own example beside
that line has a boolean and a number, and Intercom keeps the types of its data attributes. And `POST /tags` takes exactly
one of four forms, of which that of a new tag, a name, is part of the three others.
"""

import inspect
from collections.abc import Callable

import contract
import pytest
import test_intercom
import test_intercom_attributes
import test_intercom_find
import test_intercom_records
import test_intercom_tags
from contract import Case
from fake_vendor import Request
from openapi_proxy import KNOWN, faults, validating

from heatsync.sandbox.server import Running

VERSION = {"intercom-version": "2.14", "content-type": "application/json"}


def _with(module: object, *parameters: str) -> list[Callable[..., None]]:
    """The tests of a module that want just these."""
    return [
        test
        for name, test in vars(module).items()
        if name.startswith("test_") and tuple(inspect.signature(test).parameters) == parameters
    ]


CONTRACT = [
    pytest.param(test, case, id=f"{case}: {test.__name__}")
    for case in test_intercom.CONTRACT
    for kind in ("case", "readable", "creating")
    for test in _with(contract, kind, "sandbox")
]
OWN = [
    test
    for module in (
        test_intercom,
        test_intercom_attributes,
        test_intercom_find,
        test_intercom_records,
        test_intercom_tags,
    )
    for test in _with(module, "sandbox")
]


@pytest.mark.parametrize(("test", "case"), CONTRACT)
def test_contract_tests_send_only_requests_that_intercom_describes(
    test: Callable[[Case, Running], None], case: Case, sandbox: Running
) -> None:
    with validating(sandbox) as (behind, seen):
        test(case, behind)
    assert seen.operations
    assert seen.unknown == []


@pytest.mark.parametrize("test", OWN, ids=lambda test: test.__name__)
def test_intercom_tests_send_only_requests_that_intercom_describes(
    test: Callable[[Running], None], sandbox: Running
) -> None:
    with validating(sandbox) as (behind, seen):
        test(behind)
    assert seen.unknown == []


def test_every_operation_of_the_connector_is_validated(
    sandbox: Running,
) -> None:
    operations: set[str] = set()
    violations: list[str] = []
    for test in OWN:
        sandbox.clear()
        with validating(sandbox) as (behind, seen):
            test(behind)
        operations |= seen.operations
        violations += seen.violations
    assert operations == {
        "GET /me",
        "GET /companies",
        "GET /companies/{company_id}",
        "GET /contacts/{contact_id}",
        "GET /contacts/{contact_id}/tags",
        "GET /data_attributes",
        "GET /tags",
        "POST /companies",
        "POST /contacts",
        "POST /contacts/search",
        "POST /data_attributes",
        "POST /tags",
        "PUT /companies/{company_id}",
        "PUT /contacts/{contact_id}",
        "PUT /data_attributes/{data_attribute_id}",
    }
    for where in ("PUT /companies", "POST /tags"):
        known = [each for each in violations if KNOWN.fullmatch(each) and each.startswith(where)]
        assert known, f"the known deviation of {where} is gone: take it out"


@pytest.mark.parametrize(
    ("invalid", "fault"),
    [
        (Request("POST", "/contact", VERSION, "{}"), "no such operation"),
        (Request("GET", "/companies?domain=a", VERSION, ""), "domain is not described"),
        (Request("GET", "/companies?page=true", VERSION, ""), "not of type 'integer'"),
        (Request("GET", "/data_attributes?model=user", VERSION, ""), "not one of"),
        (Request("GET", "/me", {}, ""), "Intercom-Version"),
        (Request("PUT", "/contacts/1", VERSION, '{"email": 5}'), "is not valid under any"),
        (Request("PUT", "/companies/1", VERSION, '{"size": "5"}'), "'5' is not of type 'integer'"),
        (Request("PUT", "/contacts/1", VERSION, '{"score": 5}'), "score is not described"),
        (Request("POST", "/contacts", VERSION, '{"name": "Ada"}'), "is not valid under any"),
        (Request("POST", "/data_attributes", VERSION, '{"name": "a", "model": "contact"}'), "data_type"),
        (Request("POST", "/tags", VERSION, '{"users": [{"id": "1"}]}'), "is not valid under any"),
        (Request("POST", "/tags", VERSION, '{"name": "a", "contacts": []}'), "contacts is not described"),
        (
            Request("POST", "/contacts/search", VERSION, '{"pagination": {}}'),
            "'query' is a required property",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.method} {value.path}",
)
def test_a_request_that_intercom_does_not_describe_is_noticed(invalid: Request, fault: str) -> None:
    _, found = faults(invalid)
    assert any(fault in each for each in found), found
