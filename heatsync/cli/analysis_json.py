"""The results of explain, backtest, whatif and suggest-weights as JSON.

Percentages are 0 to 100, AUCs 0 to 1.
"""

from datetime import date, datetime
from math import isnan
from typing import Any

from heatsync.analysis.auc import Estimate, Rate
from heatsync.analysis.backtest_metrics import Backtest, Period
from heatsync.analysis.explain import ChangeSince, DesiredRecord, Explanation, NextLevel
from heatsync.analysis.suggest_weights import Suggestion
from heatsync.analysis.what_if import WhatIf
from heatsync.cli import terminal
from heatsync.scoring.compute.calendar import day_of


def figure(found: Estimate | None, digits: int = 4) -> dict[str, float | None] | None:
    """An estimate and its interval as JSON, rounded; None stays None."""
    if found is None:
        return None
    return {name: number(getattr(found, name), digits) for name in ("value", "low", "high")}


def number(value: float | None, digits: int = 4) -> float | None:
    """Rounded; None for NaN, which JSON does not have."""
    return None if value is None or isnan(value) else round(value, digits)


def backtest_answer(found: Backtest) -> dict[str, Any]:
    """A backtest as JSON."""
    answer: dict[str, Any] = {
        "profile": found.profile,
        "entity": found.entity,
        "audience": found.audience,
        "window": found.window,
        "horizon": found.horizon,
        "from": iso(found.first),
        "to": iso(found.last),
        "snapshots": found.snapshots,
        "rows": found.rows,
        "entities": found.entities,
        "churned": found.churned,
        "churn_percent": number(100 * found.churned / found.rows, 2) if found.rows else None,
        "coverage": number(found.coverage, 2),
        "why": found.why,
        "predictive": None,
        "auc": None,
    }
    figures = found.figures
    if figures is None:
        return answer
    steady, concentrated = found.stability, found.concentration
    return answer | {
        "predictive": figures.predictive,
        "auc": figure(figures.auc),
        "auc_shown": figure(figures.shown),
        "baselines": {"recency": figure(figures.recency), "count": figure(figures.count)},
        "gain": {"recency": figure(figures.over_recency), "count": figure(figures.over_count)},
        "early": _part(figures.early),
        "late": _part(figures.late),
        "lift": number(figures.lift),
        "deciles": [
            {
                "decile": each.number,
                "rows": round(each.rows, 1),
                "churn_percent": round(100 * each.rate, 2),
                "lowest": round(each.lowest, 2),
                "highest": round(each.highest, 2),
            }
            for each in figures.deciles
        ],
        "levels": [_rate(each) for each in figures.levels],
        "levels_shown": [_rate(each) for each in figures.levels_shown],
        "levels_from": day_of(figures.levels_first).isoformat(),
        "stability": {
            "daily_change": number(steady.change) if steady else None,
            "flips_per_100_per_week": number(steady.flips) if steady else None,
            "days": steady.days if steady else 0,
        },
        "concentration": {
            "event": concentrated.event,
            "event_percent": round(100 * concentrated.event_share, 2),
            "top_tenth_percent": round(100 * concentrated.top_share, 2),
        }
        if concentrated
        else None,
    }


def _part(part: Period | None) -> dict[str, Any] | None:
    if part is None:
        return None
    return {
        "from": day_of(part.first).isoformat(),
        "to": day_of(part.last).isoformat(),
        "rows": part.rows,
        "churned": part.churned,
        "auc": figure(part.auc),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "level": rate.name or None,
        "rows": rate.rows,
        "churned": rate.churned,
        "churn_percent": round(100 * rate.share.value, 2),
        "low": number(100 * rate.share.low, 2),
        "high": number(100 * rate.share.high, 2),
    }


def suggestion_answer(found: Suggestion) -> dict[str, Any]:
    """Suggested weights as JSON."""
    return {
        "profile": found.profile,
        "entity": found.entity,
        "horizon": found.horizon,
        "learnt": {"to": iso(found.learned_until), "rows": found.learned_rows},
        "judged": {"from": iso(found.evaluated_from), "rows": found.evaluated_rows},
        "weights": [
            {"event": each.event, "now": each.now, "suggested": each.suggested, "rows": each.rows}
            for each in found.weights
        ],
        "auc": {
            "now": figure(found.now),
            "suggested": figure(found.suggested),
            "gain": figure(found.gain),
        },
        "verdict": verdict(found),
        "why": found.why,
    }


def verdict(found: Suggestion) -> str | None:
    """Whether the suggested weights are better, in words; None if they were not compared."""
    if found.gain is None:
        return None
    return "better" if found.better else "no better"


def what_if_answer(found: WhatIf) -> dict[str, Any]:
    """A what-if as JSON."""
    return {
        "profile": found.profile,
        "file": found.file,
        "as_of": found.as_of.isoformat(),
        "same": found.same,
        "entities": [
            {
                "entity": moves.entity,
                "rows": moves.rows,
                "moved": moves.moved,
                "moved_percent": round(100 * moves.moved / moves.rows, 2),
                "levels": [
                    {"from": before, "to": after, "count": count} for before, after, count in moves.matrix
                ],
                "movers": [
                    {
                        "key": each.key,
                        "score": {"old": each.before, "new": each.after},
                        "level": {"old": each.level_before, "new": each.level_after},
                    }
                    for each in moves.movers
                ],
                "audiences": [
                    {"audience": key, "old": before, "new": after} for key, before, after in moves.audiences
                ],
                "rank_correlation": number(moves.correlation),
                "auc": {
                    name: figure(each) for name, each in zip(("old", "new", "gain"), moves.auc, strict=True)
                }
                if moves.auc
                else None,
                "why": moves.why,
            }
            for moves in found.moves
        ],
        "mappings": [
            {
                "mapping": each.mapping,
                "destination": each.destination,
                "records": each.records,
                "changed": each.changed,
                "entered": each.entered,
                "left": each.left,
                "why": each.why,
            }
            for each in found.sent
        ],
    }


def explanation_answer(found: list[Explanation], payloads: list[DesiredRecord]) -> dict[str, Any]:
    """Explanations, and the records that mappings send, as JSON."""
    first = found[0]
    return {
        "key": first.key,
        "entity": first.entity,
        "as_of": first.as_of.isoformat(),
        "profiles": [_explanation(each) for each in found],
        "destinations": [_payload(each) for each in payloads],
    }


def _explanation(found: Explanation) -> dict[str, Any]:
    row = found.row
    return {
        "profile": found.profile,
        "as_of": found.as_of.isoformat(),
        "score": row["score"],
        "score_exact": row["score_exact"],
        "raw": row.get("raw"),
        "benchmark": row["benchmark"],
        "level": row["level"],
        "level_previous": row["level_previous"],
        "level_changed_on": iso(row["level_changed_on"]),
        "trend": row["trend"],
        "predictive": found.verdict.predictive if found.verdict is not None else None,
        "inputs": {name: iso(value) for name, value in found.inputs.items()},
        "contributions": [
            {"name": each.name, "count": each.count, "points": each.points} for each in found.contributions
        ],
        "users": [{"user_id": each.key, "score": each.score, "points": each.points} for each in found.members]
        if found.entity == "account"
        else None,
        "audiences": list(row["audiences"]),
        "change": _change(found.compared) if found.compared is not None else {"why": found.no_change_reason},
        "next_level": _next(found.next_level) if found.next_level is not None else None,
    }


def _change(compared: ChangeSince) -> dict[str, Any]:
    change = compared.change
    return {
        "since": compared.since.isoformat(),
        "score_before": compared.score_before,
        "score_exact_before": compared.exact_before,
        "total": change.total,
        "behaviour": [
            {"name": name, "points": points}
            for name, points in sorted(change.behaviour.items(), key=lambda each: (-abs(each[1]), each[0]))
        ],
        "mix": change.mix,
        "benchmark": change.benchmark,
        "signals": [{"name": name, "points": points} for name, points in change.signals.items()],
    }


def _next(found: NextLevel) -> dict[str, Any]:
    return {
        "level": found.level,
        "from": found.bound,
        "raw_points": found.points,
        "users": found.each,
        "unit": found.unit,
        "events": [
            {"event": name, "count": count, "per_day": per_day} for name, count, per_day in found.events
        ],
    }


def _payload(payload: DesiredRecord) -> dict[str, Any]:
    return {
        "mapping": payload.mapping,
        "destination": payload.destination,
        "object": payload.object,
        "covered": payload.covered,
        "problem": payload.problem or None,
        "wants": dict(payload.wants),
        "accounts": [
            {
                "account": status.label,
                "remote_id": status.remote_id,
                "state": status.state,
                "code": status.code,
                "fields": dict(status.fields),
                "written": terminal.at(status.updated_at),
                "last": {
                    "status": status.status,
                    "cause": status.cause,
                    "answer": status.answer,
                    "run": status.run,
                    "at": terminal.at(status.at),
                }
                if status.status is not None
                else None,
            }
            for status in payload.statuses
        ],
    }


def iso(value: Any) -> Any:
    """A date or a datetime in ISO 8601; other values stay as they are."""
    return value.isoformat() if isinstance(value, date | datetime) else value
