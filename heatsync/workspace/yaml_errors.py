"""What the YAML parser's complaints mean to somebody who only wanted to write down a name."""

import re

import yaml
from yaml.reader import ReaderError

RULE = "text with `: ` in it, or with one of `: { } [ ] , # & * ! | > ' \" % @` at its start, must be quoted"

_PRIVATE = re.compile(r"token|secret|key|password|webhook|url|session|engine|ledger|broker", re.IGNORECASE)


def may_be_secret(key: object) -> bool:
    """Whether the text behind this key may be a secret, and is therefore never shown."""
    return _PRIVATE.search(str(key)) is not None


def lines_of(text: str) -> list[str]:
    """The lines as YAML counts them: Python knows more line breaks. At least one, which may be empty."""
    return re.split("\r\n|[\n\r\x85\u2028\u2029]", text)


def explain(error: yaml.YAMLError, text: str) -> tuple[int, int, str]:
    """Line and column (from 1) and a sentence that says what to write instead."""
    if isinstance(error, ReaderError):
        before = lines_of(text[: error.position])
        return (
            len(before),
            len(before[-1]) + 1,
            f"the character U+{ord(text[error.position]):04X} may not stand in a file: delete it",
        )
    if not isinstance(error, yaml.MarkedYAMLError):
        return 1, 1, f"this is not YAML: {error}"
    problem = error.problem or ""
    context = error.context or ""
    begins = any(word in context for word in ("scalar", "anchor", "alias", "tag", "flow", "simple key"))
    mark = (error.context_mark if begins else None) or error.problem_mark or error.context_mark
    if mark is None:
        return 1, 1, f"this is not YAML: {problem}"
    lines = lines_of(text)
    shown = lines[mark.line] if mark.line < len(lines) else ""
    return mark.line + 1, mark.column + 1, _sentence(problem, context, shown, mark.column)


def _sentence(problem: str, context: str, line: str, column: int) -> str:
    key, value = _split(line)
    if may_be_secret(key):
        wants_quotes = f"the text of `{key}` wants quotes: {RULE}"
    else:
        wants_quotes = f"the text `{value}` wants quotes, as in {_quoted(value)}: {RULE}"
    at = line[column : column + 1]
    if at == "\t" or line[: len(line) - len(line.lstrip())].count("\t"):
        return "a tab stands where spaces belong: indent with spaces"
    if "quoted scalar" in context:
        if "end of stream" in problem or "document separator" in problem:
            return f"the quote that opens here is never closed; {wants_quotes}"
        return f"the text in quotes cannot be read ({problem}); in double quotes a `\\` is written `\\\\`"
    if "simple key" in context and "':'" in problem:
        found = line.strip().split(":")[0]
        return f"expected `key: value`: behind `{found}` a `:` and a space are missing, or it wants quotes"
    if "mapping values are not allowed" in problem:
        if ": " in line[:column] or line.rstrip().endswith("::"):
            return wants_quotes
        return (
            "this line is indented further than the value above it allows:"
            " put it below its sisters, or the text above into quotes"
        )
    if "flow" in context:
        opener = "}" if "mapping" in context else "]"
        return (
            f"the `{'{' if opener == '}' else '['}` that opens here is not closed rightly: a `,` or `{opener}` is"
            f" missing; {_quoting(line)}"
        )
    if "expected <block end>" in problem or "block sequence" in context or "block mapping" in context:
        if (at and at in "{}[],#&*!|>'\"%@") or line[:column].strip():
            return wants_quotes
        return (
            "this line does not fit the indentation of the lines above:"
            " the keys of one group start in the same column"
        )
    return wants_quotes


def _quoting(line: str) -> str:
    return "inside { } and [ ] a `${NAME}` wants quotes" if "${" in line else RULE


def _split(line: str) -> tuple[str, str]:
    """The first key of a line and the text behind it; the key is empty in a list."""
    found = re.match(r"^\s*(?:- +)*(?:([^\s:'\"{\[][^:]*):\s+)?(.*)$", line)
    return (found.group(1) or "", found.group(2).strip()) if found else ("", line.strip())


def _quoted(value: str) -> str:
    if '"' in value and "'" not in value:
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
