"""How large the rooms are: folders, files, lines; files over 450 lines, functions over 60 lines or 7 parameters.

    python tests/support/rooms.py

A function that is longer or takes more says why: a comment `# long: ...` or `# wide: ...` on its `def` line or the
line above it.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("heatsync", "connectors", "worker")
FILES, LINES = 16, 4_000
"""Of a room. The sandbox may have more."""
FILE_LINES, FUNCTION_LINES, PARAMETERS = 450, 60, 7


@dataclass(frozen=True)
class Excess:
    """Something larger than it may be."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def rooms() -> dict[str, tuple[int, int]]:
    """Files and lines by folder, empty `__init__` files left out."""
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for path in modules():
        room, count = str(path.parent.relative_to(ROOT)), len(path.read_text("utf-8").splitlines())
        if count > 1:
            files[room] += 1
            lines[room] += count
    return {room: (files[room], lines[room]) for room in sorted(files)}


def excesses() -> Iterator[Excess]:
    for room, (files, lines) in rooms().items():
        if not room.startswith("heatsync/sandbox") and (files > FILES or lines > LINES):
            yield Excess(room, f"{files} files, {lines} lines")
    for path in modules():
        text = path.read_text("utf-8")
        lines = text.splitlines()
        name = str(path.relative_to(ROOT))
        if len(lines) >= FILE_LINES:
            yield Excess(name, f"{len(lines)} lines")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            place = f"{name}:{node.lineno} {node.name}"
            said = " ".join(lines[max(0, node.lineno - 2) : node.lineno])
            long = (node.end_lineno or node.lineno) - node.lineno + 1
            if long > FUNCTION_LINES and "# long:" not in said:
                yield Excess(place, f"{long} lines")
            args = node.args
            every = [*args.posonlyargs, *args.args, *args.kwonlyargs]
            wide = sum(arg.arg not in ("self", "cls") for arg in every)
            if wide > PARAMETERS and "# wide:" not in said:
                yield Excess(place, f"{wide} parameters")


def main() -> int:
    for room, (files, lines) in rooms().items():
        print(f"{room:32} {files:4} files {lines:7,} lines")
    print(f"{'all':32} {len(modules()):4} files {sum(lines for _, lines in rooms().values()):7,} lines")
    found = list(excesses())
    for each in found:
        print(each)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
