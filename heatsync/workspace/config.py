"""A workspace: where the data is, when heatsync runs, and which destinations, profiles and audiences there are.

`load` reads heatsync.yml, the profiles and the audiences. Values that only some commands need (secrets of a
destination, the addresses of the ledger and the broker) are resolved when they are used.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from connectors.destination import Vendor
from connectors.errors import ConfigurationError
from connectors.registry import VENDORS
from heatsync.scoring.definition.builtin_audiences import Audience
from heatsync.scoring.definition.place import Place
from heatsync.scoring.definition.profile import Profile
from heatsync.workspace import audience_files, profile_files
from heatsync.workspace.env_vars import (
    Template,
    contains_password,
    destination_settings,
    is_loopback,
    resolve_early,
    url_variable,
)
from heatsync.workspace.schema import DestinationFile, Guards, SourceFile, TableFile, WorkspaceFile
from heatsync.workspace.strict_yaml import Document, Problem, Problems, Route, read, suggest
from heatsync.workspace.validation import validate


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A Parquet or CSV file, a table or a view.

    `columns` has the names of our columns in it. Timestamps without a zone are in `time_zone`; None is UTC, with a note.
    """

    template: Template
    columns: Mapping[str, str] = field(default_factory=dict)
    time_zone: str | None = None

    @property
    def table(self) -> str:
        """The name of the file or table. Raises ConfigurationError if an environment variable is missing."""
        return self.template.resolve()

    @property
    def place(self) -> Place:
        """Where heatsync.yml names the table."""
        return self.template.place


@dataclass(frozen=True, slots=True)
class Source:
    """Where events, users and accounts are."""

    engine_template: Template
    events: tuple[SourceTable, ...]
    users: SourceTable | None
    accounts: SourceTable | None
    look_back: int = 3
    """Days that are read again every morning, because events may arrive late."""

    @property
    def engine(self) -> str:
        """An Ibis backend URL. Raises ConfigurationError if an environment variable is missing."""
        return self.engine_template.resolve()


@dataclass(frozen=True, slots=True)
class DestinationConfig:
    """A destination of heatsync.yml. Its settings are not resolved yet."""

    name: str
    vendor: Vendor
    templates: Mapping[str, Template]
    place: Place

    @property
    def credential_sources(self) -> str:
        """A sentence that says where the credentials are read from."""
        settings = self.vendor.settings
        secrets = [
            template.origin
            for key, template in self.templates.items()
            if key in settings and settings[key].secret
        ]
        return f"{self.name} reads {', '.join(secrets)}."

    @property
    def credential_variables(self) -> dict[str, str]:
        """The environment variables that the credential is read from, each with its setting."""
        vendor = self.vendor
        keys = {*vendor.account_settings, *(key for group in vendor.credential_groups for key in group)}
        keys |= {key for key, setting in vendor.settings.items() if setting.secret}
        return {
            variable: key
            for key, template in self.templates.items()
            if key in keys
            for variable in template.variables
        }

    def settings(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """All resolved settings. Raises ConfigurationError with the place and the variable of each error."""
        return destination_settings(self.name, self.vendor, self.templates, self.place, environ)


@dataclass(frozen=True, slots=True)
class Workspace:
    """Everything in heatsync.yml, the profiles, and the custom audiences by profile. Paths are absolute."""

    folder: Path
    config_file: str
    time_zone: ZoneInfo
    prefix: str
    source: Source
    state: Path
    ledger_template: Template
    broker_template: Template
    score_cron: str
    destinations: Mapping[str, DestinationConfig]
    profiles: Mapping[str, Profile]
    alerts_template: Template
    guards: Guards
    warnings: tuple[str, ...] = ()
    audiences: Mapping[str, tuple[Audience, ...]] = field(default_factory=dict)
    history_days: int = 400
    """Days for which history is kept (`keep` in heatsync.yml)."""

    @property
    def ledger_url(self) -> str:
        """An SQLAlchemy URL. A relative SQLite path is relative to the workspace. Raises ConfigurationError."""
        url = self.ledger_template.resolve()
        scheme, _, rest = url.partition("://")
        if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
            path = Path(rest[1:])
            return f"sqlite:///{path if path.is_absolute() else self.folder / path}"
        if scheme in ("postgresql", "postgres", "postgresql+psycopg") and rest:
            return f"postgresql+psycopg://{rest}"
        raise ConfigurationError(
            f"{self.ledger_template.place}: expected `ledger` as sqlite:///FILE or"
            f" postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, found an address that starts with `{scheme[:20]}`"
        )

    @property
    def broker(self) -> str | None:
        """The Redis URL of the workers; None without a broker. Raises ConfigurationError."""
        url = self.broker_template.resolve()
        if url in ("", "none"):
            return None
        if url.partition("://")[0] not in ("redis", "rediss", "unix"):
            raise ConfigurationError(
                f"{self.broker_template.place}: expected `broker` as redis://HOST:PORT/0 or none"
            )
        return url

    @property
    def alerts_webhook(self) -> str | None:
        """The address that alerts are posted to; None without alerts. Raises ConfigurationError."""
        url = self.alerts_template.resolve()
        if not url:
            return None
        if not (url.startswith("https://") or (url.startswith("http://") and is_loopback(url))):
            raise ConfigurationError(f"{self.alerts_template.place}: `webhook` must start with https://")
        return url

    def late_errors(self) -> list[str]:
        """The errors of addresses that only some commands need, if their environment variables are set."""
        errors: list[str] = []
        addresses: list[tuple[Template, Callable[[], object]]] = [
            (self.ledger_template, lambda: self.ledger_url),
            (self.broker_template, lambda: self.broker),
            (self.alerts_template, lambda: self.alerts_webhook),
        ]
        for template, resolve in addresses:
            if template.missing() is not None:
                continue
            try:
                resolve()
            except ConfigurationError as error:
                errors.append(str(error))
        return errors

    def snapshot_path(self, profile: str, entity: str, day: date) -> Path:
        """The path of a snapshot, whether or not it exists. `entity` is user or account."""
        return self.state / "snapshots" / profile / entity / f"{day.isoformat()}.parquet"

    def traits_path(self, entity: str, day: date) -> Path:
        """The path of a day's copy of the users or accounts table, whether or not it exists."""
        return self.snapshot_path("traits", entity, day)


@dataclass(frozen=True, slots=True)
class PartialWorkspace:
    """A workspace that may have problems; `workspace` is None if heatsync.yml is too invalid.

    The broken destinations, profiles and audiences exist, but are invalid. `broken_audiences` is None if a whole file
    of audiences is unreadable.
    """

    workspace: Workspace | None
    problems: Problems
    broken_destinations: frozenset[str] = frozenset()
    broken_profiles: frozenset[str] = frozenset()
    broken_audiences: frozenset[str] | None = frozenset()

    @property
    def config_has_errors(self) -> bool:
        """Whether heatsync.yml has problems, so that something that seems missing may be in its invalid parts."""
        return self.workspace is None or any(
            found.place.file == self.workspace.config_file for found in self.problems
        )


def load(
    folder: Path | str, config: str = "heatsync.yml", vendors: Mapping[str, Vendor] | None = None
) -> Workspace:
    """The workspace of a folder. Raises ConfigurationError with every problem of its files, one per line."""
    partial = load_partial(folder, config, vendors)
    partial.problems.raise_if_any()
    assert partial.workspace is not None
    return partial.workspace


def load_partial(
    folder: Path | str, config: str = "heatsync.yml", vendors: Mapping[str, Vendor] | None = None
) -> PartialWorkspace:
    """The valid parts of a workspace, and its problems. Raises ConfigurationError if there is no heatsync.yml."""
    vendors = VENDORS if vendors is None else vendors
    folder = Path(folder).absolute()
    path = folder / config
    if not path.is_file():
        raise ConfigurationError(
            f"There is no {config} in {folder}. Go to a workspace, name one with --workspace,"
            f" or create one with `heatsync init {folder}`."
        )
    problems = Problems()
    profiles = profile_files.load(folder, problems)
    audiences = audience_files.load(folder, profiles, problems)
    document = read(path, config, problems)
    if document is not None:
        document = resolve_early(document, _later, problems)
    file = validate(document, WorkspaceFile, problems) if document is not None else None
    if document is None or file is None:
        return PartialWorkspace(None, problems, frozenset(), profiles.broken, audiences.broken)
    for key in ("version", "source"):
        if key not in document.tree:
            problems.add(document.problem((), f"`{key}` is missing"))
    destinations, broken = _destinations(document, file, vendors, problems)
    workspace = _workspace(folder, config, document, file, destinations, profiles, audiences)
    return PartialWorkspace(workspace, problems, broken, profiles.broken, audiences.broken)


def _later(route: Route) -> bool:
    """Whether a value is needed by some commands only, which resolve it then."""
    if route[0] == "destinations":
        return route[-1] != "type"
    return (
        route in (("ledger",), ("broker",), ("source", "engine"), ("alerts", "webhook"))
        or route[-1] == "table"
    )


def _workspace(
    folder: Path,
    config: str,
    document: Document,
    file: WorkspaceFile,
    destinations: Mapping[str, DestinationConfig],
    profiles: profile_files.LoadedProfiles,
    audiences: audience_files.LoadedAudiences,
) -> Workspace:
    def template(text: str, *route: str | int) -> Template:
        return Template(text, document.place(route), str(route[-1]))

    # A missing source is a problem already; the rest is checked as well.
    source_section = file.source or SourceFile.model_construct(events=[])

    def table(section: TableFile, route: Route) -> SourceTable:
        zone = section.time_zone or source_section.time_zone
        return SourceTable(
            template(section.table, *route, "table"), section.columns, zone.key if zone else None
        )

    events: Route = ("source", "events")
    users, accounts = source_section.users, source_section.accounts
    source = Source(
        engine_template=template(source_section.engine, "source", "engine"),
        events=tuple(
            table(section, (*events, position) if (*events, position) in document.positions else events)
            for position, section in enumerate(source_section.events)
        ),
        users=table(users, ("source", "users")) if users else None,
        accounts=table(accounts, ("source", "accounts")) if accounts else None,
        look_back=source_section.look_back,
    )
    state = folder / file.state
    return Workspace(
        folder=folder,
        config_file=config,
        time_zone=file.time_zone,
        prefix=file.prefix,
        source=source,
        state=state,
        ledger_template=template(file.ledger or f"sqlite:///{state / 'ledger.db'}", "ledger"),
        broker_template=template(file.broker, "broker"),
        score_cron=file.schedule.score,
        destinations=destinations,
        profiles=profiles.profiles,
        alerts_template=template(file.alerts.webhook, "alerts", "webhook"),
        guards=file.guards,
        warnings=tuple(
            str(warning) for warning in sorted([*_warnings(document, file, destinations), *profiles.warnings])
        ),
        audiences=audiences.audiences,
        history_days=file.keep,
    )


def _destinations(
    document: Document, file: WorkspaceFile, vendors: Mapping[str, Vendor], problems: Problems
) -> tuple[dict[str, DestinationConfig], frozenset[str]]:
    configs: dict[str, DestinationConfig] = {}
    variables: dict[str, str] = {}
    for name, section in file.destinations.items():
        route: Route = ("destinations", name)
        before = len(problems.found)
        variable = url_variable(name)
        if variable in variables:
            problems.add(
                document.problem(
                    route,
                    f"`{name}` and `{variables[variable]}` would share the environment variable {variable}:"
                    " rename one of them",
                    key=True,
                )
            )
        variables.setdefault(variable, name)
        vendor = _vendor(document, route, name, section, vendors, problems)
        if vendor is None:
            continue
        templates = section.templates(document, route)
        for key, template in templates.items():
            problems.extend(section.problems(document, route, vendor, key, template))
        for key, setting in vendor.settings.items():
            if setting.required and key not in templates and setting.default is None:
                problems.add(
                    document.problem(route, f"`{key}` is missing: {vendor.title} requires it", key=True)
                )
        if vendor.credential_groups and not any(
            set(group) <= set(templates) for group in vendor.credential_groups
        ):
            ways = "; or ".join(", ".join(f"`{key}`" for key in group) for group in vendor.credential_groups)
            problems.add(
                document.problem(route, f"credentials are missing: {vendor.title} needs {ways}", key=True)
            )
        if len(problems.found) == before:
            configs[name] = DestinationConfig(name, vendor, templates, document.place(route, key=True))
    all_destinations = document.tree.get("destinations")
    names = set(all_destinations) if isinstance(all_destinations, dict) else set()
    return configs, frozenset(names - set(configs))


def _vendor(
    document: Document,
    route: Route,
    name: str,
    section: DestinationFile,
    vendors: Mapping[str, Vendor],
    problems: Problems,
) -> Vendor | None:
    if section.type in vendors:
        return vendors[section.type]
    if section.type:
        message = f"`{section.type}` is not a type of destination{suggest(section.type, vendors)}"
        problems.add(document.problem((*route, "type"), message))
        return None
    if name in vendors:
        return vendors[name]
    message = f"`{name}` is not a type of destination: add `type:`{suggest(name, vendors)}"
    problems.add(document.problem(route, message, key=True))
    return None


def _warnings(
    document: Document, file: WorkspaceFile, destinations: Mapping[str, DestinationConfig]
) -> list[Problem]:
    """A warning for each secret that is section into the file."""
    found: list[Problem] = []

    def warn(route: Route, variable: str) -> None:
        found.append(
            document.problem(
                route,
                f"`{route[-1]}` is a secret in plain text: set {variable} and write ${{{variable}}} here",
            )
        )

    for name, config in destinations.items():
        override = os.environ.get(url_variable(name), "")
        url = override or (config.templates["url"].plain or "" if "url" in config.templates else "")
        if is_loopback(url):
            continue
        for key, template in config.templates.items():
            setting = config.vendor.settings.get(key)
            if setting is not None and setting.secret and template.exposes_value:
                warn(("destinations", name, key), f"{name}_{key}".upper().replace("-", "_").replace(" ", "_"))
    if Template(file.alerts.webhook, document.place(("alerts",)), "webhook").exposes_value:
        warn(("alerts", "webhook"), "ALERTS_WEBHOOK")
    addresses: list[tuple[Route, str]] = [(("ledger",), file.ledger), (("broker",), file.broker)]
    if file.source is not None:
        addresses.append((("source", "engine"), file.source.engine))
    for route, text in addresses:
        if contains_password(text):
            warn(route, f"{route[-1]}_URL".upper())
    return found
