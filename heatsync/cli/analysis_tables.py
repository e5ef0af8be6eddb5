"""The results of explain, backtest, whatif and suggest-weights as tables."""

from typing import Any

from heatsync.analysis.auc import Estimate, Rate
from heatsync.analysis.backtest_metrics import MIN_PREDICTIVE_AUC, MIN_ROWS, Backtest, Figures
from heatsync.analysis.explain import DesiredRecord, Explanation, NextLevel
from heatsync.analysis.suggest_weights import Suggestion
from heatsync.analysis.what_if import EntityImpact, WhatIf
from heatsync.cli import terminal
from heatsync.cli.analysis_json import iso
from heatsync.scoring.compute.calendar import day_of

MOST = 20
"""Rows shown of a long table; JSON has all of them."""


def print_backtest(found: Backtest) -> None:
    """Print a backtest of one entity."""
    entities = f"{found.entity}s" + (f" in the audience {found.audience}" if found.audience else "")
    if found.figures is None:
        terminal.show(f"{found.profile}, {entities}: no figure: {found.why}.")
        return
    figures = found.figures
    terminal.show(
        f"{found.profile}, {entities}: {found.snapshots} weekly snapshots from {found.first} to {found.last};"
        f" {found.rows} rows of {found.entities} {found.entity}s seen in the {found.window} days before."
        f" {found.churned} of them ({100 * found.churned / found.rows:.0f} %) were not seen in the {found.horizon} days after."
    )
    _print_aucs(figures)
    _print_groups(figures)
    terminal.show(f"The lowest tenth churns {figures.lift:.2f} times as often as average.")
    if found.coverage is not None:
        terminal.show(f"{found.coverage:.0f} % of the rows have a score above 0.")
    if found.stability is not None and found.stability.change is not None:
        terminal.show(
            f"From day to day a score moves by {found.stability.change:.1f} points; in a week"
            f" {found.stability.flips:.0f} of 100 {found.entity}s change their level (last {found.stability.days} days)."
        )
    if found.concentration is not None:
        most = found.concentration
        terminal.show(
            f"{100 * most.event_share:.0f} % of all raw points come from {most.event}, {100 * most.top_share:.0f} % from"
            f" the tenth of the {found.entity}s with the most."
        )
    if not figures.predictive:
        terminal.show(
            f"NOT PREDICTIVE: with an AUC below {MIN_PREDICTIVE_AUC:.2f} the score does not predict churn."
            f" `heatsync suggest-weights {found.profile}` looks for better weights."
        )


def _print_aucs(figures: Figures) -> None:
    rows: list[list[Any]] = [["the score", *_cells(figures.auc), ""]]
    rows.append(["the score as shown, against each day's benchmark", *_cells(figures.shown), ""])
    rows.append(["baseline: days since last seen", *_cells(figures.recency), _ahead(figures.over_recency)])
    rows.append(["baseline: plain count of events", *_cells(figures.count), _ahead(figures.over_count)])
    for name, part in (("earlier half", figures.early), ("later half", figures.late)):
        if part is None:
            rows.append([f"the score, {name}", "-", "-", f"fewer than {MIN_ROWS} churned or stayed"])
        else:
            span = f"{day_of(part.first)} to {day_of(part.last)}, {part.rows} rows"
            rows.append([f"the score, {name}", *_cells(part.auc), span])
    terminal.table(
        "Does the score predict churn? (AUC: 1 is perfect, 0.5 is chance)",
        ["", "AUC", "95 % interval", ""],
        rows,
    )


def _cells(found: Estimate) -> list[str]:
    return [f"{found.value:.3f}", f"{found.low:.3f} to {found.high:.3f}"]


def _ahead(gain: Estimate) -> str:
    """How the score compares with a baseline."""
    if gain.low > 0:
        return f"the score is better by {gain.value:.3f} ({gain.low:.3f} to {gain.high:.3f})"
    if gain.high < 0:
        return f"the score is WORSE by {-gain.value:.3f} ({-gain.high:.3f} to {-gain.low:.3f})"
    return f"no clear difference ({gain.value:+.3f}, {gain.low:+.3f} to {gain.high:+.3f})"


def _print_groups(figures: Figures) -> None:
    terminal.table(
        "Churn by score",
        ["tenth", "scores", "rows", "churned, %"],
        [
            [
                each.number,
                f"{each.lowest:.0f} to {each.highest:.0f}",
                round(each.rows),
                round(100 * each.rate, 1),
            ]
            for each in figures.deciles
        ],
    )
    first = day_of(figures.levels_first)
    if not figures.levels_shown:
        _print_levels(f"Churn by level, from {first} on", figures.levels)
        return
    _print_levels(f"Churn by level, learned before {first} and evaluated from then on", figures.levels)
    _print_levels(f"Churn by level as shown on each day from {first} on", figures.levels_shown)


def _print_levels(title: str, rates: tuple[Rate, ...]) -> None:
    terminal.table(
        title,
        ["level", "rows", "churned", "churned, %", "95 % interval"],
        [
            [
                each.name or "no level",
                each.rows,
                each.churned,
                round(100 * each.share.value, 1),
                f"{100 * each.share.low:.1f} to {100 * each.share.high:.1f}",
            ]
            for each in rates
        ],
    )


def print_suggestion(found: Suggestion) -> None:
    """Print suggested weights."""
    if found.now is None or found.suggested is None or found.gain is None:
        terminal.show(f"{found.profile}, {found.entity}s: no suggestion: {found.why}.")
        return
    terminal.table(
        f"Weights for {found.profile}, learned on {found.learned_rows} {found.entity} rows up to {found.learned_until}",
        ["event", "now", "suggested", "rows with it"],
        [[each.event, each.now, each.suggested, each.rows] for each in found.weights],
    )
    terminal.table(
        f"AUC on {found.evaluated_rows} later rows, from {found.evaluated_from} on",
        ["", "AUC", "95 % interval"],
        [["the present weights", *_cells(found.now)], ["the suggested weights", *_cells(found.suggested)]],
    )
    gain = f"{found.gain.value:+.3f} ({found.gain.low:+.3f} to {found.gain.high:+.3f})"
    if found.why:
        terminal.show(f"No better: {found.why}.")
    elif found.better:
        terminal.show(f"Better: {gain}. `heatsync whatif FILE` shows what they would move.")
    elif found.gain.high < 0:
        terminal.show(f"No better: {gain}. The current weights did better on the later days.")
    else:
        terminal.show(f"No better: {gain} is within chance. Keep the weights that you can explain.")


def print_what_if(found: WhatIf) -> None:
    """Print a what-if."""
    if found.same:
        terminal.show(f"{found.file} defines the same as {found.profile} does now: nothing would change.")
    for moves in found.moves:
        _print_moves(found, moves)
    if found.sent:
        terminal.table(
            "Records that would be sent because of the change",
            ["mapping", "destination", "records", "changed", "entered", "left", "cause"],
            [[s.mapping, s.destination, s.records, s.changed, s.entered, s.left, s.why] for s in found.sent],
        )


def _print_moves(found: WhatIf, moves: EntityImpact) -> None:
    correlation = "" if moves.correlation is None else f"; rank correlation {moves.correlation:.3f}"
    terminal.show(
        f"{found.profile}, {moves.entity}s, {found.as_of}: {moves.moved} of {moves.rows}"
        f" ({100 * moves.moved / moves.rows:.1f} %) would have another level{correlation}."
    )
    counts = {(before, after): count for before, after, count in moves.matrix}
    before = sorted({each for each, _ in counts}, key=moves.place)
    after = sorted({each for _, each in counts}, key=moves.place)
    terminal.table(
        "Levels: from the rows to the columns",
        ["", *(each or "no level" for each in after)],
        [[each or "no level", *(counts.get((each, other), 0) for other in after)] for each in before],
    )
    if moves.movers:
        terminal.table(
            "Largest moves",
            ["key", "score", "would be", "level", "would be"],
            [[m.key, m.before, m.after, m.level_before, m.level_after] for m in moves.movers],
        )
    sizes = [[key, old, new, new - old] for key, old, new in moves.audiences if old != new]
    if sizes:
        terminal.table("Audiences", ["audience", "now", "would be", "change"], sizes)
    if moves.auc is None:
        terminal.show(f"AUC: no figure: {moves.why}.")
        return
    old, new, gain = moves.auc
    terminal.table(
        "Does the score predict churn?",
        ["", "AUC", "95 % interval"],
        [
            ["now", *_cells(old)],
            ["with the change", *_cells(new)],
            ["gain", f"{gain.value:+.3f}", f"{gain.low:+.3f} to {gain.high:+.3f}"],
        ],
    )


def print_explanation(found: list[Explanation], payloads: list[DesiredRecord]) -> None:
    """Print an explanation."""
    for each in found:
        _print_explanation(each)
    for payload in payloads:
        _print_payload(payload)


def _print_explanation(found: Explanation) -> None:
    row = found.row
    exact = "" if row["score_exact"] is None else f" ({row['score_exact']:.2f})"
    terminal.show(
        f"{found.entity} {found.key}, {found.profile}, {found.as_of}:"
        f" score {terminal.shorten(row['score'])}{exact}, level {row['level'] or '-'}, trend {row['trend'] or '-'}"
    )
    if found.verdict is not None and not found.verdict.predictive:
        terminal.show(
            f"  NOT PREDICTIVE: the last backtest of {found.profile} had an AUC of {found.verdict.auc:.2f}."
        )
    if row["level_previous"] is not None or row["level_changed_on"] is not None:
        terminal.show(f"  level since {row['level_changed_on']}, before it {row['level_previous'] or 'none'}")
    inputs = ", ".join(f"{name} {_short(value)}" for name, value in found.inputs.items() if value is not None)
    terminal.show(f"  {inputs}")
    if found.contributions:
        terminal.table(
            "What the score is made of",
            ["event", "count", "points"],
            [
                *([each.name, each.count, round(each.points, 2)] for each in found.contributions[:MOST]),
                *_rest([each.points for each in found.contributions[MOST:]]),
                ["total", None, round(sum(each.points for each in found.contributions), 2)],
            ],
        )
    if found.members:
        terminal.table(
            "Points by user",
            ["user", "score", "points"],
            [
                *([each.key, each.score, round(each.points, 2)] for each in found.members[:MOST]),
                *_rest([each.points for each in found.members[MOST:]]),
            ],
        )
    _print_change(found)
    if found.next_level is not None:
        _print_next(found.next_level)
    terminal.show(f"  audiences: {', '.join(row['audiences']) or 'none'}")


def _short(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else iso(value)


def _rest(points: list[float]) -> list[list[Any]]:
    return [[f"{len(points)} more", None, round(sum(points), 2)]] if points else []


def _print_change(found: Explanation) -> None:
    if found.compared is None:
        terminal.show(f"  change in 30 days: {found.no_change_reason}")
        return
    compared, change = found.compared, found.compared.change
    rows: list[list[Any]] = [
        [name, round(points, 2)]
        for name, points in sorted(change.behaviour.items(), key=lambda each: (-abs(each[1]), each[0]))[:MOST]
        if round(points, 2)
    ]
    other = "active users and weights" if found.entity == "account" else "weights"
    rows += [[other, round(change.mix, 2)]] if round(change.mix, 2) else []
    rows += [[f"signal {name}", round(points, 2)] for name, points in change.signals.items()]
    rows.append(["benchmark: all other entities", round(change.benchmark, 2)])
    rows.append(["total", round(change.total, 2)])
    terminal.table(
        f"What changed since {compared.since}, when the score was {terminal.shorten(compared.score_before)}",
        ["", "points"],
        rows,
    )


def _print_next(found: NextLevel) -> None:
    start = f"  to {found.level} (from {found.bound:g})"
    if found.points is None and not found.events:
        terminal.show(
            f"{start}: {found.unit if found.unit != 'events' else 'no number of events reaches it'}"
        )
        return
    each = f" by each of {found.each} active users" if found.each > 1 else ""
    points = "" if found.points is None else f" {found.points:.2f} more raw points{each}; that is any of"
    unit = "" if found.unit == "events" else f" ({found.unit})"
    terminal.show(f"{start}:{points}{unit}")
    for name, count, per_day in found.events[:MOST]:
        limit = f" (at most {per_day} count a day)" if per_day is not None and count > per_day else ""
        terminal.show(f"    {count} x {name}{limit}")


def _print_payload(payload: DesiredRecord) -> None:
    terminal.show()
    what = "" if payload.covered else ": not in this mapping"
    terminal.show(f"{payload.mapping} -> {payload.destination} {payload.object}{what}")
    if payload.problem:
        terminal.show(f"  cannot be sent: {payload.problem}")
    for status in payload.statuses:
        code = f" ({status.code})" if status.code else ""
        since = f", written {terminal.at(status.updated_at)}" if status.updated_at is not None else ""
        terminal.show(f"  {status.label}: record {status.remote_id or '-'}, {status.state}{code}{since}")
        if status.status is not None:
            said = f": {status.answer or status.cause}" if status.answer or status.cause else ""
            terminal.show(
                f"    last answer, run {status.run} at {terminal.at(status.at)}: {status.status}{said}"
            )
    if payload.wants:
        held = payload.statuses[0].fields if payload.statuses else {}
        terminal.table(
            "Fields",
            ["field", "desired", "acknowledged"],
            [[name, _short(value), _short(held.get(name))] for name, value in payload.wants.items()],
        )
    if not payload.statuses:
        terminal.show("  nothing sent yet")
