"""Why a value cannot be sent: the `problem` column of a mapping's desired relation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

SQL_TYPE = "STRUCT(code VARCHAR, field VARCHAR, value VARCHAR)"
"""DuckDB's type of the column `problem`."""

_CAUSES = {
    "not_a_number": "holds a value that is not a finite number",
    "bad_value": "holds a value that is not of the field's type",
    "out_of_range": "holds a number of more than 64 bits",
}


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """A record's first value that cannot be sent.

    code   not_a_number   NaN or infinity
           bad_value      text that is no number, no date, neither true nor false; an `sql` that fails on the row
           out_of_range   an integer of more than 64 bits
           duplicate_key  another of our records has the same key: `value` is its id, `field` the key
    field  the destination's name for the field
    value  the value as text, shortened
    """

    code: str
    field: str
    value: str

    @classmethod
    def from_struct(cls, struct: Mapping[str, str]) -> Self:
        """A value of the column `problem`, as DuckDB hands it over."""
        return cls(struct["code"], struct["field"], struct["value"])

    @property
    def cause(self) -> str:
        """The problem in words, without a full stop."""
        return f"{self.field} {_CAUSES.get(self.code, self.code)} ({self.value!r})"


def struct_sql(code: str, field: str, value: str) -> str:
    """A problem as SQL; all three are SQL expressions of texts."""
    return f"struct_pack(code := {code}, field := {field}, value := {value})"
