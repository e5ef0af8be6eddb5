"""Stage 2, at home: the scores and levels of many days side by side, and the moves from one level to another.

Most people do nothing on most days. A day therefore keeps only who has something to say; whoever is absent from it,
but existed, had the resting score and level of the model.

    {entity}_long    key, day, score, level: the days that are being computed
    {entity}_born    key, day: the local day on which it signed up
                     (the place of the level among the profile's)
    {entity}_moves   key, day, level_before, level: by name
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from scoring.churn import AWAY, Bounds
from scoring.plan import Plan
from scoring.profile import Profile
from scoring.scores import HYSTERESIS, quoted
from scoring.worth import own


@dataclass(frozen=True, slots=True)
class Rest:
    """What an entity that exists has on a day that does not name it. `known` is false where nothing can be said: the
    profile's filter looks at what happens, and who is absent may not have passed it."""

    score: int | None
    level: int | None
    known: bool = True


def rest(profile: Profile, dynamic_filter: bool) -> Rest:
    if dynamic_filter:
        return Rest(None, None, known=False)
    if profile.model == "kpi":
        return Rest(None, None)
    low = [place for place, (_, bound) in enumerate(profile.levels.bands) if bound <= 0]
    return Rest(0, max(low, default=None))


def begin(con: duckdb.DuckDBPyConnection, entity: str) -> None:
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {entity}_long (key INTEGER, day BIGINT, score SMALLINT, level TINYINT)"
    )
    con.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_fitting (key INTEGER, day BIGINT, fitting TINYINT)")
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {entity}_moves (key INTEGER, day BIGINT, level_before VARCHAR, level VARCHAR)"
    )


def see(con: duckdb.DuckDBPyConnection, entity: str, day: int, passive: Sequence[int]) -> None:
    """`{entity}_seen` (key): who has an event that is not passive in the last 30 days."""
    among = f" AND event_no NOT IN ({', '.join(map(str, passive))})" if passive else ""
    rows = f"(SELECT DISTINCT user_no, account_no FROM daily WHERE day BETWEEN {day - AWAY + 1} AND {day}{among})"
    found = f"SELECT DISTINCT user_no AS key FROM {rows} WHERE user_no IS NOT NULL"
    if entity == "account":
        found = f"SELECT DISTINCT key FROM ({own(rows, 'x.account_no')})"
    con.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_seen AS {found}")


def remember(
    con: duckdb.DuckDBPyConnection,
    plan: Plan,
    entity: str,
    day: int,
    bounds: Bounds | None,
    rested: Rest,
    follows: bool,
) -> None:
    """Add `{entity}_scored` of a day to the long table, with its levels. For churn levels `{entity}_seen` is read,
    for hysteresis the day before in the long table, if the day `follows` it."""
    levels = plan.profile.levels
    rows = f"SELECT key, score, raw FROM {entity}_scored"
    if levels.churn:
        rows = (
            f"SELECT key, coalesce(s.score, 0) AS score, coalesce(s.raw, 0) AS raw, n.key IS NOT NULL AS seen"
            f" FROM {entity}_scored s FULL JOIN {entity}_seen n USING (key)"
        )
    fitting = _learnt(bounds) if levels.churn else _band(plan.profile)
    if not rested.known:
        score = "x.score" if plan.model == "kpi" else "coalesce(x.score, 0)"
        seen = ", coalesce(x.seen, false) AS seen" if levels.churn else ""
        rows = (
            f"SELECT e.key, {score} AS score, coalesce(x.raw, 0) AS raw{seen} FROM {entity}_existing e"
            f" LEFT JOIN ({rows}) x ON x.key = e.key"
        )
    level = "fitting"
    source = f"SELECT *, ({fitting})::TINYINT AS fitting FROM ({rows})"
    if levels.hysteresis:
        rest_level = "NULL" if rested.level is None else str(rested.level)
        source = f"""
            SELECT f.*, {str(follows).lower()}
                       AND (b.key IS NOT NULL OR coalesce(o.day <= {day - 1}, false)) AS compared,
                   CASE WHEN b.key IS NULL THEN {rest_level} ELSE b.level END AS held,
                   CASE WHEN b.key IS NULL THEN {rest_level} ELSE g.fitting END AS fitted
            FROM ({source}) f
            LEFT JOIN {entity}_long b ON b.key = f.key AND b.day = {day - 1}
            LEFT JOIN {entity}_fitting g ON g.key = f.key AND g.day = {day - 1}
            LEFT JOIN {entity}_born o ON o.key = f.key
        """
        stays = _beyond(plan.profile, bounds)
        level = (
            "CASE WHEN NOT compared OR fitting IS NULL OR held IS NULL OR fitting = held OR fitted IS DISTINCT FROM held"
            f" OR ({stays}) THEN fitting ELSE held END"
        )
    con.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_today AS {source}")
    con.execute(f"INSERT INTO {entity}_long SELECT key, {day}, score, {level} FROM {entity}_today")
    if levels.hysteresis:
        con.execute(f"INSERT INTO {entity}_fitting SELECT key, {day}, fitting FROM {entity}_today")


def move(con: duckdb.DuckDBPyConnection, plan: Plan, entity: str, day: int, rested: Rest) -> None:
    """Add the moves of a day to `{entity}_moves`. The day before is in the long table, as far as anybody had
    something to say on it."""
    names = plan.profile.levels.names
    rest_level = "NULL" if rested.level is None else str(rested.level)

    def name(place: str) -> str:
        cases = " ".join(f"WHEN {n} THEN '{quoted(each)}'" for n, each in enumerate(names))
        return f"CASE {place} {cases} END"

    alive = (
        f"JOIN {entity}_born b ON b.key = changed.key AND b.day <= {day - 1}"
        if rested.known
        else "WHERE was AND is_now"
    )
    con.execute(
        f"""
        INSERT INTO {entity}_moves
        WITH beside AS (
            SELECT coalesce(x.key, y.key) AS key, x.key IS NOT NULL AS was, y.key IS NOT NULL AS is_now,
                   CASE WHEN x.key IS NULL THEN {rest_level} ELSE x.level END AS before,
                   CASE WHEN y.key IS NULL THEN {rest_level} ELSE y.level END AS now
            FROM (SELECT key, level FROM {entity}_long WHERE day = {day - 1}) x
            FULL JOIN (SELECT key, level FROM {entity}_long WHERE day = {day}) y ON x.key = y.key
        ),
        changed AS (FROM beside WHERE before IS DISTINCT FROM now)
        SELECT changed.key, {day}, {name("before")}, {name("now")} FROM changed {alive}
        """
    )


def _band(profile: Profile) -> str:
    cases = " ".join(
        f"WHEN score >= {low} THEN {place}"
        for place, (_, low) in reversed(list(enumerate(profile.levels.bands)))
    )
    return f"CASE {cases} END"


def _learnt(bounds: Bounds | None) -> str:
    if bounds is None or bounds.low is None or bounds.high is None:
        return "CASE WHEN NOT seen THEN NULL WHEN raw = 0 THEN 0 ELSE 1 END"
    low, high = (_floor(bound) for bound in (bounds.low, bounds.high))
    return f"CASE WHEN NOT seen THEN NULL WHEN raw = 0 THEN 0 WHEN raw <= {low} THEN 1 WHEN raw > {high} THEN 3 ELSE 2 END"


def _beyond(profile: Profile, bounds: Bounds | None) -> str:
    """Whether the number lies so far beyond the bound of the level held that it is left at once."""
    up, down = 1 + HYSTERESIS, 1 - HYSTERESIS
    if profile.levels.churn:
        if bounds is None or bounds.low is None or bounds.high is None:
            return "true"
        low, high = float(bounds.low), float(bounds.high)
        crossed = {1: (None, low), 2: (low, high), 3: (high, None)}
        number, immediate = "raw", "fitting = 0 OR held = 0"
    else:
        lows = [float(low) for _, low in profile.levels.bands]
        crossed = {
            place: (lows[place], lows[place + 1] if place + 1 < len(lows) else None)
            for place in range(len(lows))
        }
        number, immediate = "score", "false"
    cases = []
    for place, (below, above) in crossed.items():
        if above is not None:
            cases.append(f"(held = {place} AND fitting > held AND {number} >= {above * up!r})")
        if below is not None:
            cases.append(f"(held = {place} AND fitting < held AND {number} < {below * down!r})")
    return " OR ".join([immediate, *cases])


def _floor(bound: object) -> int:
    """A whole number is above a bound when it is above this."""
    from fractions import Fraction

    found = Fraction(str(bound)) if not isinstance(bound, Fraction) else bound
    return found.numerator // found.denominator
