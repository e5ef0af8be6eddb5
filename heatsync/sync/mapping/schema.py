"""The keys of a mapping file and their types. `heatsync.sync.mapping.resolver` checks their values."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from connectors.types import Entity, FieldType
from heatsync.workspace.schema import Version
from heatsync.workspace.validation import Section
from heatsync.workspace.yaml_types import Cron, Duration, Flag, Number, Positive, Text

Policy = Literal["keep", "clear"]


def _field_type(value: object) -> object:
    allowed = [kind.value for kind in FieldType if kind is not FieldType.LIST]
    if value not in allowed:
        raise ValueError(f"expected one of {', '.join(allowed)}; found `{value}`")
    return FieldType(str(value))


def _expanded(value: object) -> object:
    """`their_field: our_trait` is short for `their_field: {from: our_trait}`."""
    return {"from": value} if isinstance(value, str) else value


def _above_zero(value: float) -> float:
    if value <= 0:
        raise ValueError(f"expected a number above 0, found `{value:g}`")
    return value


class FieldFile(Section):
    """A field of a mapping as the file has it."""

    from_: Text | None = Field(default=None, alias="from")
    sql: Text | None = None
    map: dict[str, Text] = Field(default_factory=dict)
    as_: Annotated[FieldType | None, BeforeValidator(_field_type)] = Field(default=None, alias="as")
    join: Text | None = None
    default: Text | None = None
    when_null: Policy | None = None
    write: Literal["always", "if_empty"] = "always"
    tolerance: Annotated[Number, AfterValidator(_above_zero)] | None = None


class LimitsFile(Section):
    """`limits:` of a mapping."""

    max_writes: Positive | None = None
    max_creates: Positive | None = None


def _pairs(value: object) -> object:
    """A single pair is short for a list of one."""
    if isinstance(value, dict):
        if len(value) > 1:
            raise ValueError(
                "`match` has several keys, which are tried in order: write them as a list, `- their_key: our_column`"
            )
        return [value]
    return value


def _single(value: dict[str, str]) -> dict[str, str]:
    if len(value) != 1:
        raise ValueError("expected `their_key: our_column`, one pair after each `-`")
    return value


class MappingFile(Section):
    """A mapping as the file has it."""

    may_be_empty: ClassVar[frozenset[str]] = frozenset({"fields", "limits"})

    version: Version
    destination: Text
    object: Text
    profile: Text
    entity: Entity | None = None
    audience: Text | None = None
    on_exit: Policy | None = None
    match: Annotated[list[Annotated[dict[str, Text], AfterValidator(_single)]], BeforeValidator(_pairs)] = (
        Field(default_factory=list)
    )
    mode: Text | None = None
    standard_traits: Flag = False
    tags: Literal["audiences"] | None = None
    fields: dict[str, Annotated[FieldFile, BeforeValidator(_expanded)]] = Field(default_factory=dict)
    when_null: Policy | None = None
    create_fields: Flag = False
    limits: LimitsFile = LimitsFile()
    schedule: Cron | None = None
    recheck_after: Duration | None = None
    anonymous: Flag = False
