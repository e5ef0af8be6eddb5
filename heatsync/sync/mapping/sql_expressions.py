"""`sql:` in a mapping: one scalar expression over the names of the mapping, made of allowed functions only.

DuckDB runs SQL that is generated from the checked tree, never the text itself. No allowed function reads a file, the
environment, the clock or another row, and none turns a short text into a huge one.
"""

import re

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from heatsync.sync.mapping.references import NameScope, Reference
from heatsync.workspace.strict_yaml import suggest

MAX_LENGTH = 10_000

_NUMBER = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)

FUNCTIONS = (
    "abs", "array_to_string", "ceil", "chr", "coalesce", "concat", "concat_ws", "contains", "date_diff", "date_part",
    "date_trunc", "day", "dayofweek", "dayofyear", "ends_with", "exp", "extract", "floor", "greatest", "hour", "if",
    "ifnull", "isfinite", "isnan", "isodow", "least", "left", "length", "list_contains", "list_position", "ln", "log",
    "lower", "minute", "month", "nullif", "position", "power", "quarter", "regexp_extract", "regexp_full_match",
    "regexp_matches", "regexp_replace", "replace", "reverse", "right", "round", "second", "sign", "split",
    "split_part", "sqrt", "starts_with", "strftime", "strip_accents", "substring", "trim", "trunc", "upper", "week",
    "year",
)  # fmt: skip
"""The allowed functions, by their names in DuckDB's manual."""

_STRUCTURE: tuple[type[exp.Expression], ...] = (
    exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Neg,
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.DPipe,
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.Between, exp.In,
    exp.And, exp.Or, exp.Not, exp.Like, exp.ILike,
    exp.Case, exp.If, exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam, exp.Interval, exp.Var,
)  # fmt: skip

_FUNCTIONS: tuple[type[exp.Expression], ...] = (
    exp.Abs, exp.ArrayContains, exp.ArraySize, exp.ArrayToString, exp.Ceil, exp.Coalesce, exp.Concat, exp.ConcatWs,
    exp.Contains, exp.DateDiff, exp.DateTrunc, exp.EndsWith, exp.Exp, exp.Extract, exp.Floor, exp.Greatest,
    exp.Chr, exp.Least, exp.Left, exp.Length, exp.Ln, exp.Log, exp.Lower, exp.Nullif, exp.Pow, exp.RegexpExtract,
    exp.RegexpFullMatch, exp.RegexpLike, exp.RegexpReplace, exp.Replace, exp.Right, exp.Round, exp.Sign,
    exp.Split, exp.SplitPart, exp.Sqrt, exp.StartsWith, exp.StrPosition, exp.Substring, exp.TimestampTrunc,
    exp.TimeToStr, exp.Trim, exp.Trunc, exp.Upper, exp.Year, exp.Quarter, exp.Month, exp.Week, exp.Day,
    exp.DayOfWeek, exp.DayOfWeekIso, exp.DayOfYear, exp.IsNan, exp.Reverse, exp.Hour, exp.Minute, exp.Second,
)  # fmt: skip

_BY_NAME = frozenset(
    {"date_part", "isodow", "isfinite", "isnan", "strip_accents", "list_position", "reverse"}
)
"""Allowed functions for which sqlglot has no class."""

_TYPES = frozenset(
    exp.DataType.Type[name]
    for name in (
        "TEXT", "VARCHAR", "BIGINT", "INT", "SMALLINT", "TINYINT", "DOUBLE", "FLOAT", "DECIMAL", "BOOLEAN", "DATE",
        "TIMESTAMP", "TIMESTAMPNTZ",
    )
)  # fmt: skip

_WHY: tuple[tuple[type[exp.Expression], str], ...] = (
    (exp.Query, "a subquery"),
    (exp.Subquery, "a subquery"),
    (exp.Exists, "a subquery"),
    (exp.Window, "a window function"),
    (exp.AggFunc, "a function over several rows"),
    (exp.Star, "`*`"),
    (exp.Columns, "`COLUMNS`"),
    (exp.Lambda, "a lambda"),
    (exp.JSONExtract, "a lambda or a JSON path"),
    (exp.Placeholder, "a parameter"),
    (exp.Parameter, "a parameter"),
    (exp.Alias, "a name after `as`"),
    (exp.Bracket, "`[ ]`"),
    (exp.Dot, "an element of a struct"),
    (exp.Struct, "a struct"),
    (exp.Command, "a command"),
    (exp.DDL, "a statement"),
    (exp.DML, "a statement"),
)


def compile(text: str, scope: NameScope) -> tuple[str, tuple[Reference, ...]]:
    """The expression over the aliases of its names, and these names. Raises ValueError for anything not allowed."""
    tree = _parse(text)
    if any(node.comments for node in tree.walk()):
        raise ValueError("`sql` is one expression without comments: remove the comment")
    for node in tree.walk():
        _check(node)
    references: dict[str, Reference] = {}

    def rename(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.Column):
            return node
        parts = tuple(str(part.name) for part in node.parts)
        reference = scope.resolve(parts)
        references[reference.alias] = reference
        return exp.column(exp.to_identifier(reference.alias, quoted=True))

    checked = tree.transform(rename)
    try:
        return checked.sql(dialect="duckdb", comments=False), tuple(references.values())
    except (SqlglotError, RecursionError):
        raise ValueError("`sql` cannot be compiled: simplify it") from None


def _parse(text: str) -> exp.Expression:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"`sql` has more than {MAX_LENGTH} characters: simplify it")
    try:
        if any(token.token_type.name == "SEMICOLON" for token in sqlglot.tokenize(text, read="duckdb")):
            raise ValueError("`sql` is exactly one expression: remove the `;`")
        statements = sqlglot.parse(text, read="duckdb")
    except RecursionError:
        raise ValueError("`sql` is nested too deeply: simplify it") from None
    except SqlglotError as error:
        details = getattr(error, "errors", None) or [{}]
        near = str(details[0].get("highlight") or "").strip()
        hint = f" near `{near}`" if near else ""
        raise ValueError(
            f"`sql` cannot be read as one expression{hint}: check brackets, commas and quotes"
        ) from None
    if len(statements) != 1 or statements[0] is None:
        raise ValueError("`sql` is exactly one expression, and this is not one")
    return statements[0]


def _check(node: exp.Expression) -> None:
    """Raises ValueError unless the node is allowed."""
    if isinstance(node, exp.Anonymous):
        name = str(node.name)
        if name.lower() not in _BY_NAME:
            raise ValueError(
                f"`{name.lower()}` is not an allowed function in `sql`{suggest(name.lower(), FUNCTIONS)}"
            )
        return
    if isinstance(node, exp.DataType):
        if node.this not in _TYPES or node.args.get("nested"):
            raise ValueError("`sql` casts to text, bigint, double, decimal, boolean, date or timestamp only")
        return
    if type(node) in _FUNCTIONS:
        return
    if type(node) in _STRUCTURE:
        if isinstance(node, exp.Column) and any(isinstance(part, exp.Star) for part in node.parts):
            raise ValueError("`sql` is one scalar expression: `*` is not allowed in it")
        if isinstance(node, exp.Literal) and not node.is_string and _NUMBER.fullmatch(str(node.this)) is None:
            raise ValueError(f"`{node.this}` is not a number")
        if isinstance(node, exp.Var) and not str(node.name).isalpha():
            raise ValueError(f"`{node.name}` is not a unit of time")
        if isinstance(node, exp.In) and (
            node.args.get("query") or node.args.get("unnest") or node.args.get("field")
        ):
            raise ValueError("`sql` is one scalar expression: `in` needs a list in brackets")
        return
    for kind, what in _WHY:
        if isinstance(node, kind):
            raise ValueError(f"`sql` is one scalar expression over one row: {what} is not allowed in it")
    if isinstance(node, exp.Func):
        name = str(node.key).lower()
        raise ValueError(f"`{name}` is not an allowed function in `sql`{suggest(name, FUNCTIONS)}")
    raise ValueError(
        f"`{node.key}` is not allowed in `sql`, which is one scalar expression of known functions"
    )
