"""The files under mappings/profiles."""

from dataclasses import dataclass
from pathlib import Path

from heatsync.scoring.definition.place import Place
from heatsync.scoring.definition.profile import Profile
from heatsync.workspace.strict_yaml import Problem, Problems, read
from heatsync.workspace.validation import validate

RESERVED = ("user", "account", "audience", "traits")
"""Names that a mapping uses for something else in the place of a profile's name."""


def yaml_files(folder: Path, inside: str, problems: Problems) -> list[Path]:
    """The *.yml files of a folder of the workspace, by name. A *.yaml file is a problem: it would be ignored."""
    place = folder / inside
    if not place.is_dir():
        return []
    for path in sorted(place.glob("*.yaml")):
        problems.add(
            Problem(
                Place(f"{inside}/{path.name}"), f"file names here end in .yml: rename it to {path.stem}.yml"
            )
        )
    return sorted(path for path in place.glob("*.yml") if not path.name.startswith("."))


@dataclass(frozen=True, slots=True)
class LoadedProfiles:
    """Profiles by the name of their file, the names of invalid ones, and warnings."""

    profiles: dict[str, Profile]
    broken: frozenset[str]
    warnings: tuple[Problem, ...]


def load(folder: Path, problems: Problems) -> LoadedProfiles:
    """The profiles of a workspace. Problems are added to `problems`."""
    profiles: dict[str, Profile] = {}
    broken: set[str] = set()
    warnings: list[Problem] = []
    for path in yaml_files(folder, "mappings/profiles", problems):
        file = f"mappings/profiles/{path.name}"
        before = len(problems.found)
        if path.stem in RESERVED or "." in path.stem:
            why = "it contains a dot" if "." in path.stem else "the name is reserved"
            problems.add(
                Problem(
                    Place(file), f"a profile cannot be called `{path.stem}`, because {why}: rename the file"
                )
            )
        document = read(path, file, problems)
        profile = validate(document, Profile, problems) if document is not None else None
        if document is None or profile is None or len(problems.found) > before:
            broken.add(path.stem)
            continue
        profiles[path.stem] = profile
        warnings.extend(document.problem(route, message) for route, message in profile.warnings)
    return LoadedProfiles(profiles, frozenset(broken), tuple(warnings))
