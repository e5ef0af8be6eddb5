"""The snapshots of one user or account, converted for `heatsync.analysis.score_breakdown`.

A snapshot has raw points, the benchmark, and the contribution of each event in points of the score. The raw points of
an event are its share of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import log10
from pathlib import Path
from typing import Any

import duckdb

from heatsync.analysis.score_breakdown import Curve, ScorePart, ScoreParts, score_curve
from heatsync.scoring.compute import calendar, churn_levels
from heatsync.scoring.compute.compiled_profile import NANO
from heatsync.scoring.definition.profile import Profile
from heatsync.snapshots.history_files import History
from heatsync.snapshots.parquet_files import read_metadata
from heatsync.workspace.config import Workspace

Row = Mapping[str, Any]
ONLY_PART = ""
"""The name of the part, if there is only one."""


@dataclass(frozen=True, slots=True)
class SnapshotReader:
    """Reads the snapshots of a profile. `con` is any DuckDB connection."""

    con: duckdb.DuckDBPyConnection
    workspace: Workspace
    name: str
    profile: Profile

    def path(self, entity: str, day: date) -> Path:
        """The file of the snapshot of a day."""
        return self.workspace.snapshot_path(self.name, entity, day)

    @property
    def version(self) -> str:
        """The version that a snapshot of the current profile has."""
        return f"{self.profile.version} {self.workspace.time_zone.key}"

    def is_current(self, entity: str, day: date) -> bool:
        """Whether there is a snapshot of the current version of the profile."""
        found = read_metadata(self.path(entity, day))
        return found is not None and found.version == self.version

    def row(self, entity: str, key: str, day: date) -> Row | None:
        """The row of an entity on a day, by column; None if the snapshot does not have it."""
        rows = self._rows(entity, day, f"{entity}_id = ?", key)
        return rows[0] if rows else None

    def members(self, account: str, day: date) -> list[Row]:
        """The users of an account, the highest score first."""
        return self._rows("user", day, "account_id = ? ORDER BY score_exact DESC, user_id", account)

    def raw_scores(self, entity: str, day: date) -> list[float]:
        """The raw scores above 0 of a day, in ascending order."""
        found = self.con.execute(
            "SELECT raw FROM read_parquet(?) WHERE raw > 0 ORDER BY raw", [str(self.path(entity, day))]
        ).fetchall()
        return [float(raw) for (raw,) in found]

    def _rows(self, entity: str, day: date, where: str, value: str) -> list[Row]:
        result = self.con.execute(
            f"SELECT * FROM read_parquet(?) WHERE {where}", [str(self.path(entity, day)), value]
        )
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def score_parts(self, entity: str, key: str, day: date) -> ScoreParts:
        """What an entity's score of a day is made of; an entity without a row has no parts."""
        row = self.row(entity, key, day)
        averaged = (
            entity == "account" and self.profile.model == "weighted" and self.profile.rollup == "average"
        )
        along = self.curve("user" if averaged else entity, day, row)
        signals, activity_share = self._signals(row)
        if averaged:
            users = [each for each in self.members(key, day) if each["frequency"] > 0]
            parts = {each["user_id"]: ScorePart(self._points(each), along, 1 / len(users)) for each in users}
        elif self.profile.model == "kpi":
            parts = self._touchpoints(entity, row, day, activity_share)
        else:
            parts = {ONLY_PART: ScorePart(self._points(row), along)} if row is not None else {}
        return ScoreParts(parts, along, signals, activity_share)

    def curve(self, entity: str, day: date, row: Row | None = None) -> Curve:
        """How raw points became a score on a day."""
        kind = self.profile.normalize.kind
        if kind == "percentile":
            return score_curve(kind, None, self.raw_scores(entity, day))
        return score_curve(kind, self.benchmark(entity, day, row))

    def benchmark(self, entity: str, day: date, row: Row | None = None) -> float | None:
        """The benchmark of a day; None in `kpi`, which has one per touchpoint."""
        if self.profile.normalize.target is not None:
            return float(self.profile.normalize.target)
        if row is not None and row["benchmark"] is not None:
            return float(row["benchmark"])
        found = self.con.execute(
            "SELECT any_value(benchmark) FROM read_parquet(?)", [str(self.path(entity, day))]
        ).fetchone()
        return None if found is None or found[0] is None else float(found[0])

    def _signals(self, row: Row | None) -> tuple[dict[str, float], float]:
        """The points of each signal that the entity has, and the share of the score that is left for activity."""
        traits = {signal.trait: signal.weight for signal in self.profile.signals}
        signals = [each for each in _contributions(row) if each["n"] is None]
        found = {each["name"]: float(each["points"]) for each in signals if each["name"] in traits}
        present = sum((traits[name] for name in found), Decimal(0))
        return found, float(1 - present / 100)

    def _points(self, row: Row | None) -> dict[str, float]:
        """Raw points per event."""
        done = _done(row)
        total = sum(done.values())
        if row is None or not total or not row["raw"]:
            # A score only of signals, or below a huge benchmark, has raw points that contribute no point of the score.
            return {"": float(row["raw"])} if row is not None and row["raw"] else {}
        return {name: float(row["raw"]) * points / total for name, points in done.items()}

    def _history(self, entity: str) -> History:
        folder = self.workspace.state / "history" / self.name / entity
        return History(folder, self.version, self.profile.levels.names).load()

    def level_bound(self, entity: str, day: date, level: str) -> float | None:
        """The E above which a learned level starts on a day; None if no bounds were learned."""
        number = calendar.day_number(day)
        learned = self._history(entity).level_bounds.get(churn_levels.estimate_days(number)[-1])
        found = {"Medium": learned.low, "High": learned.high}.get(level) if learned is not None else None
        return None if found is None else float(found) / NANO

    def _touchpoints(
        self, entity: str, row: Row | None, day: date, activity_share: float
    ) -> dict[str, ScorePart]:
        """A part per touchpoint that had data on the day. Its total is computed back from its score and its
        benchmark."""
        used = self._history(entity).used.get(calendar.day_number(day), {})
        weighing = [each for each in self.profile.touchpoints if each.weight > 0]
        there = [(place, each) for place, each in enumerate(weighing) if not used or place in used]
        whole = float(sum(each.weight for _, each in there)) or 1.0
        done = _done(row)
        parts: dict[str, ScorePart] = {}
        for place, each in there:
            share = float(each.weight) / whole
            benchmark = self.benchmark(entity, day) or used.get(place) or 1.0
            score = done.get(each.name, 0.0) / (share * activity_share) if activity_share else 0.0
            kind = self.profile.normalize.kind
            along = score_curve("winsor" if kind == "percentile" else kind, benchmark)
            parts[each.name] = ScorePart({each.name: _raw(kind, score, benchmark)}, along, share)
        return parts


def _done(row: Row | None) -> dict[str, float]:
    """Points of the score per event or touchpoint."""
    return {each["name"]: float(each["points"]) for each in _contributions(row) if each["n"] is not None}


def _contributions(row: Row | None) -> Sequence[Mapping[str, Any]]:
    return (row.get("contributions") or ()) if row is not None else ()


def _raw(kind: str, score: float, benchmark: float) -> float:
    """The raw points behind a score."""
    if kind in ("winsor", "percentile"):
        return benchmark * score / 100
    return -benchmark * log10(max(1e-300, 1 - score / 100))
