"""The contributions to a score."""

import math
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from typing import Any

from .scores import Scores

Entry = dict[str, Any]


class Contributions:
    """The contributions of all entities on one day."""

    def __init__(self, scores: Scores, entity: str, day: date) -> None:
        self.scores, self.raw, self.rules = scores, scores.raw, scores.rules
        self.entity, self.day = entity, day
        self.members = self.raw.members(day)
        self.touchpoints = scores.touchpoints(entity, day) if self.rules.model == "kpi" else {}
        self.counts = {
            point.name: self.raw.counted(point.of, entity, day)
            for point in self.rules.touchpoints
            if point.name in self.touchpoints
        }

    def of(self, key: str) -> list[Entry]:
        """The events or touchpoints and signals of a score, in points that add up to it."""
        score = self.scores.of(self.entity, self.day)[key]
        if score.exact is None:
            return []
        left = 1 - sum(share for _, share, _ in score.signals)
        found = [
            {"name": name, "n": number, "points": left * points}
            for name, number, points in self.behaviour(key, score.behaviour or 0.0)
        ]
        found += [
            {"name": trait, "n": None, "points": share * value} for trait, share, value in score.signals
        ]
        return sorted(found, key=lambda entry: (-round(entry["points"], 9), entry["name"]))

    def drivers(self, key: str) -> str | None:
        """The three events that contribute most, without signals."""
        if self.rules.model == "kpi":
            score = self.scores.of(self.entity, self.day)[key]
            worth = {name: points for name, _, points in self.behaviour(key, score.behaviour or 0.0)}
        else:
            worth = {name: points for name, (_, points) in self.done(key).items()}
        best = sorted((-round(points, 9), name) for name, points in worth.items() if points > 0)[:3]
        return ", ".join(name for _, name in best) or None

    def behaviour(self, key: str, exact: float) -> list[tuple[str, int, float]]:
        """Name, how often in the window, points of the score before signals."""
        if self.rules.model == "kpi":
            return [
                (name, self.counts[name].get(key, 0), share * values[key])
                for name, (share, values) in self.touchpoints.items()
                if share > 0 and values.get(key, 0.0) > 0
            ]
        done = self.done(key)
        together = math.fsum(value for _, value in done.values())
        return [
            (name, number, exact * value / together) for name, (number, value) in done.items() if value > 0
        ]

    def done(self, key: str) -> Mapping[str, tuple[int, float]]:
        """By event: its count and its part of the raw score; for an account in `weighted`, the sums of its users."""
        if self.rules.model == "engagement" or self.entity == "user":
            return self.raw.parts(self.entity, self.day).get(key, {})
        parts = self.raw.parts("user", self.day)
        numbers: dict[str, int] = defaultdict(int)
        values: dict[str, list[float]] = defaultdict(list)
        for user in self.members.get(key, []):
            for name, (number, value) in parts.get(user, {}).items():
                numbers[name] += number
                values[name].append(value)
        return {name: (numbers[name], math.fsum(values[name])) for name in values}
