"""The keys of heatsync.yml and their types. `heatsync.workspace.config` turns them into a workspace."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from connectors.destination import Vendor
from heatsync.scoring.definition import value_types
from heatsync.workspace.env_vars import COMMON_SETTINGS, Template, setting_error
from heatsync.workspace.strict_yaml import Document, Problem, Route, suggest
from heatsync.workspace.validation import Section
from heatsync.workspace.yaml_types import Cron, Share, Text, Zone, zone


def _version(value: str) -> str:
    if value != "1":
        raise ValueError(f"expected version 1, found `{value}`: this heatsync reads no other version")
    return value


Version = Annotated[Text, AfterValidator(_version)]


def _not_supported(_value: object) -> object:
    raise ValueError(
        "heatsync does not wait for data yet: set `schedule: score` to an hour at which yesterday's data is complete"
    )


def _name(value: str) -> str:
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", value) is None:
        raise ValueError(
            f"expected letters, digits and _, beginning with a letter, such as Accoil; found `{value}`"
        )
    return value


def _folder(value: str) -> str:
    if value.strip() == "":
        raise ValueError("expected a folder such as .heatsync, found an empty text")
    return value


class TableFile(Section):
    """A table of the source: its name, and our names of its columns."""

    table: Text
    columns: dict[str, Text] = Field(default_factory=dict)
    time_zone: Zone | None = None


def _tables(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _not_empty(value: list[TableFile]) -> list[TableFile]:
    if not value:
        raise ValueError("expected at least one table of events, found an empty list")
    return value


class SourceFile(Section):
    """`source:` of heatsync.yml. `look_back` is in days."""

    engine: Text = "duckdb://"
    events: Annotated[list[TableFile], BeforeValidator(_tables), AfterValidator(_not_empty)]
    users: TableFile | None = None
    accounts: TableFile | None = None
    fresh_by: Annotated[Text | None, AfterValidator(_not_supported)] = None
    time_zone: Zone | None = None
    look_back: Annotated[int, BeforeValidator(value_types.days)] = 3


class ScheduleFile(Section):
    """`schedule:` of heatsync.yml."""

    score: Cron = "0 5 * * *"


class AlertsFile(Section):
    """`alerts:` of heatsync.yml."""

    webhook: Text = ""


Action = Literal["hold", "send"]
"""What happens to a run: it waits for approval, or it is sent."""


class Guards(Section):
    """When a run of a mapping is held until someone approves it. Shares are in percent of the mapping's records.

    `first_run`: the first run to an account. `changed_meaning`: the first run after the mapping's definition changed.
    `empty_source`: the run has no records. `health`: the events of the day seem incomplete.
    `max_clear_share`: more records are cleared or dropped. `max_level_share`: more records moved to another level.
    `max_shrink_share`: more records are gone since the last run.
    """

    first_run: Action = "hold"
    changed_meaning: Action = "hold"
    empty_source: Action = "hold"
    health: Action = "hold"
    max_clear_share: Share = 20.0
    max_level_share: Share = 30.0
    max_shrink_share: Share = 50.0


class DestinationFile(Section):
    """A destination. Its settings depend on its type, and are checked when the type is known."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Text = ""
    __pydantic_extra__: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        return {} if value is None else value

    def templates(self, document: Document, route: Route) -> dict[str, Template]:
        """The settings by key. `route` leads to the destination."""
        return {
            key: Template(value, document.place((*route, key)), key)
            for key, value in self.__pydantic_extra__.items()
            if isinstance(value, str)
        }

    def problems(
        self, document: Document, route: Route, vendor: Vendor, key: str, template: Template
    ) -> list[Problem]:
        """The problems of one setting, as far as it needs no environment variable."""
        here = (*route, key)
        known = {*COMMON_SETTINGS, *vendor.settings, "type"}
        if key not in known:
            return [
                document.problem(
                    here, f"`{key}` is not a setting of {vendor.title}{suggest(key, known)}", key=True
                )
            ]
        error = setting_error(key, template.plain, vendor) if template.plain is not None else None
        return [document.problem(here, error)] if error is not None else []


def _names(value: dict[str, DestinationFile]) -> dict[str, DestinationFile]:
    for name in value:
        if re.search(r"[A-Za-z0-9]", name) is None or re.search(r"[\x00-\x1f/\\|]", name) or len(name) > 100:
            raise ValueError(f"`{name}` cannot be a destination's name: use letters, digits, _ and -")
    return value


class WorkspaceFile(Section):
    """heatsync.yml as a whole. `keep` is in days."""

    may_be_empty: ClassVar[frozenset[str]] = frozenset(
        {"destinations", "alerts", "guards", "schedule", "columns"}
    )

    version: Version = ""
    time_zone: Zone = Field(default_factory=lambda: zone("UTC"))
    prefix: Annotated[Text, AfterValidator(_name)] = "Accoil"
    source: SourceFile | None = None
    state: Annotated[Text, AfterValidator(_folder)] = ".heatsync"
    keep: Annotated[int, BeforeValidator(value_types.days)] = 400
    ledger: Text = ""
    broker: Text = "none"
    schedule: ScheduleFile = ScheduleFile()
    destinations: Annotated[dict[str, DestinationFile], AfterValidator(_names)] = Field(default_factory=dict)
    alerts: AlertsFile = AlertsFile()
    guards: Guards = Guards()
