"""The built-in audiences of a profile: their keys, their names, and who is in them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scoring.scalars import snake

if TYPE_CHECKING:
    from scoring.profile import Profile

TRENDS = ("New", "Cooling", "Neutral", "Heating", "Surging")


@dataclass(frozen=True, slots=True)
class Audience:
    """A group that is worked out anew with every snapshot.

    `condition` is SQL over a row of the snapshot, beside which stand the instants of its day: `t` (the as-of
    instant), `window_start`, `today_start`, and `ago_30`, `ago_60`, `ago_180` days before `t`.
    """

    key: str
    name: str
    shipped: bool
    condition: str


def builtin(profile: "Profile", entity: str) -> tuple[Audience, ...]:
    """Those of an entity (`user` or `account`), by key. Bands are half-open, on the shown score."""

    def audience(key: str, name: str, shipped: bool, condition: str) -> Audience:
        return Audience(key, name, profile.ship.get(key, shipped), f"coalesce({condition}, false)")

    found = [
        audience("all", "All", False, "true"),
        audience("all_active", "All Active", False, "frequency > 0"),
        audience("new", "New", True, "signed_up >= window_start"),
        audience("most_engaged", "Most Engaged", True, "score >= 75"),
        audience("slightly_engaged", "Slightly Engaged", True, "score >= 50 AND score < 75"),
        audience("passive", "Passive", True, "score >= 25 AND score < 50"),
        audience("least_engaged", "Least Engaged", True, "score < 25"),
        audience(
            "recently_inactive", "Recently Inactive", True, "last_active >= ago_60 AND last_active < ago_30"
        ),
        audience("red_hot", "Red Hot", True, "score_change_window >= 10"),
        audience("ice_cold", "Ice Cold", True, "score_change_window <= -10"),
        # Who signed up at an unknown time always existed.
        audience("mature", "Mature", True, "signed_up IS NULL OR signed_up < ago_180"),
        audience("active_today", "Active Today", False, "active_today"),
    ]
    if entity == "account":
        found.append(audience("multi_user_accounts", "Multi-User Accounts", True, "active_users >= 2"))
    for name, _ in profile.levels.bands:
        found.append(
            audience(f"level_{snake(name)}", name, False, f"level = '{name.replace(chr(39), chr(39) * 2)}'")
        )
    for name in TRENDS:
        found.append(audience(f"trend_{snake(name)}", name, False, f"trend = '{name}'"))
    return tuple(sorted(found, key=lambda each: each.key))


def keys(profile: "Profile", entity: str) -> frozenset[str]:
    """The keys of every audience of an entity, for `audience.KEY` in mappings."""
    return frozenset(each.key for each in builtin(profile, entity))
