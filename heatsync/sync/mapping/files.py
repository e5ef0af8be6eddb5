"""Reads the mappings of a workspace and checks them against the workspace and against each other."""

from collections.abc import Mapping as Dict
from dataclasses import dataclass
from pathlib import Path

from connectors.destination import Vendor
from connectors.errors import ConfigurationError
from heatsync.sync.mapping import sample_check
from heatsync.sync.mapping.model import Field, Mapping
from heatsync.sync.mapping.resolver import resolve
from heatsync.sync.mapping.schema import MappingFile
from heatsync.workspace import config as workspace_config
from heatsync.workspace import profile_files
from heatsync.workspace.config import PartialWorkspace, Workspace
from heatsync.workspace.strict_yaml import Problem, Problems, read
from heatsync.workspace.validation import validate


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The problems and the warnings of a workspace's files, each as `file:line:column: message`."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def load(workspace: Workspace) -> dict[str, Mapping]:
    """The mappings by name. Raises ConfigurationError with every problem of every file, one per line."""
    problems = Problems()
    mappings = _read_all(PartialWorkspace(workspace, problems), workspace.folder)
    problems.raise_if_any()
    return mappings


def check(
    folder: Path | str, config: str = "heatsync.yml", vendors: Dict[str, Vendor] | None = None
) -> CheckResult:
    """All problems of all files of a workspace. If there is a snapshot, the mappings are also checked against its columns."""
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
            error
            for mapping in mappings.values()
            for error in sample_check.errors(partial.workspace, mapping)
        ]
    return CheckResult((*problems, *partial.workspace.late_errors()), partial.workspace.warnings)


def _read_all(partial: PartialWorkspace, folder: Path) -> dict[str, Mapping]:
    mappings: dict[str, Mapping] = {}
    owners: dict[tuple[str, str, str], tuple[str, Field]] = {}
    spellings: dict[tuple[str, str], tuple[str, str]] = {}
    for path in profile_files.yaml_files(folder, "mappings", partial.problems):
        file = f"mappings/{path.name}"
        document = read(path, file, partial.problems)
        settings = validate(document, MappingFile, partial.problems) if document is not None else None
        if document is None or settings is None:
            continue
        mapping = resolve(document, settings, path, partial)
        if mapping is not None:
            # The ledger keeps records and locks by the name of the object.
            other, object = spellings.setdefault(
                (mapping.destination, mapping.object.casefold()), (file, mapping.object)
            )
            if object != mapping.object:
                message = f"{other} writes it as `{object}`: use the same spelling in both files"
                partial.problems.add(document.problem(("object",), message))
            mappings[mapping.name] = mapping
            _check_owners(mapping, file, owners, partial.problems)
    return mappings


def _check_owners(
    mapping: Mapping,
    file: str,
    owners: dict[tuple[str, str, str], tuple[str, Field]],
    problems: Problems,
) -> None:
    """Add a problem for each field that another mapping, or this one, writes already."""
    for field in mapping.fields:
        # Most destinations, and the warehouses behind them, do not distinguish upper and lower case.
        place = (mapping.destination, mapping.object.casefold(), field.name.casefold())
        other_file, other = owners.setdefault(place, (file, field))
        if other is field:
            continue
        if other_file != file:
            message = (
                f"`{field.name}` of {mapping.destination} {mapping.object} is already written by {other.place}:"
                " a field belongs to one mapping, so remove it from one of them"
            )
        elif other.name == field.name:
            message = f"`{field.name}` is already one of the standard traits: remove it or rename it"
        else:
            message = (
                f"`{field.name}` and `{other.name}` are the same field at the destination: rename one of them"
            )
        problems.add(Problem(field.place, message))
