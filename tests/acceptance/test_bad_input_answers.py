"""What is wrong at the destination, or in stored state: the real command says it, and everything stays pending."""

import http.server
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from forked_workspace import MAPPING, ForkedWorkspace, assert_refused, contacts, failures, rows

from heatsync.sandbox.demo_data import crm

FIELDS = "mappings/hubspot-contacts.yml"


@pytest.mark.parametrize(
    ("field", "fix"),
    [
        ("there", lambda workspace: workspace.sandbox.seed(_with_property(workspace))),
        ("made", lambda workspace: workspace.replace(FIELDS, "create_fields: false", "create_fields: true")),
    ],
)
def test_a_missing_hubspot_property_rejects_records_until_it_exists(
    live: ForkedWorkspace, field: str, fix: Callable[[ForkedWorkspace], None]
) -> None:
    live.write(FIELDS, MAPPING.replace("create_fields: true", "create_fields: false"))
    people = rows(live)
    assert_refused(live.sync_with(), 1)
    missing = failures(live)["field_missing"]
    assert missing["count"] == len(people)
    assert "heatsync_" in missing["cause"]
    assert "create_fields: true" in missing["cure"]
    fix(live)
    assert live.run("retry").code == 0
    done = live.sync_with()
    assert done.code == 0, (field, done.out)
    assert contacts(live) == {user["email"]: user["role"] for user in people}


def _with_property(workspace: ForkedWorkspace) -> dict[str, Any]:
    text = {"type": "string"}
    properties = {"heatsync_role": text, "heatsync_name": text}
    state: dict[str, Any] = workspace.sandbox.state()
    return state | {"fields": {"hubspot": {"contacts": properties}}}


def test_a_missing_salesforce_field_rejects_records_until_it_exists(
    live: ForkedWorkspace,
) -> None:
    live.only()
    live.write(
        "mappings/salesforce-contacts.yml",
        "version: 1\nprofile: health\ndestination: salesforce\nobject: Contact\nmatch: {Email: email}\n"
        "fields: {Not_Created__c: user.role}\n",
    )
    seeded = crm.state(live.folder / "data")
    live.sandbox.seed(seeded)
    assert_refused(live.sync_with(), 1)
    missing = failures(live)["field_missing"]
    assert missing["examples"][0]["field"] == "Not_Created__c"
    assert "Not_Created__c" in missing["cause"]
    assert "Create the field" in missing["cure"]
    seeded["fields"]["salesforce"]["Contact"]["Not_Created__c"] = {"type": "string", "length": 40}
    live.sandbox.seed(seeded)
    assert live.run("retry").code == 0
    done = live.sync_with()
    assert done.code == 0, done.out
    assert done.mapping("salesforce-contacts")["outcomes"]["delivered"] == missing["count"]


def test_an_unreachable_destination_is_named_and_everything_remains_pending(live: ForkedWorkspace) -> None:
    away = live.sync_with(HEATSYNC_HUBSPOT_URL="http://127.0.0.1:9")
    assert_refused(
        away,
        3,
        "HubSpot at http://127.0.0.1:9 cannot be reached",
        "check the network",
        "go out with the next sync",
    )
    assert live.sync_with().mapping("hubspot-contacts")["outcomes"]["delivered"] == len(rows(live))


def test_refused_credentials_are_named_and_everything_remains_pending(live: ForkedWorkspace) -> None:
    no = live.sync_with(HUBSPOT_TOKEN="refused")
    assert_refused(
        no, 3, "HubSpot refused the credentials", "Check the token", "from HUBSPOT_TOKEN (heatsync.yml:"
    )
    how = ("`heatsync resume hubspot-contacts` ends the pause", "another credential does so by itself")
    assert_refused(no, 3, "hubspot-contacts is paused now", *how)
    again = live.sync_with(HUBSPOT_TOKEN="refused")
    assert_refused(again, 3, "refused the credentials", *how)
    assert live.sync_with().mapping("hubspot-contacts")["outcomes"]["delivered"] == len(rows(live))


def test_a_manual_pause_says_how_to_resume(live: ForkedWorkspace) -> None:
    live.run("pause", "hubspot-contacts")
    paused = live.sync_with().mapping("hubspot-contacts")
    assert paused["cause"] == "paused by hand: `heatsync resume hubspot-contacts` ends the pause"
    live.run("pause")
    assert "`heatsync resume` ends" in live.sync_with().mapping("hubspot-contacts")["cause"]
    live.run("resume")
    assert live.sync_with().mapping("hubspot-contacts")["outcomes"]["delivered"] == len(rows(live))


PAGE = b"<html><body>Please log in to the Wi-Fi, ada@example.com</body></html>"


@contextmanager
def proxy(url: str, in_between: Callable[[str], bool]) -> Iterator[str]:
    """Leads to the sandbox, but answers with a web page where `in_between` says so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, kind, answer = 200, "text/html", PAGE
            if not in_between(self.path):
                headers = {k: v for k, v in self.headers.items() if k in ("Authorization", "Content-Type")}
                request = urllib.request.Request(url + self.path, body or None, headers, method=self.command)
                try:
                    with urllib.request.urlopen(request) as reply:
                        status, kind, answer = reply.status, reply.headers["Content-Type"], reply.read()
                except urllib.error.HTTPError as reply:
                    with reply:
                        status, kind, answer = reply.code, reply.headers["Content-Type"], reply.read()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PATCH = do_PUT = _pass  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("where", ["account", "batch/update"])
def test_a_web_page_in_place_of_an_answer_is_no_success_and_everything_remains_pending(
    live: ForkedWorkspace, where: str
) -> None:
    with proxy(live.sandbox.url, lambda path: where in path) as url:
        page = live.sync_with(HEATSYNC_HUBSPOT_URL=url)
    assert_refused(page, 3, "HubSpot's answer to", "a web page", "proxy", "the next sync")
    assert "ada@example.com" not in page.out + page.err
    assert contacts(live) == {}
    assert live.sync_with().mapping("hubspot-contacts")["outcomes"]["delivered"] == len(rows(live))


def test_a_truncated_snapshot_is_computed_again(live: ForkedWorkspace) -> None:
    for path in (live.folder / ".heatsync/snapshots/health").rglob("2026-10-*.parquet"):
        path.write_bytes(b"PAR1 and no more")
    assert live.sync_with().mapping("hubspot-contacts")["outcomes"]["delivered"] == len(rows(live))


def test_a_damaged_snapshot_is_computed_again(live: ForkedWorkspace) -> None:
    for path in (live.folder / ".heatsync/snapshots/health").rglob("2026-10-30.parquet"):
        content = path.read_bytes()
        path.write_bytes(content[:40] + b"\xff" * 60 + content[100:])
    assert live.sync_with().mapping("hubspot-contacts")["outcomes"]["delivered"] == len(rows(live))
