"""From raw to 0-100, as SQL. Unrounded scores are whole billionths of a point, so that they add up alike everywhere."""

from scoring.counting import POINT
from scoring.profile import Profile

NANO = 10**9


def normalized(profile: Profile, raw: str, benchmark: str, partition: str) -> str:
    """The unrounded score in billionths. `raw` is in 1/POINT, `benchmark` in points; `partition` are the columns
    within which entities are ranked."""
    ratio = f"({raw}::DOUBLE / {POINT}.0 / {benchmark})"
    if profile.normalize.kind == "percentile":
        ranked = f"(PARTITION BY {partition}, {raw} > 0 ORDER BY {raw})"
        share = f"percent_rank() OVER {ranked}"
        return f"CASE WHEN {raw} > 0 THEN round(100e9 * {share})::BIGINT ELSE 0 END"
    if profile.normalize.kind == "winsor":
        score = f"least(100e9, 100e9 * {ratio})"
    else:
        score = f"100e9 * (1 - pow(10.0, -{ratio}))"
    return f"CASE WHEN {raw} > 0 AND {benchmark} > 0 THEN round({score})::BIGINT ELSE 0 END"


def shown(nano: str, raw: str, benchmark: str) -> str:
    """The score as people see it: a whole number, halves rounded up, at least 1 for anything at all."""
    rounded = f"({nano} + {NANO // 2}) // {NANO}"
    return f"CASE WHEN {raw} > 0 AND {benchmark} IS DISTINCT FROM 0 THEN greatest(1, {rounded}) ELSE 0 END::BIGINT"


def level(profile: Profile, score: str) -> str:
    """The name of the highest band that begins at or below the score."""
    cases = " ".join(
        f"WHEN {score} >= {low} THEN '{quoted(name)}'" for name, low in reversed(profile.levels.bands)
    )
    return f"CASE {cases} END"


def trend(score: str, before: str) -> str:
    """What became of the shown score in 30 days; for a day on which the score before is known, if there was one."""
    change = f"(coalesce({score}, 0) - {before})"
    return (
        f"CASE WHEN {before} IS NULL THEN CASE WHEN {score} IS NOT NULL THEN 'New' END"
        f" WHEN {change} <= -10 THEN 'Cooling' WHEN {change} < 10 THEN 'Neutral'"
        f" WHEN {change} < 25 THEN 'Heating' ELSE 'Surging' END"
    )


def quoted(text: str) -> str:
    return text.replace("'", "''")
