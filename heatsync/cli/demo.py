"""The whole job on demo data against the built-in sandbox, and what arrived there."""

import shutil
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import requests

from connectors.errors import ConfigurationError
from heatsync.cli import init_template, run_output, terminal
from heatsync.operations import alerts
from heatsync.sandbox import server
from heatsync.sandbox.demo_data import collegemsg, crm, product
from heatsync.snapshots import run as snapshot_run
from heatsync.sync import run as sync_run
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import Context
from heatsync.workspace import config as workspace_files
from heatsync.workspace.env_vars import url_variable


def run(folder: Path, real: bool, as_json: bool) -> int:
    """Create a workspace in `folder`, sync it twice, show what the destinations hold. Returns the exit code."""
    shutil.rmtree(folder, ignore_errors=True)
    as_of = _prepare(folder, real)
    terminal.say(f"Workspace: {folder}")
    with server.running() as sandbox:
        sandbox.seed(crm.state(folder / "data"))
        before = requests.get(f"{sandbox.url}/_state", timeout=60).json()
        workspace = workspace_files.load(folder)
        environ = _environment(workspace, sandbox.url)
        with Context(workspace, environ=environ) as context:
            results = [_sync(context, as_of, as_json) for _ in range(2)]
            answer = [run_output.run_answer(context, result) for result in results]
            code = max(sync_run.exit_code(context, result) for result in results)
            failures = run_output.failures_answer(context, results[0].run)
        state = requests.get(f"{sandbox.url}/_state", timeout=60).json()
    if as_json:
        terminal.data({"first": answer[0], "second": answer[1], "failures": failures})
        return 0 if code == 1 else code
    _show(answer[0], before, state, list(workspace.destinations))
    if failures:
        terminal.show()
        terminal.show("Not sent, and why (every real CRM has such records):")
        run_output.print_failures(failures)
    terminal.show()
    calls = sum(mapping["calls"] for mapping in answer[1]["mappings"])
    terminal.show(f"A second sync, with nothing changed: {calls} calls.")
    terminal.show(f"To look around: heatsync runs -w {folder};  heatsync show {results[0].run} -w {folder}")
    # Records that cannot be sent are part of the demo, and no failure.
    return 0 if code == 1 else code


def _environment(workspace: workspace_files.Workspace, url: str) -> dict[str, str]:
    """The environment variables that lead every destination to the sandbox, with a credential for it."""
    environ: dict[str, str] = {}
    for name, destination in workspace.destinations.items():
        settings = destination.vendor.settings
        environ[url_variable(name)] = url
        environ |= {
            variable: settings[key].demo for variable, key in destination.credential_variables.items()
        }
    return environ


def _prepare(folder: Path, real: bool) -> date:
    if real:
        try:
            summary = collegemsg.init(folder)
        except collegemsg.LogMissingError as error:
            raise ConfigurationError(str(error)) from error
        as_of = collegemsg.LAST_DAY
    else:
        init_template.write(folder)
        as_of = snapshot_run.last_complete_day(workspace_files.load(folder), datetime.now().astimezone())
        summary = product.write(folder / "data", end=as_of)
    terminal.say(
        f"{summary.events} events of {summary.users} users in {summary.accounts} accounts,"
        f" {summary.starts_on} to {summary.ends_on}"
    )
    return as_of


def _sync(context: Context, as_of: date, as_json: bool) -> sync_run.RunResult:
    with terminal.progress(as_json) as on_progress:
        snapshot_run.score(
            context.workspace, [as_of], lambda doing, done, of: on_progress("scoring", doing, done, of)
        )

    def decide(plan: Any) -> bool:
        if not as_json:
            terminal.say(run_output.target_line(context, plan))
        return True

    with terminal.progress(as_json) as on_progress:
        result = sync_run.sync(context, list(context.mappings.values()), as_of, Scope(), decide, on_progress)
    alerts.report_run(context, result.run)
    return result


def _show(
    answer: Mapping[str, Any], before: Mapping[str, Any], state: Mapping[str, Any], destinations: list[str]
) -> None:
    run_output.print_run(dict(answer))
    terminal.show()
    rows = []
    for name, kinds in state.items():
        if name == "fields":
            continue
        for kind, records in _objects(kinds):
            old = before.get(name, {}).get(kind, {})
            touched = _scored(records)
            if touched:
                rows.append([name, kind, len(records), len(records) - len(old), touched])
    terminal.table(
        "What the destinations hold now",
        ["destination", "object", "records", "created", "with a score"],
        rows,
    )
    for title, found in _examples(state, destinations):
        terminal.show()
        terminal.show(title)
        for name, value in found.items():
            terminal.show(
                f"    {name} = {terminal.shorten(value if isinstance(value, list) else str(value))}"
            )


def _objects(kinds: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The objects that hold records; memberships are not among them."""
    return [(kind, records) for kind, records in kinds.items() if kind not in ("members", "anonymous")]


def _attributes(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return record.get("properties") or record.get("custom_attributes") or record


def _scored(records: Any) -> int:
    each = records.values() if isinstance(records, dict) else records
    return sum(any(name.lower().endswith(("_score", "_score__c")) for name in _attributes(r)) for r in each)


def _examples(state: Mapping[str, Any], destinations: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """The contact and the company with the highest score, as each destination has it."""
    found = []
    for name in destinations:
        for kind, records in _objects(state.get(name, {})):
            each = [{"id": key, **r} for key, r in records.items()] if isinstance(records, dict) else records
            best = max(each, key=_score, default=None)
            if best is not None and _score(best) >= 0:
                ours = {k: v for k, v in sorted(_attributes(best).items()) if _ours(k)}
                found.append((f"{name} {kind}: {_label(best)}", ours))
    return found


def _ours(name: str) -> bool:
    return name.lower().startswith(("accoil", "engagement", "heatsync_level"))


def _score(record: Mapping[str, Any]) -> float:
    for name, value in _attributes(record).items():
        if name.lower().endswith(
            ("health_score", "health_score__c", "_account_score", "messaging_score", "messaging_score__c")
        ):
            return -1.0 if value in (None, "") else float(value)
    return -1.0


def _label(record: Mapping[str, Any]) -> str:
    attributes = {**record, **_attributes(record)}
    for name in ("email", "Email", "name", "Name", "domain"):
        if attributes.get(name):
            return str(attributes[name])
    return str(attributes.get("id") or attributes.get("Id") or "")
