"""A small workspace for a whole sync in one process: snapshots written by hand, the ledger real, the
destinations those of a sandbox."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import file_workspaces as files
import pyarrow as pa

from heatsync.operations import alerts
from heatsync.sandbox.server import Running
from heatsync.sync import run as sync_run
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import Context, Timeouts, no_progress
from heatsync.sync.plan import Plan, PlanRequest
from heatsync.workspace import config
from heatsync.workspace.env_vars import url_variable

DAY = files.DAY

HEATSYNC = """\
version: 1
source:
  events: {table: data/events.parquet}
  users: {table: data/users.csv}
  accounts: {table: data/accounts.csv}
destinations:
  hubspot: {token: "${HUBSPOT_TOKEN}", requests_per_10s: 100000}
  intercom: {token: "${INTERCOM_TOKEN}", requests_per_10s: 100000}
  segment: {write_key: "${SEGMENT_WRITE_KEY}", requests_per_10s: 100000}
  salesforce: {domain: acme.my, consumer_key: "${SF_CONSUMER_KEY}", consumer_secret: "${SF_CONSUMER_SECRET}",
    requests_per_10s: 100000}
guards: {max_clear_share: 100, max_shrink_share: 100}
"""

CONTACTS = """\
destination: hubspot
object: contacts
match: {email: email}
fields: {role: user.role}
"""
USERS = """\
destination: segment
object: users
fields: {role: user.role}
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a sync ended: the exit code of the command, the run's name, and the answer of each mapping."""

    code: int
    run: str
    mappings: Mapping[str, Mapping[str, Any]]

    @property
    def only(self) -> Mapping[str, Any]:
        """The answer of the only mapping."""
        (found,) = self.mappings.values()
        return found

    @property
    def outcomes(self) -> dict[str, int]:
        """The outcomes of the only mapping that there were any of."""
        return {status: count for status, count in self.only["outcomes"].items() if count}


def environment(workspace: config.Workspace, url: str, token: str) -> dict[str, str]:
    """The environment variables that lead every destination of a workspace to a sandbox, with a credential."""
    environ = {url_variable(name): url for name in workspace.destinations}
    for destination in workspace.destinations.values():
        environ |= dict.fromkeys(destination.credential_variables, token)
    return environ


@dataclass(slots=True)
class Stage:
    """A workspace in a folder, and the sandbox that its destinations lead to."""

    folder: Path
    sandbox: Running
    heatsync: str = HEATSYNC
    token: str = "default:t"
    mappings: dict[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    """Environment variables of the workspace that are not set."""
    timeouts: Timeouts = field(default_factory=Timeouts)

    def mapping(self, name: str, text: str) -> None:
        self.mappings[f"mappings/{name}.yml"] = f"version: 1\nprofile: health\n{text}"

    def users(self, roles: Mapping[str, str | None], **columns: Mapping[str, Any]) -> None:
        """The users and their roles: u1 has the address u1@x.com. `columns` are of the snapshot, by user."""
        of = self.opened()
        emails = columns.pop("email", {})
        rows = [
            {"user_id": key} | {name: column[key] for name, column in columns.items() if key in column}
            for key in roles
        ]
        files.snapshot(of, "user", rows)
        table = {
            "user_id": pa.array(list(roles), pa.string()),
            "email": pa.array([emails.get(key, f"{key}@x.com") for key in roles], pa.string()),
            "role": pa.array(list(roles.values()), pa.string()),
        }
        files.traits(of, "user", pa.table(table))

    def accounts(self, plans: Mapping[str, str | None], **columns: Mapping[str, Any]) -> None:
        """Which accounts are there, with which plan: a1 has the domain a1.com."""
        of = self.opened()
        rows = [
            {"account_id": key} | {name: column[key] for name, column in columns.items() if key in column}
            for key in plans
        ]
        files.snapshot(of, "account", rows)
        table = {
            "account_id": pa.array(list(plans), pa.string()),
            "domain": pa.array([f"{key}.com" for key in plans], pa.string()),
            "plan": pa.array(list(plans.values()), pa.string()),
        }
        files.traits(of, "account", pa.table(table))

    def opened(self) -> config.Workspace:
        return config.load(files.write(self.folder, self.mappings, self.heatsync))

    def context(self, token: str | None = None) -> Context:
        workspace = self.opened()
        environ = environment(workspace, self.sandbox.url, token or self.token)
        present = {name: value for name, value in environ.items() if name not in self.unset}
        return Context(workspace, environ=present, timeouts=self.timeouts)

    def sync(
        self,
        *,
        decide: Callable[[Plan], bool] = lambda plan: True,
        scope: Scope | None = None,
        token: str | None = None,
    ) -> Ended:
        """Plan and deliver everything. `decide` takes the place of the person who approves."""
        with self.context(token) as context:
            result = sync_run.sync(context, context.choose([]), DAY, scope or Scope(), decide)
            alerts.report_run(context, result.run)
            answers = sync_run.mapping_answers(context, result.run)
            return Ended(
                sync_run.exit_code(context, result),
                result.run,
                {answer["mapping"]: answer for answer in answers},
            )

    def contacts(self, *keys: str, **properties: str) -> None:
        """HubSpot has these contacts, and the fields role and other."""
        self.sandbox.seed(
            {
                "hubspot": {
                    "contacts": [
                        {"id": f"10{key[1:]}", "properties": {"email": f"{key}@x.com", **properties}}
                        for key in keys
                    ]
                },
                "fields": {
                    "hubspot": {"contacts": {"role": {"type": "string"}, "other": {"type": "string"}}}
                },
            }
        )

    def roles(self, name: str = "role") -> dict[str, str | None]:
        """What HubSpot's contacts hold: by our id."""
        return {
            contact["properties"]["email"].partition("@")[0]: contact["properties"].get(name)
            for contact in self.sandbox.state()["hubspot"]["contacts"]
        }

    def calls(self) -> int:
        """How many requests the sandbox answered since this was last asked."""
        calls = sum(destination["calls"] for destination in self.sandbox.stats().values())
        self.sandbox.reset_stats()
        return calls


def planned(context: Context, name: str, run: str, release: bool = True) -> Plan:
    """Plan one mapping, and let it go."""
    plan = sync_run.plan(context, PlanRequest(context.mappings[name], run, DAY), no_progress)
    if release:
        assert context.ledger.release(plan.run)
    return plan


def approve_automatically(plan: Plan) -> bool:
    """Approve a plan only if it has no reason to be held."""
    return not plan.reasons


class Killed(BaseException):
    """The process ends here."""


def numbered(count: int) -> dict[str, str]:
    """u1 with role1, u2 with role2, ..."""
    return {f"u{number}": f"role{number}" for number in range(1, count + 1)}


def keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(row["key"] for row in rows)


def set_limits(context: Context, name: str, **limits: Any) -> None:
    """Give the destination of a mapping other limits, such as `changes_per_push`, before it is opened."""
    mapping = context.mappings[name]
    destinations: Any = context.workspace.destinations
    config = destinations[mapping.destination]
    changed = replace(config.vendor.limits({}), **limits)
    destinations[mapping.destination] = replace(
        config, vendor=replace(config.vendor, limits=lambda _settings: changed)
    )
