"""What is wrong in files, options and settings: the real command says what, where, and what to do, and loses nothing."""

import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_workspace import END, HEATSYNC, calls
from forked_workspace import MAPPING, ForkedWorkspace, assert_refused

DAY = END.isoformat()
CONFIG = "heatsync.yml"
FIELDS = "mappings/hubspot-contacts.yml"
PROFILES = "mappings/profiles/health.yml"
LEDGER = "${HEATSYNC_LEDGER:-sqlite:///.heatsync/ledger.db}"

WRITTEN_WRONG = {
    "duplicate key": (CONFIG, "prefix: Accoil", "prefix: Accoil\nprefix: B", ":10:1:", "twice", "keep one"),
    "unknown key": (CONFIG, "prefix: Accoil", "prefx: Accoil", ":9:1:", "`prefx`", "did you mean `prefix`?"),
    "boolean on": (FIELDS, "fields: true", "fields: on", ":6:16:", "expected true or false", "found `on`"),
    "boolean no": (FIELDS, "fields: true", "fields: no", ":6:16:", "expected true or false", "found `no`"),
    "anchor": (
        FIELDS,
        "profile: health",
        "profile: &p health",
        ":2:10:",
        "`&p` is an anchor",
        "quote ",
    ),
    "alias": (FIELDS, "profile: health", "profile: *p", ":2:10:", "`*p` is an alias", "quote "),
    "merge": (
        CONFIG,
        "prefix: Accoil",
        "<<: {prefix: Accoil}",
        ":9:1:",
        "`<<` is a merge key",
        "write the keys out",
    ),
    "tag": (FIELDS, "profile: health", "profile: !!str health", ":2:10:", "`!!str` is a tag", "quote "),
    "tab": (
        CONFIG,
        "  engine:",
        "\tengine:",
        ":13:1:",
        "found a tab where spaces are needed",
        "indent with spaces",
    ),
    "no colon": (FIELDS, "profile: health", "profile health", ":2:1:", "expected `key: value`"),
    "open quote": (FIELDS, "profile: health", 'profile: "health', ":2:10:", "never closed", "quote "),
    "other version": (FIELDS, "version: 1", "version: 2", ":1:10:", "expected version 1, found `2`"),
    "unknown trait": (
        FIELDS,
        "user.role",
        "scoer",
        ":7:25:",
        "`scoer` is not a trait",
        "did you mean `score`?",
    ),
    "unknown destination": (FIELDS, "hubspot", "hubsopt", ":3:14:", "`hubsopt` is not a dest", "`hubspot`?"),
    "unknown object": (
        FIELDS,
        "object: contacts",
        "object: contact",
        ":4:9:",
        "not an object",
        "`contacts`?",
    ),
    "unknown profile": (FIELDS, "health", "helth", ":2:10:", "no profile `helth`", "did you mean `health`?"),
    "unknown audience": (
        *(FIELDS, "match:", "audience: most_engagd\non_exit: keep\nmatch:", ":5:11:"),
        *("`most_engagd` is not an audience", "did you mean `most_engaged`?"),
    ),
    "unknown function": (
        *(FIELDS, "user.role", '{sql: "read_text(user.role)"}', ":7:"),
        *("read_text", "not"),
    ),
    "no such model": (PROFILES, "model: weighted", "model: wieghted", ":3:8:", "`wieghted`", "weighted"),
    "no such zone": (CONFIG, "time_zone: UTC", "time_zone: Europe/Berln", ":6:12:", "Europe/Berlin"),
    "no such hour": (CONFIG, '"0 5 * * *"', '"0 25 * * *"', ":34:10:", "25"),
    "not a ledger": (CONFIG, LEDGER, "mysql://host/db", ":27:9:", "postgresql+psycopg://", "`mysql`"),
    "not a broker": (CONFIG, "${HEATSYNC_BROKER:-none}", "amqp://host", ":30:9:", "redis://", "none"),
}
"""File, what stands there, what is written in its place, line and column, and parts of the sentence."""


@pytest.mark.parametrize("case", WRITTEN_WRONG)
def test_check_names_the_place_the_value_and_the_nearest_right_name(
    paper: ForkedWorkspace, case: str
) -> None:
    path, old, new, place, *sentence = WRITTEN_WRONG[case]
    paper.replace(path, old, new)
    assert_refused(paper.run("check"), 2, path + place, *sentence)


def test_check_names_every_problem_of_every_file_at_once_and_sync_sends_nothing(
    paper: ForkedWorkspace,
) -> None:
    before = calls(paper.sandbox)
    paper.replace(CONFIG, "prefix: Accoil", "prefx: Accoil")
    paper.replace(FIELDS, "user.role", "scoer")
    paper.replace(PROFILES, "window: 7d", "window: a week")
    checked = paper.run("check", "--json")
    assert checked.code == 2
    problems = checked.json["problems"]
    assert [problem.split(":")[0] for problem in problems] == [CONFIG, FIELDS, PROFILES]
    assert_refused(paper.sync_with(), 2, problems[0])
    assert calls(paper.sandbox) == before


FILES_WRONG: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("heatsync.yml:1:1:", "the file is empty", "`version: 1`")),
    "a list": (b"- version\n", ("heatsync.yml:1:1:", "expected keys with values")),
    "not UTF-8": (
        "version: 1".encode("utf-16"),
        ("heatsync.yml:1:1:", "not UTF-8", "save it as UTF-8"),
    ),
    "binary": (b"version: 1\x00\n", ("heatsync.yml:1:11:", "U+0000", "delete it")),
}


@pytest.mark.parametrize("case", FILES_WRONG)
def test_a_file_that_is_not_yaml_is_named(paper: ForkedWorkspace, case: str) -> None:
    content, sentence = FILES_WRONG[case]
    (paper.folder / CONFIG).write_bytes(content)
    for command in ("check", "score", "runs"):
        assert_refused(paper.run(command), 2, *sentence)


OPTIONS_WRONG = {
    "a date in the future": (
        ("sync", "--date", "2999-01-01"),
        ("2999-01-01", "not over yet", "last complete"),
    ),
    "a future score": (
        ("score", "--date", "2999-01-01"),
        ("2999-01-01", "not over yet", "last complete day is"),
    ),
    "no date": (("score", "--date", "tomorrow"), ("--date", "'tomorrow'", "such as 2026-01-31")),
    "another date format": (
        ("plan", "--date", "31.10.2026"),
        ("--date", "'31.10.2026'", "such as 2026-01-31"),
    ),
    "the day one": (("score", "--date", "0001-01-01"), ("--date", "0001-01-01", "earliest")),
    "half a range": (("score", "--from", "2026-10-01"), ("--from DAY and --to DAY",)),
    "a range backwards": (
        ("score", "--from", DAY, "--to", "2026-10-01"),
        (DAY, "is later than", "2026-10-01"),
    ),
    "no number": (("sync", "--limit", "many"), ("--limit", "integer")),
    "no record": (("sync", "--limit", "0"), ("--limit", "greater than or equal to 1")),
    "unknown option": (("sync", "--nonsense"), ("No such option", "--nonsense", "--help")),
    "unknown command": (("snyc",), ("No such command", "snyc", "--help")),
    "unknown mapping": (
        ("sync", "hubspot-contact"),
        ("'hubspot-contact'", "Mappings here: hubspot-contacts"),
    ),
    "plan unknown": (("plan", "nope"), ("no mapping 'nope'", "hubspot-contacts")),
    "pause unknown": (("pause", "nope"), ("no mapping 'nope'", "hubspot-contacts")),
    "show unknown": (("show", "nope"), ("no run nope", "heatsync runs")),
    "approve unknown": (("approve", "nope"), ("no run nope", "heatsync runs")),
    "cancel unknown": (("cancel", "nope"), ("no run nope", "heatsync runs")),
    "failures unknown": (("failures", "nope"), ("no run nope", "heatsync runs")),
    "another file": (("check", "--config", "heatsync.prod.yml"), ("heatsync.prod.yml", "--workspace")),
    "no workspace": (("sync", "-w", "/nowhere/at/all"), ("/nowhere/at/all", "--workspace", "heatsync init")),
    "no such port": (("sandbox", "--port", "99999"), ("--port", "65535")),
    "no such fault": (("sandbox", "--faults", "sever=0.1"), ("no fault 'sever'", "server")),
    "no share": (("sandbox", "--faults", "server=2"), ("share between 0 and 1",)),
    "no place to init": (("init", "/proc/workspace"), ("/proc/workspace", "cannot be created", "another")),
}


@pytest.mark.parametrize("case", OPTIONS_WRONG)
def test_a_wrong_option_is_refused_with_what_is_allowed(paper: ForkedWorkspace, case: str) -> None:
    command, sentence = OPTIONS_WRONG[case]
    assert_refused(paper.run(*command), 2, *sentence)


def test_a_sandbox_without_its_port_prints_no_address(paper: ForkedWorkspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = paper.run("sandbox", "--port", str(taken.getsockname()[1]))
    assert_refused(answer, 2, "is not free", "--port")
    assert "answers at" not in answer.out + answer.err


def test_init_never_overwrites_a_workspace(paper: ForkedWorkspace) -> None:
    before = (paper.folder / CONFIG).read_bytes()
    assert_refused(paper.run("init", str(paper.folder)), 2, CONFIG, "already exists", "another folder")
    assert (paper.folder / CONFIG).read_bytes() == before


def test_a_workspace_without_a_profile_says_which_file_is_missing(paper: ForkedWorkspace) -> None:
    (paper.folder / PROFILES).unlink()
    assert_refused(paper.run("sync"), 2, f"{FIELDS}:2:10:", "no profile `health`", PROFILES)
    (paper.folder / FIELDS).unlink()
    assert_refused(paper.run("score"), 2, "no profile", "write one", PROFILES)


def test_a_workspace_without_a_mapping_says_that_nothing_is_sent(paper: ForkedWorkspace) -> None:
    paper.only()
    assert_refused(paper.sync_with(), 0, "has no mapping", "nothing is sent")


def _no_database(folder: Path) -> None:
    (folder / "ledger.db").write_bytes(b"this is no database at all " * 100)


def _folder(folder: Path) -> None:
    (folder / "ledger.db").mkdir()


def _somebody_elses(folder: Path) -> None:
    connection = sqlite3.connect(folder / "ledger.db")
    connection.execute("CREATE TABLE runs (distance)")
    connection.close()


@pytest.mark.parametrize("spoil", [_no_database, _folder, _somebody_elses])
def test_a_file_that_is_no_ledger_is_left_untouched(
    live: ForkedWorkspace, spoil: Callable[[Path], None]
) -> None:
    spoil(live.folder / ".heatsync")
    before = sorted((p.name, p.stat().st_size) for p in (live.folder / ".heatsync").glob("ledger.db"))
    for command in (("runs",), ("sync", "--date", DAY, "--yes")):
        assert_refused(
            live.run(*command), 2, "ledger", str(live.folder), "cannot be opened", "Check `ledger:`"
        )
    assert calls(live.sandbox) == 0
    after = sorted((p.name, p.stat().st_size) for p in (live.folder / ".heatsync").glob("ledger.db"))
    assert after == before


def test_an_unreachable_ledger_server_is_named_without_its_password(paper: ForkedWorkspace) -> None:
    paper.replace(CONFIG, LEDGER, "postgresql+psycopg://somebody:s3cr3t@127.0.0.1:9/heatsync")
    answer = paper.sync_with()
    assert_refused(answer, 2, "127.0.0.1", "cannot be opened", "Check `ledger:`")
    assert "s3cr3t" not in answer.out + answer.err


def test_a_state_folder_that_cannot_be_created_is_named(paper: ForkedWorkspace) -> None:
    shutil.rmtree(paper.folder / ".heatsync")
    paper.write(".heatsync", "a file")
    for command in ("score", "sync", "runs"):
        assert_refused(paper.run(command), 2, str(paper.folder / ".heatsync"), "cannot be created")
    (paper.folder / ".heatsync").unlink()
    assert paper.run("runs").code == 0


def test_a_missing_secret_is_named_with_its_place_and_score_works_without_it(
    live: ForkedWorkspace,
) -> None:
    missing = live.sync_with(HUBSPOT_TOKEN="")
    assert_refused(missing, 2, "heatsync.yml:45:12:", "HUBSPOT_TOKEN", "not set", "export HUBSPOT_TOKEN=...")
    assert calls(live.sandbox) == 0
    assert live.run("score", "--date", DAY, HUBSPOT_TOKEN="").code == 0
    assert live.sync_with().mapping("hubspot-contacts")["outcomes"]["delivered"] > 0


@pytest.mark.parametrize(
    ("url", "sentence"),
    [("http://example.com", "http is allowed for this machine only"), ("nonsense", "expected an address")],
)
def test_an_invalid_address_names_the_environment_variable(
    paper: ForkedWorkspace, url: str, sentence: str
) -> None:
    answer = paper.run("plan", "--date", DAY, HEATSYNC_HUBSPOT_URL=url)
    assert_refused(answer, 2, "heatsync.yml:44:3:", "HEATSYNC_HUBSPOT_URL", sentence, "https://")


def test_the_installed_command_prints_the_same_message(paper: ForkedWorkspace) -> None:
    """Once as it is installed, to be sure that what is forked is no other."""
    import subprocess

    paper.write(FIELDS, MAPPING.replace("user.role", "scoer"))
    ended = subprocess.run(
        [HEATSYNC, "check"], env=paper.environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == paper.run("check").out
