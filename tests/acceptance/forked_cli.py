"""heatsync's own entry point in a process of its own for each command, forked from one that has read the code.

Reading the code takes two seconds, and what bad input leads to takes many commands. Each of them has its own
arguments, environment, output and exit code, as if it had been started from a shell.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

READ = (
    "alembic.command",
    "hubspot.crm.contacts",
    "hubspot.crm.properties",
    "ibis.backends.duckdb",
    "pyarrow.parquet",
    "requests",
    "segment.analytics.request",
    "simple_salesforce",
    "sqlalchemy.dialects.sqlite",
    "sqlite3",
)
"""What commands read only when they need it."""


@dataclass(frozen=True, slots=True)
class ForkedCli:
    """A process that forks."""

    asked: IO[str]
    answers: IO[str]

    def run(self, command: Sequence[str], environ: Mapping[str, str]) -> tuple[int, str, str]:
        """Exit code, output and errors of `heatsync COMMAND...`."""
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            request = {"command": list(command), "environ": dict(environ), "out": str(out), "err": str(err)}
            self.asked.write(json.dumps(request) + "\n")
            self.asked.flush()
            code = self.answers.readline()
            assert code, "the process that forks has ended: heatsync cannot be imported"
            return int(code), out.read_text("utf-8"), err.read_text("utf-8")


@contextmanager
def forked_cli() -> Iterator[ForkedCli]:
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield ForkedCli(process.stdin, process.stdout)
        finally:
            process.stdin.close()
            process.wait(30)


def _serve() -> None:
    import gc
    import importlib

    from connectors import http
    from heatsync.cli import commands

    # A repeated call is repeated at once: no test waits for the clock.
    http.LONGEST_BACKOFF = 0.0
    for name in READ:
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(commands.main, request)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(main: object, request: dict[str, object]) -> NoReturn:
    """Be the command that was asked for."""
    code = 99
    try:
        for path, stream in ((os.devnull, 0), (request["out"], 1), (request["err"], 2)):
            mode = os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT
            os.dup2(os.open(str(path), mode, 0o600), stream)
        os.environ.clear()
        os.environ.update(request["environ"])  # type: ignore[call-overload]
        sys.argv = ["heatsync", *request["command"]]  # type: ignore[misc]
        try:
            main()  # type: ignore[operator]
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
