"""A fifth destination, with its simulator, in this one module: registered, it keeps every promise and is synced whole.

In the product it would be five places:

1. connectors/rolodex.py                 (`Rolodex`, `VENDOR`)
2. connectors/registry.py                (one line)
3. heatsync/sandbox/vendors/rolodex.py   (`SIMULATOR`, with its quotas, faults and demo data)
4. tests/connectors/test_rolodex.py      (`CONTRACT`, and tests of its quirks)
5. docs/destinations.md                  (a section)

A Rolodex is an address book with an HTTP API, invented. It has one object, people, who are known by their e-mail
address, and takes fifty of them in a call.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest
from chaos_runs import Case as ChaosCase
from chaos_runs import Scene, run_under_faults
from contract import *  # noqa: F403
from contract import SECRET, Case, parametrize

from connectors import lookup_rounds, registry
from connectors.answers import Answer, redacted
from connectors.destination import Limits, ObjectKind, Setting, Throttle, Vendor, trait_name
from connectors.errors import Misunderstood, Unavailable
from connectors.http import LostAnswer, VendorClient, VendorRules
from connectors.lookup_rounds import Hit
from connectors.types import (
    Account,
    Batch,
    Change,
    Entity,
    FieldType,
    Found,
    Kind,
    Lookup,
    Match,
    NewField,
    Outcome,
    RemoteField,
    Status,
    Value,
)
from heatsync.cli import commands
from heatsync.sandbox import registry as simulators
from heatsync.sandbox.calls import Call, Refusal, Reply, Route, account_of, is_refused
from heatsync.sandbox.demo_data import crm, product
from heatsync.sandbox.fault_types import (
    HELP,
    CallFault,
    Draws,
    VendorFaults,
    body_objects,
    with_body,
)
from heatsync.sandbox.fault_types import Answer as Done
from heatsync.sandbox.faults import ALL, Faults, help_text
from heatsync.sandbox.quotas import Quota
from heatsync.sandbox.server import Running, running
from heatsync.sandbox.simulator import DemoData, Simulator
from heatsync.sandbox.state import listed, mapped, number_of, only

MOST = 50
"""People in a call."""
END = date(2026, 11, 21)


# connectors/rolodex.py

TYPES = {
    FieldType.TEXT: "text",
    FieldType.INTEGER: "number",
    FieldType.NUMBER: "number",
    FieldType.BOOLEAN: "flag",
    FieldType.DATE: "date",
    FieldType.DATETIME: "time",
}
CODES = {
    "no_such_person": "not_found",
    "no_such_field": "field_missing",
    "wrong_type": "bad_value",
}


def encode(value: Value) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def decode(value: Any, type: FieldType) -> Value:
    if value is None:
        return None
    if type is FieldType.DATETIME:
        return datetime.fromisoformat(value)
    if type is FieldType.DATE:
        return date.fromisoformat(value)
    return int(value) if type is FieldType.INTEGER else value  # type: ignore[no-any-return]


class Rolodex:
    """One address book."""

    def __init__(
        self, settings: Mapping[str, str], throttle: Throttle, on_request: Callable[[], None]
    ) -> None:
        self._url = settings["url"].rstrip("/")
        self.host = self._url.partition("://")[2]
        self._token = settings["token"]
        self._client = VendorClient(VendorRules("Rolodex"), throttle, on_request)
        import requests

        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {self._token}"

    def close(self) -> None:
        self._session.close()

    def account(self) -> Account:
        body = self._ask("GET", "/account").body
        if not isinstance(body, dict) or not isinstance(body.get("id"), int):
            raise Misunderstood("Rolodex's answer has no account", redacted(body, self._token))
        return Account("book", str(body["id"]))

    def fields(self, object: str) -> Mapping[str, RemoteField]:
        found = {"email": RemoteField("email", "text", unique=True)}
        for each in self._list(self._ask("GET", "/fields"), "fields"):
            accepts = tuple(type for type, theirs in TYPES.items() if theirs == each["type"])
            found[each["name"]] = RemoteField(each["name"], each["type"], accepts=accepts)
        return found

    def fields_left(self, object: str) -> int | None:
        return None

    def missing_permissions(self, object: str, create_fields: bool) -> Sequence[str]:
        return ()

    def archived_fields(self, object: str) -> Mapping[str, RemoteField]:
        return {}

    def create_fields(self, object: str, fields: Sequence[NewField]) -> None:
        new = [{"name": field.name, "type": TYPES[field.type]} for field in fields]
        self._list(self._ask("POST", "/fields", {"fields": new}), "fields")

    def find(
        self, object: str, lookups: Sequence[Lookup], fields: Mapping[str, FieldType]
    ) -> Iterator[Found]:
        def ask(by: str, values: Sequence[str]) -> Mapping[str, Sequence[Hit]]:
            hits: dict[str, list[Hit]] = {}
            for start in range(0, len(values), MOST):
                body = {"by": by, "values": list(values[start : start + MOST])}
                for person in self._list(self._ask("POST", "/lookup", body), "people"):
                    hits.setdefault(str(person[by]).lower(), []).append(Hit(person["id"], person))
            return {value: hits.get(value.lower(), []) for value in values}

        return lookup_rounds.find(lookups, "id", ask, decode, fields)

    def push(self, batch: Batch) -> Iterator[Outcome]:
        changes = []
        for change in batch.changes:
            if change.kind is Kind.LEFT and change.remote_id is None:
                cause = "there is no record to leave"
                yield Outcome(change.key, Status.SKIPPED, code="not_found", cause=cause)
            else:
                changes.append(change)
        for start in range(0, len(changes), MOST):
            part = changes[start : start + MOST]
            answer = self._ask("POST", "/people", {"people": [_person(change) for change in part]})
            results = self._list(answer, "results")
            if len(results) != len(part):
                self._misread(answer)
            yield from map(self._outcome, part, results)

    def _outcome(self, change: Change, result: Mapping[str, Any]) -> Outcome:
        if result.get("ok") is True and result.get("id"):
            return Outcome(change.key, Status.DELIVERED, remote_id=str(result["id"]))
        code = CODES.get(str(result.get("code")), "refused")
        words = redacted(result.get("message", ""), self._token)
        return Outcome(
            change.key, Status.REJECTED, code=code, cause=words, field=result.get("field"), answer=words
        )

    def _ask(self, method: str, path: str, body: Any = None) -> Answer:
        import requests

        def send() -> Answer:
            try:
                response = self._session.request(
                    method, f"{self._url}/rolodex{path}", json=body, timeout=30, allow_redirects=False
                )
            except requests.RequestException as error:
                raise LostAnswer(type(error).__name__, sent=True) from None
            headers = {name.lower(): value for name, value in response.headers.items()}
            if response.status_code == 409:
                raise Unavailable("Rolodex is busy with an import", 2.0)
            try:
                return Answer(response.status_code, headers, response.json())
            except ValueError:
                return Answer(response.status_code, headers, response.text)

        try:
            return self._client.call(send)
        except LostAnswer as lost:
            raise Unavailable(
                f"Rolodex at {self.host} cannot be reached ({lost}): check the network"
            ) from None

    def _list(self, answer: Answer, name: str) -> list[dict[str, Any]]:
        found = answer.body.get(name) if isinstance(answer.body, dict) else None
        if answer.status != 200 or not isinstance(found, list):
            self._misread(answer)
        return found

    def _misread(self, answer: Answer) -> NoReturn:
        raise Misunderstood(
            f"Rolodex's answer ({answer.status}) is not one that heatsync knows",
            redacted(answer.body, self._token),
        )


def _person(change: Change) -> dict[str, Any]:
    known = {"id": change.remote_id} if change.remote_id else {"email": change.match[0].value}
    return {**known, "values": {name: encode(value) for name, value in change.fields.items()}}


VENDOR = Vendor(
    type="rolodex",
    title="Rolodex",
    settings={
        "token": Setting(required=True, secret=True),
        "url": Setting(default="https://api.rolodex.example"),
        "requests_per_10s": Setting(default="100", whole_number=True),
    },
    objects={"people": ObjectKind(Entity.USER, (("email", "email"),), frozenset({"email"}))},
    limits=lambda settings: Limits(
        records_per_call=MOST,
        lookups_per_call=MOST,
        calls=int(settings.get("requests_per_10s") or 100),
        seconds=10.0,
    ),
    connect=Rolodex,
    name_trait=lambda prefix, score, metric, _entity: trait_name(prefix, score, metric),
    account_settings=("token", "url"),
)


# heatsync/sandbox/vendors/rolodex.py

CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "flag": lambda value: isinstance(value, bool),
    "date": lambda value: isinstance(value, str),
    "time": lambda value: isinstance(value, str),
}


class Store:
    """People by id, and their fields with the type of each."""

    def __init__(self, account: str) -> None:
        self.id = number_of("rolodex", account, digits=8)
        self.people: dict[str, dict[str, Any]] = {}
        self.types: dict[str, str] = {}

    def load(self, part: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        only(part, ("people",), "rolodex")
        for name, field in mapped(fields, "people", "fields.rolodex").items():
            self.types[name] = field["type"]
        for n, person in enumerate(listed(part, "people", "rolodex")):
            id = str(person.get("id") or f"s{n}")
            self.people[id] = {**person, "id": id}

    def dump(self) -> dict[str, Any]:
        return {"people": [dict(person) for person in self.people.values()]}

    def dump_fields(self) -> dict[str, Any]:
        return {"people": {name: {"type": type} for name, type in self.types.items()}}

    def write(self, person: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a person: with `email` it is created where there is none."""
        values = person.get("values") or {}
        for name, value in values.items():
            if name not in self.types:
                return error("no_such_field", f"There is no field {name}") | {"ok": False, "field": name}
            if value is not None and not CHECKS[self.types[name]](value):
                return error("wrong_type", f"{name} is a {self.types[name]}") | {"ok": False, "field": name}
        known = self.people.get(str(person.get("id")))
        email = str(person.get("email") or "").lower()
        if known is None and email:
            known = next((each for each in self.people.values() if each["email"].lower() == email), None)
            known = known or self.people.setdefault(
                f"p{len(self.people) + 1}", {"id": f"p{len(self.people) + 1}", "email": email}
            )
        if known is None:
            return error("no_such_person", "There is no such person") | {"ok": False}
        known.update(values)
        return {"ok": True, "id": known["id"]}


def error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def show_account(_call: Call, store: Store) -> Reply:
    return Reply(200, {"id": store.id})


def list_fields(_call: Call, store: Store) -> Reply:
    return Reply(200, {"fields": [{"name": name, "type": type} for name, type in store.types.items()]})


def add_fields(call: Call, store: Store) -> Reply:
    for field in body_objects(call, "fields"):
        store.types.setdefault(field["name"], field["type"])
    return list_fields(call, store)


def look_up(call: Call, store: Store) -> Reply:
    body = call.object()
    wanted = {str(value).lower() for value in body["values"]}
    if len(wanted) > MOST:
        return Reply(400, error("too_many", f"At most {MOST} values"))
    found = [person for person in store.people.values() if str(person[body["by"]]).lower() in wanted]
    return Reply(200, {"people": found}, records=len(wanted))


def write_people(call: Call, store: Store) -> Reply:
    people = body_objects(call, "people")
    if len(people) > MOST:
        return Reply(400, error("too_many", f"At most {MOST} people"))
    return Reply(200, {"results": [store.write(person) for person in people]}, records=len(people))


def account(call: Call) -> str:
    token = call.token()
    if not token or is_refused(token):
        raise Refusal(Reply(401, error("unauthorized", "This token is not valid")))
    return account_of(token)


class RecordFaults:
    """Refuses people by themselves."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws

    def answer(self, route: Route, call: Call, done: Done) -> Reply:
        if route.handler is not write_people:
            return done(call)
        people = body_objects(call, "people")
        refused = {
            n
            for n, person in enumerate(people)
            if FAULTS.refuses(self._draws, "rolodex", "people", str(person.get("id") or person.get("email")))
        }
        if not refused:
            return done(call)
        reply = done(with_body(call, {"people": [each for n, each in enumerate(people) if n not in refused]}))
        results = iter(reply.body["results"])
        merged = [
            error("refused", "The sandbox refuses this record") | {"ok": False}
            if n in refused
            else next(results)
            for n in range(len(people))
        ]
        return replace(reply, body={"results": merged}, records=len(people), fault="refused")


FAULTS = VendorFaults(
    error,
    calls={
        "busy": CallFault(
            "409: an import is running, and nothing was done",
            lambda _call, _drawn: Reply(409, error("busy", "An import is running")),
        )
    },
    records={"refused": HELP["refused"]},
    refusals=("refused",),
    record_faults=RecordFaults,
)
SIMULATOR = Simulator(
    name="rolodex",
    title="Rolodex",
    prefixes=("/rolodex",),
    routes=[
        Route("GET", "/rolodex/account", "GET account", show_account, ("burst",)),
        Route("GET", "/rolodex/fields", "GET fields", list_fields, ("burst",)),
        Route("POST", "/rolodex/fields", "POST fields", add_fields, ("burst",)),
        Route("POST", "/rolodex/lookup", "POST lookup", look_up, ("burst",)),
        Route("POST", "/rolodex/people", "POST people", write_people, ("burst",)),
    ],
    store=Store,
    quotas={"burst": Quota(100, 10.0)},
    main_quota="burst",
    account=account,
    limited=lambda _call, _quota, wait: Reply(
        429, error("slow_down", "Too many calls"), {"Retry-After": f"{wait:.0f}"}
    ),
    unreadable=lambda reason: Reply(400, error("not_json", reason)),
    unknown=lambda _call: Reply(404, error("no_such_path", "There is nothing here")),
    faults=FAULTS,
    demo=DemoData(
        lambda users, _accounts: {
            "people": [{"id": f"d{n}", "email": user["email"]} for n, user in enumerate(users) if n % 10 != 3]
        },
        {"people": {}},
    ),
)


# tests/connectors/test_rolodex.py

CONTRACT = [
    Case(
        "rolodex",
        "people",
        {"token": SECRET},
        records=lambda n: {"id": f"r{n}", "email": f"u{n}@example.com"},
        definitions={"score": {"type": "number"}},
        match=lambda n: Match("email", f"u{n}@example.com"),
        id=lambda n: f"r{n}",
        read=lambda state, n: next(
            person["score"] for person in state["rolodex"]["people"] if person["email"] == f"u{n}@example.com"
        ),
        field="score",
        bad="many",
    )
]


# A Rolodex can be read.
del test_a_vendor_that_cannot_be_read_finds_nothing_without_a_call  # noqa: F821


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    with registry.registered(VENDOR):
        parametrize(metafunc, CONTRACT)


@pytest.fixture(scope="module", autouse=True)
def fifth() -> Iterator[None]:
    """The Rolodex is a destination like the others while this module's tests run."""
    with registry.registered(VENDOR), simulators.registered(SIMULATOR):
        yield


@pytest.fixture(scope="module")
def address_books(fifth: None) -> Iterator[Running]:
    with running(quotas=False) as server:
        yield server


@pytest.fixture
def sandbox(address_books: Running) -> Running:
    """A sandbox that was started with the fifth simulator, empty."""
    address_books.clear()
    return address_books


MAPPING = """\
version: 1
profile: health
destination: rolodex
object: people
match: {email: email}
mode: upsert
create_fields: true
fields: {role: user.role, score: score, seen: last_active}
"""


@dataclass(frozen=True)
class Answered:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Workspace:
    """A workspace as `heatsync init` writes it, with the Rolodex as its only destination; commands run in-process."""

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], url: str
    ) -> None:
        self.folder, self._patch, self._capture = folder, patch, capture
        patch.setenv("HEATSYNC_ROLODEX_URL", url)
        patch.setenv("ROLODEX_TOKEN", "default:t")
        assert self.run("init", str(folder)).code == 0
        product.write(folder / "data", users=30, days=40, end=END)
        for path in (folder / "mappings").glob("*.yml"):
            path.unlink()
        (folder / "mappings/people.yml").write_text(MAPPING)
        config = folder / "heatsync.yml"
        before, _, after = config.read_text().partition("destinations:\n")
        added = "destinations:\n  rolodex:\n    token: ${ROLODEX_TOKEN}\n\nalerts:"
        config.write_text(before + added + after.partition("\nalerts:")[2])

    def run(self, *command: str) -> Answered:
        self._patch.setattr(sys, "argv", ["heatsync", *command])
        code: Any = 0
        try:
            commands.main()
        except SystemExit as ended:
            code = ended.code or 0
        return Answered(code, *self._capture.readouterr())

    def here(self, *command: str) -> Answered:
        return self.run(*command, "--workspace", str(self.folder))


@pytest.fixture
def workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sandbox: Running
) -> Workspace:
    return Workspace(tmp_path / "w", monkeypatch, capsys, sandbox.url)


def test_it_is_checked_scored_planned_and_synced_and_a_second_sync_makes_no_call(
    workspace: Workspace, sandbox: Running
) -> None:
    assert workspace.here("check").code == 0
    checked = workspace.here("check", "--live", "--json")
    assert (checked.code, checked.json["live"][0]["account"][:5]) == (0, "book "), checked
    assert workspace.here("score", "--date", END.isoformat()).code == 0
    (planned,) = workspace.here("plan", "--date", END.isoformat(), "--json").json["mappings"]
    assert (planned["created"] > 20, planned["new_fields"]) == (True, ["role", "score", "seen"])
    first, second = (
        workspace.here("sync", "--date", END.isoformat(), "--yes", "--json").json["mappings"][0]
        for _ in range(2)
    )
    assert first["outcomes"]["delivered"] == planned["created"]
    assert second["calls"] == 0
    people = sandbox.state()["rolodex"]["people"]
    assert len(people) == planned["created"]
    assert all(isinstance(person["score"], int | float) for person in people)


def test_init_offers_it(workspace: Workspace) -> None:
    folder = workspace.folder.with_name("new")
    assert workspace.run("init", str(folder)).code == 0
    assert "#   rolodex:\n#     token: ${ROLODEX_TOKEN}\n" in (folder / "heatsync.yml").read_text()


def test_the_demo_data_of_its_simulator_fit(workspace: Workspace, sandbox: Running) -> None:
    sandbox.seed(crm.state(workspace.folder / "data"))
    users = (workspace.folder / "data/users.csv").read_text().splitlines()[1:]
    assert 0 < len(sandbox.state()["rolodex"]["people"]) < len(users)


def test_a_refused_and_a_missing_credential_are_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.here("score", "--date", END.isoformat())
    monkeypatch.setenv("ROLODEX_TOKEN", "refused")
    refused = workspace.here("sync", "--date", END.isoformat(), "--yes")
    assert (refused.code, "Rolodex refused the credentials" in refused.out + refused.err) == (3, True), (
        refused
    )
    monkeypatch.delenv("ROLODEX_TOKEN")
    missing = workspace.here("sync", "--date", END.isoformat(), "--yes")
    assert (missing.code, "ROLODEX_TOKEN" in missing.out + missing.err) == (2, True), missing


def test_a_refused_record_is_listed_with_the_reason(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(quotas=False, faults="refused=0.3,seed=2") as troubled:
        monkeypatch.setenv("HEATSYNC_ROLODEX_URL", troubled.url)
        workspace.here("score", "--date", END.isoformat())
        synced = workspace.here("sync", "--date", END.isoformat(), "--yes", "--json")
        failures = workspace.here("failures", "--json")
    (mapping,) = synced.json["mappings"]
    rejected = mapping["outcomes"]["rejected"]
    assert synced.code == 1
    assert rejected > 0
    assert mapping["outcomes"]["delivered"] > 0
    (cause,) = failures.json
    assert (cause["cause"], cause["count"]) == ("The sandbox refuses this record", rejected)


# Chaos


def written(route: Route, call: Call, reply: Reply, lost: bool) -> Iterator[Any]:
    if route.handler is not write_people:
        return
    people = json.loads(call.body)["people"]
    if lost:
        yield from ((("rolodex", "people", str(person.get("id"))), {}) for person in people)
        return
    for person, result in zip(people, reply.body["results"], strict=True):
        if result["ok"]:
            yield ("rolodex", "people", result["id"]), person["values"]


SCENE = Scene(
    heatsync="""\
version: 1
source:
  events: {table: data/events.parquet}
  users: {table: data/users.csv}
  accounts: {table: data/accounts.csv}
destinations:
  rolodex: {token: "${ROLODEX_TOKEN}", requests_per_10s: 100000}
guards: {max_clear_share: 100, max_shrink_share: 100}
""",
    present={
        "rolodex": {"people": [{"id": f"q{n}", "email": f"u{n}@x.com", "role": "old"} for n in (1, 4, 7)]}
    },
    fields={"rolodex": {"people": {"role": {"type": "text"}}}},
    written={"rolodex": written},
)
PEOPLE = ChaosCase(
    "people",
    "destination: rolodex\nobject: people\nmatch: {email: email}\nmode: upsert\n"
    "fields: {role: {from: user.role, when_null: clear}}\n",
    "rolodex",
    "people",
    "user",
    "role",
)


@pytest.mark.parametrize(
    "rates",
    [{"busy": 0.3}, {"refused": 0.2}, {"lost": 0.2}, {ALL: 0.3, "refused": 0.1}],
    ids=lambda rates: "+".join(rates),
)
def test_under_faults_everything_that_can_be_accepted_arrives(
    rates: Mapping[str, float], tmp_path: Path
) -> None:
    run_under_faults(
        tmp_path / "w", Faults(rates, seed=3, slow=0.01), [PEOPLE], seed=3, days=2, people=8, scene=SCENE
    )


def test_the_help_of_the_sandbox_names_its_faults() -> None:
    assert "busy" in help_text()
    assert "409: an import is running, and nothing was done (Rolodex)" in help_text()


# Five places

ROOT = Path(__file__).parents[2]


def test_a_destination_is_five_places_and_the_vendors_of_the_product_have_no_more() -> None:
    places = [line.split()[1] for line in (__doc__ or "").splitlines() if line[:1].isdigit()]
    assert len(places) <= 5
    for type, vendor in registry.VENDORS.items():
        if vendor is VENDOR:
            continue
        for place in places:
            path = ROOT / place.replace("rolodex", type)
            assert path.exists() or path.with_suffix("").is_dir(), path
        assert vendor.title in (ROOT / "docs/destinations.md").read_text("utf-8")
