"""The files under mappings/: read, checked against the workspace, and against each other.

`render` turns a mapping into one query over a snapshot.
"""

from collections.abc import Mapping as Dict
from dataclasses import dataclass
from pathlib import Path

from connectors.destination import Vendor
from connectors.errors import ConfigurationError
from heatsync.sync.mapping import sample_check
from heatsync.sync.mapping.model import Field, Mapping, MappingQuery, MatchKey, QueryField
from heatsync.sync.mapping.query import build_query, level_moves
from heatsync.sync.mapping.resolver import MappingResolver
from heatsync.sync.mapping.schema import MappingFile
from heatsync.workspace import config as workspace_config
from heatsync.workspace import profile_files
from heatsync.workspace.config import PartialWorkspace, Workspace
from heatsync.workspace.strict_yaml import Problem, Problems, read
from heatsync.workspace.validation import validate

__all__ = [
    "CheckResult",
    "Field",
    "Mapping",
    "MappingQuery",
    "MatchKey",
    "QueryField",
    "build_query",
    "check",
    "level_moves",
    "load",
]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Everything that is wrong in a workspace's files, and everything that deserves a word."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def load(of: Workspace) -> dict[str, Mapping]:
    """The mappings by name. Raises ConfigurationError with every problem of every file, one per line."""
    problems = Problems()
    mappings = _read_all(PartialWorkspace(of, problems), of.folder)
    problems.raise_if_any()
    return mappings


def check(
    folder: Path | str, config: str = "heatsync.yml", vendors: Dict[str, Vendor] | None = None
) -> CheckResult:
    """Every problem in every file of a workspace at once, as `file:line:column: sentence`. Where a snapshot is there, the
    mappings are held against the columns of its day, too."""
    try:
        partial = workspace_config.load_partial(folder, config, vendors)
    except ConfigurationError as error:
        return CheckResult((str(error),), ())
    mappings = _read_all(partial, Path(folder).absolute())
    problems = [str(problem) for problem in partial.problems]
    if partial.workspace is None:
        return CheckResult(tuple(problems), ())
    if not problems:
        problems = [
            fault
            for mapping in mappings.values()
            for fault in sample_check.errors(partial.workspace, mapping)
        ]
    return CheckResult((*problems, *partial.workspace.late_errors()), partial.workspace.warnings)


def _read_all(partial: PartialWorkspace, folder: Path) -> dict[str, Mapping]:
    mappings: dict[str, Mapping] = {}
    owners: dict[tuple[str, str, str], tuple[str, Field]] = {}
    spelled: dict[tuple[str, str], tuple[str, str]] = {}
    for path in profile_files.yaml_files(folder, "mappings", partial.problems):
        file = f"mappings/{path.name}"
        document = read(path, file, partial.problems)
        written = validate(document, MappingFile, partial.problems) if document is not None else None
        if document is None or written is None or partial.workspace is None:
            continue
        mapping = MappingResolver(document, written, path, partial, partial.workspace).resolve()
        if mapping is not None:
            # What is known of an object over there, and who is at work on it, is kept under its name.
            other, object = spelled.setdefault(
                (mapping.destination, mapping.object.casefold()), (file, mapping.object)
            )
            if object != mapping.object:
                sentence = f"{other} calls it `{object}`: spell it the same in both"
                partial.problems.add(document.problem(("object",), sentence))
            mappings[mapping.name] = mapping
            _own(mapping, file, owners, partial.problems)
    return mappings


def _own(
    mapping: Mapping,
    file: str,
    owners: dict[tuple[str, str, str], tuple[str, Field]],
    problems: Problems,
) -> None:
    """One owner per field: what two would write in turns is never right."""
    for field in mapping.fields:
        # Most destinations, and the warehouses behind them, do not distinguish upper and lower case.
        place = (mapping.destination, mapping.object.casefold(), field.name.casefold())
        other_file, other = owners.setdefault(place, (file, field))
        if other is field:
            continue
        if other_file != file:
            sentence = (
                f"`{field.name}` of {mapping.destination} {mapping.object} is already written by {other.place}:"
                " one field has one owner, take it out of one of them"
            )
        elif other.name == field.name:
            sentence = (
                f"`{field.name}` is among the standard traits already: take it out, or use another name"
            )
        else:
            sentence = f"`{field.name}` and `{other.name}` would be one field over there: rename one"
        problems.add(Problem(field.place, sentence))
