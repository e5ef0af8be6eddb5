"""The errors of the YAML parser as sentences that say what to write instead."""

import re

import yaml
from yaml.reader import ReaderError

RULE = (
    "text that contains `: `, or that starts with one of `: { } [ ] , # & * ! | > ' \" % @`, must be quoted"
)

_PRIVATE = re.compile(r"token|secret|key|password|webhook|url|session|engine|ledger|broker", re.IGNORECASE)


def may_be_secret(key: object) -> bool:
    """Whether the value of this key may be a secret, and is therefore never shown."""
    return _PRIVATE.search(str(key)) is not None


def lines_of(text: str) -> list[str]:
    """The lines as YAML counts them: Python knows more line breaks. At least one, which may be empty."""
    return re.split("\r\n|[\n\r\x85\u2028\u2029]", text)


def explain(error: yaml.YAMLError, text: str) -> tuple[int, int, str]:
    """Line and column (from 1) and a message that says what to write instead."""
    if isinstance(error, ReaderError):
        before = lines_of(text[: error.position])
        return (
            len(before),
            len(before[-1]) + 1,
            f"the character U+{ord(text[error.position]):04X} is not allowed in a file: delete it",
        )
    if not isinstance(error, yaml.MarkedYAMLError):
        return 1, 1, f"this is not valid YAML: {error}"
    problem = error.problem or ""
    context = error.context or ""
    begins = any(word in context for word in ("scalar", "anchor", "alias", "tag", "flow", "simple key"))
    mark = (error.context_mark if begins else None) or error.problem_mark or error.context_mark
    if mark is None:
        return 1, 1, f"this is not valid YAML: {problem}"
    lines = lines_of(text)
    shown = lines[mark.line] if mark.line < len(lines) else ""
    return mark.line + 1, mark.column + 1, _sentence(problem, context, shown, mark.column)


def _sentence(problem: str, context: str, line: str, column: int) -> str:
    key, value = _split(line)
    if may_be_secret(key):
        must_be_quoted = f"quote the text of `{key}`: {RULE}"
    else:
        must_be_quoted = f"quote the text `{value}`, as in {_quoted(value)}: {RULE}"
    at = line[column : column + 1]
    if at == "\t" or line[: len(line) - len(line.lstrip())].count("\t"):
        return "found a tab where spaces are needed: indent with spaces"
    if "quoted scalar" in context:
        if "end of stream" in problem or "document separator" in problem:
            return f"the quote that opens here is never closed; {must_be_quoted}"
        return f"the quoted text cannot be read ({problem}): in double quotes, write `\\\\` for `\\`"
    if "simple key" in context and "':'" in problem:
        found = line.strip().split(":")[0]
        return f"expected `key: value`: add a `:` and a space after `{found}`, or quote it"
    if "mapping values are not allowed" in problem:
        if ": " in line[:column] or line.rstrip().endswith("::"):
            return must_be_quoted
        return (
            "this line is indented too far: align it with the other lines of its group,"
            " or quote the text above it"
        )
    if "flow" in context:
        opener = "}" if "mapping" in context else "]"
        return (
            f"the `{'{' if opener == '}' else '['}` that opens here is not closed correctly: a `,` or `{opener}` is"
            f" missing; {_quoting(line)}"
        )
    if "expected <block end>" in problem or "block sequence" in context or "block mapping" in context:
        if (at and at in "{}[],#&*!|>'\"%@") or line[:column].strip():
            return must_be_quoted
        return (
            "the indentation of this line does not match the lines above:"
            " the keys of a group start in the same column"
        )
    return must_be_quoted


def _quoting(line: str) -> str:
    return "quote a `${NAME}` inside { } and [ ]" if "${" in line else RULE


def _split(line: str) -> tuple[str, str]:
    """The first key of a line and the text after it; the key is empty in a list."""
    found = re.match(r"^\s*(?:- +)*(?:([^\s:'\"{\[][^:]*):\s+)?(.*)$", line)
    return (found.group(1) or "", found.group(2).strip()) if found else ("", line.strip())


def _quoted(value: str) -> str:
    if '"' in value and "'" not in value:
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
