"""The files of a new workspace: copies of this repository's own workspace."""

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from connectors.errors import ConfigurationError
from connectors.registry import VENDORS

FILE = "heatsync.yml"
IGNORED = ".heatsync/\n.env\n"


def write(folder: Path) -> list[str]:
    """Write the commented files of a workspace, and return their names. Raises ConfigurationError if one exists."""
    if (folder / FILE).exists():
        raise ConfigurationError(
            f"{folder / FILE} already exists: nothing was written. Choose another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} cannot be created ({error.strerror}): choose another one, or fix the cause."
        ) from error
    written = [FILE]
    template = _template()
    text = (template / FILE).read_text("utf-8")
    (folder / FILE).write_text(text + _other_destinations(text), "utf-8")
    for source in _files(template / "mappings", Path("mappings")):
        written.append(str(source[0]))
        target = folder / source[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source[1].read_text("utf-8"), "utf-8")
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text(IGNORED, "utf-8")
        written.append(ignore.name)
    return written


def _template() -> Traversable:
    """The files to copy: they are packaged beside this module, and lie at the root of a checkout."""
    packaged = resources.files(__package__) / "template"
    return packaged if packaged.is_dir() else Path(__file__).parents[2]


def _other_destinations(text: str) -> str:
    """A comment with the settings of every destination that the text does not name; empty when it names them all."""
    lines: list[str] = []
    for vendor in VENDORS.values():
        if re.search(rf"\b{re.escape(vendor.type)}\b", text) is None:
            lines.append(f"#   {vendor.type}:")
            lines += [f"#     {key}: ${{{f'{vendor.type}_{key}'.upper()}}}" for key in vendor.needed_settings]
    if not lines:
        return ""
    return "\n".join(("", "# More destinations, to add to `destinations:` above:", *lines, ""))


def _files(folder: Traversable, path: Path) -> list[tuple[Path, Traversable]]:
    found: list[tuple[Path, Traversable]] = []
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.is_dir():
            found += _files(entry, path / entry.name)
        elif entry.name.endswith((".yml", ".md")):
            found.append((path / entry.name, entry))
    return found
