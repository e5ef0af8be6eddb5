"""Runs and plans as JSON, and as tables for people."""

import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any

from connectors.errors import ConfigurationError
from heatsync.analysis import backtest_verdicts
from heatsync.cli import terminal
from heatsync.cli.remedies import remedy
from heatsync.ledger import EVERYTHING, PlannedChange, Run, write_value
from heatsync.snapshots.run import ScoringResult
from heatsync.sync import run as sync_run
from heatsync.sync.context import Context, how_to_resume
from heatsync.sync.plan import Plan
from heatsync.workspace.config import Workspace

EXAMPLES = 3


def snapshots_answer(workspace: Workspace, result: ScoringResult) -> dict[str, Any]:
    """Snapshots as JSON. `predictive` is the verdict of the profile's last backtest, null without one."""
    return {
        "snapshots": [
            {
                "profile": s.profile,
                "entity": str(s.entity),
                "date": s.date.isoformat(),
                "rows": s.rows,
                "path": str(s.path),
                "predictive": predictive(workspace, s.profile, str(s.entity)),
            }
            for s in result.snapshots
        ],
        "ignored": dict(result.ignored),
        "notes": list(result.notes),
    }


def predictive(workspace: Workspace, profile: str, entity: str) -> bool | None:
    """Whether the profile's last backtest called it predictive; None without a backtest."""
    found = backtest_verdicts.load_verdicts(workspace, profile).get(entity)
    return None if found is None else found.predictive


def target_line(context: Context, plan: Plan) -> str:
    """The line printed before anything is written: account, host, number of records."""
    run = plan.run
    opened = context.already_open(run.mapping)
    name = f" ({opened.account.name})" if opened is not None and opened.account.name else ""
    config = context.workspace.destinations[run.destination]
    host = opened.destination.host if opened is not None else "?"
    counts = plan.run.planned
    creations = f"{counts.created} to create, " if counts.created else ""
    size = f"{creations}{counts.entered + counts.changed - counts.created} to update, {counts.left} left"
    new = len(plan.run.planned.new_fields)
    fields = f"; creates {new} field{'s' if new > 1 else ''}" if new else ""
    return f"{run.mapping} -> {config.vendor.title} {run.label}{name} at {host}: {size}{fields}"


def plan_answer(context: Context, plan: Plan, with_changes: bool) -> dict[str, Any]:
    """A plan as JSON, in the shape of a run."""
    run, counts = plan.run, plan.run.planned
    mapping = context.mappings[run.mapping]
    opened = context.open(mapping)
    limits = opened.limits
    answer: dict[str, Any] = {
        "mapping": run.mapping,
        "destination": run.destination,
        "account": run.label,
        "object": run.object,
        "state": "held" if plan.reasons else "planned",
        "cause": run.cause,
        "records": counts.records,
        "planned": {
            "entered": counts.entered,
            "changed": counts.changed,
            "left": counts.left,
            "unchanged": counts.unchanged,
        },
        "matched": counts.matched,
        "unmatched": counts.unmatched,
        "ambiguous": counts.ambiguous,
        "refused": counts.refused,
        "skipped": counts.skipped,
        "created": counts.created,
        "parked": counts.parked,
        "calls": plan.run.planned.calls,
        "seconds": round(plan.run.planned.calls * limits.seconds / limits.calls, 1),
        "quota": {
            "calls": limits.calls,
            "per_seconds": limits.seconds,
            "per_day": context.calls_per_day(mapping),
        },
        "new_fields": [new.name for new in plan.run.planned.new_fields],
        "predictive": predictive(context.workspace, mapping.profile, mapping.entity.value),
    }
    if context.mappings[run.mapping].vendor.counts_profiles:
        answer["profiles"] = counts.entered + counts.changed
    if with_changes:
        answer["changes"] = [_change(PlannedChange(row.change, row.digest, row.level)) for row in plan.shown]
    return answer


def _split(planned: dict[str, Any]) -> tuple[int, int]:
    """Numbers of records to create and to update; without reading, all count as updates."""
    written = planned["planned"]["entered"] + planned["planned"]["changed"]
    return planned["created"], written - planned["created"]


def _change(planned: PlannedChange) -> dict[str, Any]:
    change = planned.change
    return {
        "key": change.key,
        "kind": change.kind.value,
        "fields": {
            name: {"old": write_value(change.before.get(name)), "new": write_value(value)}
            for name, value in change.fields.items()
        },
    }


def run_answer(context: Context, result: sync_run.RunResult) -> dict[str, Any]:
    """A run as JSON, with every mapping, also those that failed before a plan."""
    answers = {answer["mapping"]: answer for answer in sync_run.mapping_answers(context, result.run)}
    for one in result.results:
        name = one.mapping.name
        if one.paused is not None:
            everything = context.ledger.find_pause(EVERYTHING) is not None
            by_hand = (
                f"{one.paused.cause}: `heatsync resume{'' if everything else f' {name}'}` ends the pause"
            )
            cause = by_hand if one.paused.by_hand else f"{one.paused.cause} {how_to_resume(name)}"
            answers[name] = _bare(one, "paused", cause)
        elif one.error is not None and name not in answers:
            answers[name] = _bare(one, "failed", one.error.delivery_message)
        elif one.error is not None:
            answers[name] |= {"state": "failed", "cause": one.error.delivery_message}
    states = {answer["state"] for answer in answers.values()}
    if any(one.paused is not None and not one.paused.by_hand for one in result.results):
        states.add("failed")
    state = next((s for s in ("failed", "held", "ready") if s in states), "done")
    return {
        "run": result.run,
        "state": state,
        "as_of": result.as_of.isoformat(),
        "mappings": [answers[one.mapping.name] for one in result.results if one.mapping.name in answers],
    }


def _bare(one: sync_run.MappingResult, state: str, cause: str) -> dict[str, Any]:
    return {
        "mapping": one.mapping.name,
        "destination": one.mapping.destination,
        "account": None,
        "object": one.mapping.object,
        "state": state,
        "cause": cause,
        "records": 0,
        "planned": dict.fromkeys(("entered", "changed", "left", "unchanged"), 0),
        "outcomes": dict.fromkeys(("delivered", "rejected", "skipped", "deferred", "unknown"), 0),
        "parked": 0,
        "lost_earlier": 0,
        "calls": 0,
        "seconds": 0.0,
    }


def find_run(context: Context, run: str) -> list[Run]:
    """The rows of a run in the ledger. Raises ConfigurationError if the run is unknown."""
    rows = context.ledger.runs(run)
    if not rows:
        raise ConfigurationError(f"There is no run {run}. `heatsync runs` lists them.")
    return rows


def runs_answer(context: Context) -> list[dict[str, Any]]:
    """The latest runs as JSON, the newest first."""
    return [
        {
            "run": row.run,
            "mapping": row.mapping,
            "destination": row.destination,
            "account": row.label,
            "as_of": row.as_of,
            "at": terminal.at(row.created_at),
            "ended": terminal.at(row.ended_at),
            "state": row.state,
            "cause": row.cause,
            "writes": row.planned.writes,
            "calls": row.calls,
        }
        for row in context.ledger.runs()
    ]


def run_details(context: Context, run: str, number: int) -> dict[str, Any]:
    """A run as JSON with its first `number` changes per mapping. Raises ConfigurationError if the run is unknown."""
    rows = find_run(context, run)
    mappings = sync_run.mapping_answers(context, run)
    for answer in mappings:
        changes = context.ledger.planned_changes(run, answer["mapping"], number)
        answer["changes"] = [_change(planned) for planned in changes]
    return {
        "run": run,
        "as_of": rows[0].as_of,
        "at": terminal.at(min(row.created_at for row in rows)),
        "mappings": mappings,
    }


def failures_answer(context: Context, run: str | None) -> list[dict[str, Any]]:
    """Rejected and unknown records by mapping, code and field as JSON, the most frequent cause first."""
    groups: dict[tuple[str, str, str], list[Any]] = defaultdict(list)
    for row in _once(context.ledger.failures(run)):
        groups[(row.mapping, row.code, row.field or "")].append(row)
    answers = []
    for (mapping, code, _field), rows in groups.items():
        answers.append(
            {
                "code": code,
                "cause": rows[0].cause,
                "cure": remedy(code),
                "mapping": mapping,
                "count": len(rows),
                "examples": [
                    {"key": row.entity, "field": row.field, "value": row.value, "answer": row.answer}
                    for row in rows[:EXAMPLES]
                ],
            }
        )
    return sorted(answers, key=lambda answer: (-answer["count"], answer["mapping"], answer["code"]))


def _once(rows: Sequence[Any]) -> list[Any]:
    """The newest outcome of each record."""
    newest: dict[tuple[str, str], Any] = {}
    for row in rows:
        newest.setdefault((row.mapping, row.entity), row)
    return list(newest.values())


def print_failures_csv(context: Context, run: str | None) -> None:
    """Print every rejected or unknown record as CSV: of a run, or all that are still undelivered."""
    writer = csv.writer(sys.stdout)
    writer.writerow(["mapping", "key", "code", "field", "value", "cause", "answer", "cure", "run"])
    for row in _once(context.ledger.failures(run)):
        writer.writerow(
            [
                row.mapping,
                row.entity,
                row.code,
                row.field,
                row.value,
                row.cause,
                row.answer,
                remedy(row.code),
                row.run,
            ]
        )


def print_failures(grouped: list[dict[str, Any]]) -> None:
    """Print rejected records, grouped by cause."""
    if not grouped:
        terminal.show("No record is rejected.")
        return
    for group in grouped:
        terminal.show(f"{group['count']} x {group['code']} in {group['mapping']}: {group['cause']}")
        terminal.show(f"    fix: {group['cure']}")
        for example in group["examples"]:
            value = f" = {example['value']!r}" if example["value"] is not None else ""
            field = f" {example['field']}{value}" if example["field"] else ""
            answer = f": {example['answer']}" if example["answer"] else ""
            terminal.show(f"    {example['key']}{field}{answer}")


def print_plans(plans: list[dict[str, Any]], as_of: date) -> None:
    """Print plans as a table, with the changes that they show."""
    ready = [plan for plan in plans if plan["state"] != "failed"]
    terminal.table(
        f"What a sync would change, as of {as_of}",
        [
            "mapping",
            "records",
            "create",
            "update",
            "left",
            "same",
            "unmatched",
            "ambiguous",
            "refused",
            "skipped",
            "calls",
            "of the day",
            "s",
        ],
        [
            [
                p["mapping"],
                p["records"],
                *_split(p),
                p["planned"]["left"],
                p["planned"]["unchanged"],
                p["unmatched"],
                p["ambiguous"],
                p["refused"],
                p["skipped"],
                p["calls"],
                f"{p['calls'] / p['quota']['per_day']:.0%}" if p["quota"]["per_day"] else "-",
                p["seconds"],
            ]
            for p in ready
        ],
    )
    for plan in plans:
        if plan["cause"]:
            word = "held" if plan["state"] == "held" else plan["state"]
            terminal.show(f"{plan['mapping']}: {word}: {plan['cause']}")
        if plan.get("new_fields"):
            names = ", ".join(f"`{name}`" for name in plan["new_fields"])
            terminal.show(f"{plan['mapping']}: creates {names}")
        _print_changes(plan)


def print_run(answer: dict[str, Any]) -> None:
    """Print how a run ended, a line for each mapping."""
    terminal.table(
        f"Run {answer['run']} as of {answer['as_of']}: {answer['state']}",
        [
            "mapping",
            "state",
            "records",
            "same",
            "sent",
            "rejected",
            "unknown",
            "skipped",
            "parked",
            "due",
            "calls",
            "s",
        ],
        [
            [
                m["mapping"],
                m["state"],
                m["records"],
                m["planned"]["unchanged"],
                m["outcomes"]["delivered"],
                m["outcomes"]["rejected"],
                m["outcomes"]["unknown"],
                m["outcomes"]["skipped"],
                m["parked"],
                m["outcomes"]["deferred"],
                m["calls"],
                round(m["seconds"], 1),
            ]
            for m in answer["mappings"]
        ],
    )
    for mapping in answer["mappings"]:
        if mapping["cause"]:
            terminal.show(f"{mapping['mapping']}: {mapping['state']}: {mapping['cause']}")
        if mapping["lost_earlier"]:
            terminal.show(
                f"{mapping['mapping']}: {mapping['lost_earlier']} records of an earlier run's unfinished work were not delivered:"
                " `heatsync failures` lists the causes and remedies."
            )
    if answer["state"] == "held":
        terminal.show(
            f"Look at it: `heatsync show {answer['run']}`. Send it: `heatsync approve {answer['run']}`."
        )
    if any(m["outcomes"]["rejected"] or m["outcomes"]["unknown"] for m in answer["mappings"]):
        terminal.show(f"Causes and remedies: `heatsync failures {answer['run']}`.")


def print_run_details(shown: dict[str, Any]) -> None:
    """Print a run with its counts and changes."""
    terminal.show(f"Run {shown['run']} of {shown['at']}, as of {shown['as_of']}")
    for mapping in shown["mappings"]:
        counts = ", ".join(f"{n} {kind}" for kind, n in mapping["planned"].items())
        outcomes = ", ".join(f"{n} {status}" for status, n in mapping["outcomes"].items() if n)
        terminal.show()
        terminal.show(
            f"{mapping['mapping']} -> {mapping['destination']} {mapping['account']}: {mapping['state']}"
        )
        if mapping["cause"]:
            terminal.show(f"  cause: {mapping['cause']}")
        terminal.show(f"  planned: {mapping['records']} records: {counts}")
        terminal.show(f"  to create: {mapping['created']}")
        aside = ", ".join(
            f"{mapping[word]} {word}" for word in ("unmatched", "ambiguous", "refused", "skipped")
        )
        terminal.show(f"  not sent: {aside}; {mapping['parked']} of them unchanged since an older run")
        terminal.show(
            f"  outcomes: {outcomes or 'none yet'}; calls: {mapping['calls']}; seconds: {mapping['seconds']}"
        )
        _print_changes(mapping)


def _print_changes(mapping: dict[str, Any]) -> None:
    for change in mapping.get("changes", ()):
        terminal.show(f"  {change['key']} ({change['kind']}): {terminal.fields(change['fields'])}")
