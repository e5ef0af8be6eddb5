"""The keys of heatsync.yml and what they may hold; the meaning is in `heatsync.workspace.config_file`."""

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
        raise ValueError(f"this heatsync reads version 1, not `{value}`")
    return value


Version = Annotated[Text, AfterValidator(_version)]


def _later(_value: object) -> object:
    raise ValueError(
        "this version does not wait for data yet: let `schedule: score` be an hour at which yesterday's is complete"
    )


def _word(value: str) -> str:
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", value) is None:
        raise ValueError(f"expected letters, digits and _ with a letter first, as in Accoil, found `{value}`")
    return value


def _inside(value: str) -> str:
    if value.strip() == "":
        raise ValueError("expected a folder such as .heatsync, found an empty text")
    return value


class TableFile(Section):
    table: Text
    columns: dict[str, Text] = Field(default_factory=dict)
    time_zone: Zone | None = None


def _tables(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _some(value: list[TableFile]) -> list[TableFile]:
    if not value:
        raise ValueError("expected at least one table of events, found an empty list")
    return value


class SourceFile(Section):
    engine: Text = "duckdb://"
    events: Annotated[list[TableFile], BeforeValidator(_tables), AfterValidator(_some)]
    users: TableFile | None = None
    accounts: TableFile | None = None
    fresh_by: Annotated[Text | None, AfterValidator(_later)] = None
    time_zone: Zone | None = None
    look_back: Annotated[int, BeforeValidator(value_types.days)] = 3


class ScheduleFile(Section):
    score: Cron = "0 5 * * *"


class AlertsFile(Section):
    webhook: Text = ""


Verdict = Literal["hold", "send"]


class Guards(Section):
    """What a run waits for somebody's approval for. Shares are in percent.

    `first_run` of a mapping to an account; `changed_meaning`: the first after the mapping was changed;
    `max_clear_share` of its records cleared or dropped; `max_level_share` moved to another level;
    `max_shrink_share` of its records gone since the last run; `empty_source`: no record at all; `health`: the events
    of the day do not look whole.
    """

    first_run: Verdict = "hold"
    changed_meaning: Verdict = "hold"
    empty_source: Verdict = "hold"
    health: Verdict = "hold"
    max_clear_share: Share = 20.0
    max_level_share: Share = 30.0
    max_shrink_share: Share = 50.0


class DestinationFile(Section):
    """The settings depend on the type and are checked when that is known."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Text = ""
    __pydantic_extra__: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _nothing(cls, value: object) -> object:
        return {} if value is None else value

    def templates(self, document: Document, route: Route) -> dict[str, Template]:
        return {
            key: Template(value, document.place((*route, key)), key)
            for key, value in self.__pydantic_extra__.items()
            if isinstance(value, str)
        }

    def problems(
        self, document: Document, route: Route, vendor: Vendor, key: str, template: Template
    ) -> list[Problem]:
        """What is wrong with one setting as it is written."""
        here = (*route, key)
        known = {*COMMON_SETTINGS, *vendor.settings, "type"}
        if key not in known:
            return [
                document.problem(
                    here, f"`{key}` is not a setting of {vendor.title}{suggest(key, known)}", key=True
                )
            ]
        fault = setting_error(key, template.plain, vendor) if template.plain is not None else None
        return [document.problem(here, fault)] if fault is not None else []


def _names(value: dict[str, DestinationFile]) -> dict[str, DestinationFile]:
    for name in value:
        if re.search(r"[A-Za-z0-9]", name) is None or re.search(r"[\x00-\x1f/\\|]", name) or len(name) > 100:
            raise ValueError(f"`{name}` cannot be a destination's name: use letters, digits, _ and -")
    return value


class WorkspaceFile(Section):
    may_be_empty: ClassVar[frozenset[str]] = frozenset(
        {"destinations", "alerts", "guards", "schedule", "columns"}
    )

    version: Version = ""
    time_zone: Zone = Field(default_factory=lambda: zone("UTC"))
    prefix: Annotated[Text, AfterValidator(_word)] = "Accoil"
    source: SourceFile | None = None
    state: Annotated[Text, AfterValidator(_inside)] = ".heatsync"
    keep: Annotated[int, BeforeValidator(value_types.days)] = 400
    ledger: Text = ""
    broker: Text = "none"
    schedule: ScheduleFile = ScheduleFile()
    destinations: Annotated[dict[str, DestinationFile], AfterValidator(_names)] = Field(default_factory=dict)
    alerts: AlertsFile = AlertsFile()
    guards: Guards = Guards()
