"""`${NAME}` and `${NAME:-default}`: values that a file takes from the environment."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from connectors.destination import Setting, Vendor
from connectors.errors import ConfigurationError
from heatsync.scoring.definition.place import Place
from heatsync.workspace.strict_yaml import Document, Problems, Route, Tree, suggest

COMMON_SETTINGS: Mapping[str, Setting] = {
    "url": Setting(),
    "requests_per_10s": Setting(whole_number=True),
    "requests_per_day": Setting(whole_number=True),
}
"""Settings that every destination has."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A text of a file that may refer to environment variables. Errors never show its value, which may be a secret."""

    text: str
    place: Place
    key: str

    @property
    def plain(self) -> str | None:
        """The text if it refers to no environment variable, otherwise None."""
        return None if "${" in self.text else self.text

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that the value is read from."""
        return tuple(name for name, _ in _REFERENCE.findall(self.text))

    @property
    def origin(self) -> str:
        """The key, with its environment variables and its place: `token` from CRM_TOKEN (heatsync.yml:7:12)."""
        variables = " and ".join(self.variables)
        return (
            f"`{self.key}` from {variables} ({self.place})" if variables else f"`{self.key}` ({self.place})"
        )

    @property
    def syntax_error(self) -> str | None:
        """Why the text cannot be resolved in any environment; None if it can."""
        if "${" in _REFERENCE.sub("", self.text):
            return f"`{self.key}` has a `${{` that is neither ${{NAME}} nor ${{NAME:-default}}"
        return None

    @property
    def exposes_value(self) -> bool:
        """Whether the file shows the value: a plain text, or a default."""
        if self.plain is not None:
            return self.text != ""
        return any(default for _, default in _REFERENCE.findall(self.text))

    def missing(self, environ: Mapping[str, str] | None = None) -> str | None:
        """An error for the first variable without a value and without a default; None if there is none.

        An empty variable counts as one without a value.
        """
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
    """The document with its references resolved, except at routes that are resolved `later`, when they are needed."""

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
    return replace(document, tree=tree, invalid=document.invalid | reported)


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def contains_password(url: str) -> bool:
    """Whether an address contains a password in plain text."""
    found = re.search(r"://[^:@/]*:([^@/]*)@", url)
    return found is not None and found.group(1) != "" and "${" not in found.group(1)


def url_error(url: str) -> str | None:
    """Why an address cannot be the `url` of a destination; None if it can."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "the address is invalid: expected one such as https://api.example.com"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "expected an address such as https://api.example.com"
    if parts.username or parts.password:
        return "remove the user and the password from the address: they have their own settings"
    if parts.scheme == "http" and not is_loopback(url):
        return f"http is allowed for this machine only: write https://{parts.hostname}"
    return None


def url_variable(destination: str) -> str:
    """The environment variable that overrides the `url` of a destination."""
    return f"HEATSYNC_{re.sub('[^A-Za-z0-9]', '_', destination).upper()}_URL"


def setting_error(key: str, value: str, vendor: Vendor) -> str | None:
    """Why the value of a setting cannot be used; None if it can."""
    setting = vendor.settings.get(key) or COMMON_SETTINGS.get(key)
    if setting is not None and setting.options and value not in ("", *setting.options):
        return f"`{value}` is not a {key} of {vendor.title}{suggest(value, setting.options)}"
    if key == "url":
        return url_error(value)
    is_number = re.fullmatch(r"[0-9]{1,9}", value) is not None and int(value) > 0
    if setting is not None and setting.whole_number and not is_number:
        return f"expected a whole number from 1, such as 100, found `{value}`"
    return None


def _has_credentials(vendor: Vendor, templates: Mapping[str, Template], environ: Mapping[str, str]) -> bool:
    """Whether all settings of one of the vendor's credential groups have a value, or it has no such groups."""

    def has_value(key: str) -> bool:
        template = templates.get(key)
        return template is not None and template.missing(environ) is None and template.resolve(environ) != ""

    return not vendor.credential_groups or any(
        all(map(has_value, group)) for group in vendor.credential_groups
    )


def destination_settings(
    name: str,
    vendor: Vendor,
    templates: Mapping[str, Template],
    place: Place,
    environ: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The resolved settings of a destination. HEATSYNC_<NAME>_URL overrides `url`.

    Raises ConfigurationError with everything that is missing or invalid.
    """
    values = os.environ if environ is None else environ
    settings = {
        key: setting.default for key, setting in vendor.settings.items() if setting.default is not None
    }
    variable = url_variable(name)
    has_credentials = _has_credentials(vendor, templates, values)
    errors: list[str] = []
    for key, template in templates.items():
        if key == "url" and values.get(variable):
            continue
        if (missing := template.missing(values)) is not None:
            errors.append(f"{template.place}: {missing}")
            continue
        value = template.resolve(values)
        error = setting_error(key, value, vendor)
        setting = vendor.settings.get(key)
        if value == "":
            needed = not has_credentials and any(key in group for group in vendor.credential_groups)
            if needed or (setting is not None and setting.required):
                error = f"`{key}` is empty: {vendor.title} requires it"
            else:
                continue
        if error is not None:
            errors.append(f"{template.place}: {error}")
        settings[key] = value
    if values.get(variable):
        settings["url"] = values[variable]
        if (error := url_error(settings["url"])) is not None:
            errors.append(f"{place}: {variable}: {error}")
    if errors:
        raise ConfigurationError("\n".join(errors))
    return settings
