"""A proxy in front of the sandbox that validates each request against Intercom's own OpenAPI description, version 2.14.

The description and its licence (MIT) lie in data/. Only requests are judged: the answers are the sandbox's.
"""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from fake_vendor import Reply, Request, answering
from openapi_schema_validator import OAS30Validator

from heatsync.sandbox.server import Running

DESCRIPTION = Path(__file__).with_name("data") / "intercom-2.14.yaml"
KNOWN = re.compile(
    r"(POST|PUT) /companies\S*: custom_attributes/[^/]+: (.* is not of type 'string'|None for not nullable)"
    r"|POST /tags: : .* is valid under each of .*"
)
"""The attributes of a company are described as strings, though the example beside it has a boolean and a number; and a
request that tags a record is described as one of several forms, and the form that creates a tag fits all of them."""
OURS = ("host", "content-length", "content-encoding", "connection", "accept-encoding")


@dataclass(slots=True)
class Seen:
    """What went through: the operations that were called, and what was wrong with any."""

    operations: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)

    @property
    def unknown(self) -> list[str]:
        return [each for each in self.violations if not KNOWN.fullmatch(each)]


@cache
def description() -> Mapping[str, Any]:
    """As published, every reference in it resolved where it is used."""
    return yaml.load(DESCRIPTION.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # type: ignore[no-any-return]


@cache
def operations() -> list[tuple[str, re.Pattern[str], str]]:
    """(method, pattern of the path, path), those without a parameter first."""
    found = [
        (method.upper(), re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), path)
        for path, methods in description()["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "delete")
    ]
    return sorted(found, key=lambda each: "{" in each[2])


@cache
def _validator(method: str, path: str) -> Any:
    content = description()["paths"][path][method.lower()].get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if schema is None:
        return None
    return OAS30Validator({**schema, "components": description()["components"]})


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        found: Any = description()
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def _properties(schema: Mapping[str, Any]) -> set[str]:
    """What a body may hold, over all its forms."""
    schema = _resolved(schema)
    names = set(schema.get("properties", ()))
    for each in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        names |= _properties(each)
    return names


def faults(request: Request) -> tuple[str, list[str]]:
    """The operation that is meant, and everything that its description does not allow."""
    address = urlsplit(request.path)
    path = next(
        (
            path
            for method, form, path in operations()
            if method == request.method and form.fullmatch(address.path)
        ),
        None,
    )
    if path is None:
        return "", [f"{request.method} {address.path}: there is no such operation"]
    name = f"{request.method} {path}"
    operation = description()["paths"][path][request.method.lower()]
    found = list(_parameters(operation, request, dict(parse_qsl(address.query, keep_blank_values=True))))
    body = json.loads(request.text) if request.text else None
    validator = _validator(request.method, path)
    if validator is None:
        found += ["it has no body"] if body is not None else []
    else:
        if not request.headers.get("content-type", "").startswith("application/json"):
            found.append("the body is not reply to be JSON")
        for error in validator.iter_errors(body):
            found.append(f"{'/'.join(map(str, error.absolute_path))}: {error.message}")
        if isinstance(body, dict):
            strange = sorted(set(body) - _properties(validator.schema))
            found += [f"{each} is not described" for each in strange]
    return name, [f"{name}: {each}" for each in found]


def _parameters(operation: Mapping[str, Any], request: Request, query: Mapping[str, str]) -> Iterator[str]:
    described = {(each["in"], each["name"].lower()): each for each in operation.get("parameters", ())}
    for name, text in query.items():
        known = described.get(("query", name.lower()))
        if known is None:
            yield f"the query parameter {name} is not described"
            continue
        schema = _resolved(known["schema"])
        value = json.loads(text) if schema["type"] in ("integer", "boolean") else text
        yield from (f"{name}: {error.message}" for error in OAS30Validator(schema).iter_errors(value))
    version = described["header", "intercom-version"]
    reply = request.headers.get("intercom-version")
    for error in OAS30Validator(_resolved(version["schema"])).iter_errors(reply):
        yield f"Intercom-Version: {error.message}"
    for (where, name), known in described.items():
        if where == "query" and known.get("required") and name not in query:
            yield f"the query parameter {name} is missing"


def forwarded(sandbox: Running, request: Request) -> Reply:
    """The sandbox's answer to a request."""
    headers = {name: value for name, value in request.headers.items() if name not in OURS}
    request = urllib.request.Request(
        sandbox.url + request.path, request.text.encode() or None, headers, method=request.method
    )
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as refused:
        response = refused
    with response:
        kept = {
            name: value
            for name, value in response.headers.items()
            if name.lower().startswith(("x-", "content-type", "link"))
        }
        return Reply(response.status, response.read().decode(), kept)


@contextmanager
def validating(sandbox: Running) -> Iterator[tuple[Running, Seen]]:
    """The same sandbox behind the proxy, and what the proxy sees."""
    seen = Seen()

    def answer(request: Request) -> Reply:
        operation, wrong = faults(request)
        seen.operations.add(operation)
        seen.violations += wrong
        return forwarded(sandbox, request)

    with answering(answer) as proxy:
        yield Running(proxy.url, sandbox.sandbox), seen
