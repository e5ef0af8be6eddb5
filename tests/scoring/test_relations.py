"""A relation has the columns that it declares, whatever its query returns."""

import duckdb
import pyarrow as pa
import pytest

from heatsync.scoring.compute.arrow import load_arrow
from heatsync.scoring.compute.relations import Relation, create_empty, create_table, create_view

QUERY = "SELECT 1 AS key, 2 AS day, 3 AS more"


def columns_of(con: duckdb.DuckDBPyConnection, relation: Relation) -> tuple[str, ...]:
    return tuple(name for name, *_ in con.execute(f"DESCRIBE {relation}").fetchall())


@pytest.mark.parametrize("create", [create_table, create_view])
def test_a_relation_has_exactly_the_declared_columns_in_their_order(create: object) -> None:
    assert callable(create)
    with duckdb.connect() as con:
        found = create(con, "found", ("day", "key"), QUERY)
        assert columns_of(con, found) == found.columns == ("day", "key")
        assert con.execute(f"FROM {found}").fetchall() == [(2, 1)]


@pytest.mark.parametrize("create", [create_table, create_view])
def test_a_query_without_a_declared_column_is_an_error(create: object) -> None:
    assert callable(create)
    with duckdb.connect() as con, pytest.raises(duckdb.BinderException):
        create(con, "found", ("key", "score"), QUERY)


def test_a_table_can_be_replaced_by_a_query_of_itself() -> None:
    with duckdb.connect() as con:
        before = create_table(con, "found", ("key", "day"), QUERY)
        after = create_table(con, "found", ("key",), f"SELECT key FROM {before} WHERE day = 2")
        assert con.execute(f"FROM {after}").fetchall() == [(1,)]


def test_empty_and_arrow_tables_know_their_columns() -> None:
    with duckdb.connect() as con:
        empty = create_empty(con, "empty", key="INTEGER", total="DECIMAL(38, 0)")
        loaded = load_arrow(con, "loaded", pa.table({"day": [1], "starts": [2]}))
        assert columns_of(con, empty) == empty.columns
        assert columns_of(con, loaded) == loaded.columns
