"""The values of a profile's signals in points, from the users and accounts tables."""

from collections.abc import Mapping

import duckdb

from heatsync.scoring.compute.entities import Traits
from heatsync.scoring.compute.relations import Relation, create_table
from heatsync.scoring.compute.scores import SignalValue
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.scoring.definition.profile import Profile
from heatsync.scoring.definition.signals import Signal
from heatsync.scoring.definition.value_types import suggest


def signal_values(
    con: duckdb.DuckDBPyConnection, profile: Profile, traits: Traits, ids: Mapping[str, Relation]
) -> dict[str, list[SignalValue]]:
    """Create `user_values` and `account_values` (key, value_N in billionths of a point, N the signal's place), and
    return by entity the signals it can have.

    Raises ValueError for a signal whose table or column does not exist.
    """
    found: dict[str, list[SignalValue]] = {entity: [] for entity in ENTITIES}
    for table in ENTITIES:
        values: dict[str, str] = {}
        for place, signal in enumerate(profile.signals):
            for entity in ENTITIES:
                column = signal.column_of(entity)
                if column is None or column[0] != table:
                    continue
                values[f"value_{place}"] = _points(signal, table, column[1], traits)
                key = "k.key" if entity == table else "p.account_no"
                having = f"(SELECT any_value(v.value_{place}) FROM {table}_values v WHERE v.key = {key})"
                found[entity].append(SignalValue(signal, having))
        if values:
            shown = ", ".join(f"{sql} AS {name}" for name, sql in values.items())
            create_table(
                con,
                f"{table}_values",
                ("key", *values),
                f"SELECT no AS key, {shown} FROM {traits.tables[table]} t JOIN {ids[table]} ON id = t.{table}_id",
            )
    return found


def _points(signal: Signal, table: str, column: str, traits: Traits) -> str:
    """SQL: the value of a column between the signal's bounds, in billionths of a point."""
    known = traits.columns.get(table)
    if not known:
        raise ValueError(f"`{signal.trait}` needs a table of {table}s, but the source has none")
    if column not in known:
        raise ValueError(
            f"`{signal.trait}`: there is no column `{column}` in {table}s{suggest(column, known)}"
        )
    number = f'try_cast(t."{column}" AS DOUBLE)' if known[column] != "DOUBLE" else f't."{column}"'
    low, span = float(signal.low), float(signal.high - signal.low)
    share = f"greatest(0.0, least(1.0, ({number} - {low!r}) / {span!r}))"
    return f"CASE WHEN {number} IS NOT NULL AND NOT isnan({number}) THEN round(100e9 * {share})::BIGINT END"
