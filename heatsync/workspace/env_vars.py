"""`${NAME}` and `${NAME:-default}`: what a file leaves to the environment, read when it is needed."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from connectors.destination import Vendor
from connectors.errors import ConfigurationError
from heatsync.scoring.definition.place import Place
from heatsync.workspace.strict_yaml import Document, Problems, Route, Tree, suggest

COMMON_SETTINGS = ("url", "requests_per_10s", "requests_per_day")
"""Settings that every destination has."""
_NUMBERS = ("requests_per_10s", "requests_per_day")

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A text as it is written, and where. A value is never in an error: it may be a secret."""

    text: str
    place: Place
    key: str

    @property
    def plain(self) -> str | None:
        """The text when it needs nothing of the environment."""
        return None if "${" in self.text else self.text

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that the value is read from."""
        return tuple(name for name, _ in _REFERENCE.findall(self.text))

    @property
    def origin(self) -> str:
        """Where the value comes from: the environment variables, and the place in the file."""
        variables = " and ".join(self.variables)
        return (
            f"`{self.key}` from {variables} ({self.place})" if variables else f"`{self.key}` ({self.place})"
        )

    @property
    def syntax_error(self) -> str | None:
        """Why the text cannot be resolved in any environment, if so."""
        if "${" in _REFERENCE.sub("", self.text):
            return f"`{self.key}` has a `${{` that is neither ${{NAME}} nor ${{NAME:-default}}"
        return None

    @property
    def exposes_value(self) -> bool:
        """Whether something of the value stands in the file: all of it, or a default."""
        if self.plain is not None:
            return self.text != ""
        return any(default for _, default in _REFERENCE.findall(self.text))

    def missing(self, environ: Mapping[str, str] | None = None) -> str | None:
        """Why there is no value: the first variable that has neither a value nor a default. An empty one has none."""
        values = os.environ if environ is None else environ
        for found in _REFERENCE.finditer(self.text):
            name, default = found.groups()
            if default is None and not values.get(name):
                return (
                    f"`{self.key}` needs the environment variable {name}, which is not set:"
                    f" export {name}=... or write a default, ${{{name}:-...}}"
                )
        return None

    def resolve(self, environ: Mapping[str, str] | None = None) -> str:
        """The value. Raises ConfigurationError when a variable is missing."""
        values = os.environ if environ is None else environ
        if (error := self.missing(values)) is not None:
            raise ConfigurationError(f"{self.place}: {error}")
        return _REFERENCE.sub(lambda found: values.get(found.group(1)) or found.group(2) or "", self.text)


def resolve_early(
    document: Document,
    later: Callable[[Route], bool],
    problems: Problems,
    environ: Mapping[str, str] | None = None,
) -> Document:
    """The document with every reference resolved but those that are read `later`, when they are needed."""

    def walk(node: Tree, route: Route) -> Tree:
        if isinstance(node, dict):
            return {key: walk(value, (*route, key)) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value, (*route, position)) for position, value in enumerate(node)]
        if node is None or "${" not in node:
            return node
        template = Template(node, document.place(route), str(route[-1]))
        error = template.syntax_error
        if error is None and not later(route):
            error = template.missing(environ)
            if error is None:
                return template.resolve(environ)
        if error is not None:
            problems.add(document.problem(route, error))
            reported.add(route)
        return node

    reported: set[Route] = set()
    tree = {key: walk(value, (key,)) for key, value in document.tree.items()}
    return replace(document, tree=tree, faulty=document.faulty | reported)


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def contains_password(url: str) -> bool:
    """Whether a password stands in the address as plain text."""
    found = re.search(r"://[^:@/]*:([^@/]*)@", url)
    return found is not None and found.group(1) != "" and "${" not in found.group(1)


def url_error(url: str) -> str | None:
    """Why an address cannot be one of a destination, if so."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "the address cannot be read: expected one such as https://api.example.com"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "expected an address such as https://api.example.com"
    if parts.username or parts.password:
        return "an address here has no user or password: these have their own settings"
    if parts.scheme == "http" and not is_loopback(url):
        return f"plain http is for this machine only: write https://{parts.hostname}"
    return None


def url_variable(destination: str) -> str:
    """The environment variable that points a destination elsewhere."""
    return f"HEATSYNC_{re.sub('[^A-Za-z0-9]', '_', destination).upper()}_URL"


def setting_error(key: str, value: str, vendor: Vendor) -> str | None:
    """Why a resolved setting cannot be used, if so."""
    setting = vendor.settings.get(key)
    if setting is not None and setting.options and value not in ("", *setting.options):
        return f"`{value}` is not a {key} of {vendor.title}{suggest(value, setting.options)}"
    if key == "url":
        return url_error(value)
    whole_number = key in _NUMBERS or (setting is not None and setting.whole_number)
    if whole_number and (re.fullmatch(r"[0-9]{1,9}", value) is None or int(value) == 0):
        return f"expected a whole number from 1, such as 100, found `{value}`"
    return None


def _either(vendor: Vendor, values: Mapping[str, str], written: Mapping[str, Template]) -> bool:
    """Whether one of the groups of settings of which a vendor needs one is whole, and nothing of it empty."""

    def has_value(key: str) -> bool:
        template = written.get(key)
        return template is not None and template.missing(values) is None and template.resolve(values) != ""

    return not vendor.credential_groups or any(
        all(map(has_value, group)) for group in vendor.credential_groups
    )


def destination_settings(
    name: str,
    vendor: Vendor,
    written: Mapping[str, Template],
    place: Place,
    environ: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The settings of a destination, resolved; HEATSYNC_<NAME>_URL wins over `url`. Raises ConfigurationError
    with all that is missing or wrong."""
    values = os.environ if environ is None else environ
    settings = {
        key: setting.default for key, setting in vendor.settings.items() if setting.default is not None
    }
    variable = url_variable(name)
    whole = _either(vendor, values, written)
    faults: list[str] = []
    for key, template in written.items():
        if key == "url" and values.get(variable):
            continue
        if (missing := template.missing(values)) is not None:
            faults.append(f"{template.place}: {missing}")
            continue
        value = template.resolve(values)
        fault = setting_error(key, value, vendor)
        setting = vendor.settings.get(key)
        if value == "":
            wanted = not whole and any(key in group for group in vendor.credential_groups)
            if wanted or (setting is not None and setting.required):
                fault = f"`{key}` is empty, and {vendor.title} cannot do without"
            else:
                continue
        if fault is not None:
            faults.append(f"{template.place}: {fault}")
        settings[key] = value
    if values.get(variable):
        settings["url"] = values[variable]
        if (fault := url_error(settings["url"])) is not None:
            faults.append(f"{place}: {variable}: {fault}")
    if faults:
        raise ConfigurationError("\n".join(faults))
    return settings
