"""The members of audiences, built-in and custom."""

from collections.abc import Callable, Mapping
from typing import Any

from .conditions import Judge, Subject
from .log import Log
from .numbers import snake, truth
from .rules import Rules

Test = Callable[[Subject], bool]
NOT_SHIPPED = {"all", "all_active", "active_today"}
TRENDS = ("New", "Cooling", "Neutral", "Heating", "Surging")


class Audiences:
    """The audiences of an entity. `own` are the entries of audience files, by key."""

    def __init__(
        self, log: Log, rules: Rules, judge: Judge, entity: str, own: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.log, self.rules = log, rules
        self.names, self.tests, self.shipped = {}, {}, {}
        for key, (name, test) in self.built_in(entity).items():
            self.names[key], self.tests[key] = name, test
            default = key not in NOT_SHIPPED and not key.startswith(("level_", "trend_"))
            self.shipped[key] = rules.ship.get(key, default)
        for key, tree in own.items():
            if tree["entity"] == entity:
                self.names[key] = tree.get("name", key)
                self.tests[key] = _written(judge, tree["where"])
                self.shipped[key] = truth(tree.get("ship", "true"))

    def built_in(self, entity: str) -> dict[str, tuple[str, Test]]:
        found: dict[str, tuple[str, Test]] = {
            "all": ("All", lambda _: True),
            "all_active": ("All Active", lambda who: who.traits["frequency"] > 0),
            "new": ("New", self.new),
            "most_engaged": ("Most Engaged", _between("score", 75, 101)),
            "slightly_engaged": ("Slightly Engaged", _between("score", 50, 75)),
            "passive": ("Passive", _between("score", 25, 50)),
            "least_engaged": ("Least Engaged", _between("score", 0, 25)),
            "recently_inactive": ("Recently Inactive", self.recently_inactive),
            "red_hot": ("Red Hot", _between("score_change_window", 10, 101)),
            "ice_cold": ("Ice Cold", _between("score_change_window", -100, -9)),
            "mature": ("Mature", self.mature),
            "active_today": ("Active Today", lambda who: who.traits["active_today"]),
        }
        if entity == "account":
            found["multi_user_accounts"] = (
                "Multi-User Accounts",
                lambda who: who.traits["active_users"] >= 2,
            )
        for name in self.rules.level_names:
            found["level_" + snake(name)] = (name, _is("level", name))
        for name in TRENDS:
            found["trend_" + snake(name)] = (name, _is("trend", name))
        return found

    def new(self, who: Subject) -> bool:
        up = who.traits["signed_up"]
        return up is not None and up >= self.log.ago(who.day, self.rules.window)

    def mature(self, who: Subject) -> bool:
        up = who.traits["signed_up"]
        return up is None or up < self.log.ago(who.day, 180)

    def recently_inactive(self, who: Subject) -> bool:
        last = who.traits["last_active"]
        return last is not None and self.log.ago(who.day, 60) <= last < self.log.ago(who.day, 30)

    def of(self, who: Subject) -> dict[str, list[str]]:
        """The keys, and the names of those that are shipped."""
        who.audiences = self.tests
        keys = sorted(key for key, test in self.tests.items() if test(who))
        return {"audiences": keys, "segments": sorted({self.names[key] for key in keys if self.shipped[key]})}


def _between(trait: str, low: int, high: int) -> Test:
    def test(who: Subject) -> bool:
        value = who.traits[trait]
        return value is not None and low <= value < high

    return test


def _is(trait: str, name: str) -> Test:
    return lambda who: who.traits[trait] == name


def _written(judge: Judge, condition: Mapping[str, Any]) -> Test:
    return lambda who: judge.holds(condition, who)
