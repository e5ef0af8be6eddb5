from datetime import date
from pathlib import Path

import pytest
from file_workspaces import HEATSYNC, PROFILE, VENDORS, opened, problems, refusal, write
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import ConfigurationError
from heatsync.scoring.definition.place import Place
from heatsync.sync.mapping import files as mapping_files
from heatsync.workspace import config
from heatsync.workspace.env_vars import Template

FULL = """\
version: 1
time_zone: Europe/Berlin          # default UTC
prefix: Warm
source:
  engine: postgres://heat:${PG_PASSWORD}@db/product
  events:
    - table: data/events.parquet
      columns: {user_id: uid, timestamp: occurred_at}
    - table: calls
      time_zone: America/New_York
  users:
    table: data/users.csv
  accounts:
    table: data/accounts.csv
state: state
ledger: postgresql+psycopg://heat:${PG_PASSWORD}@db/ledger
broker: ${HEATSYNC_BROKER:-none}
schedule:
  score: "0  5 * * MON-fri"
destinations:
  hubspot:
    token: ${HUBSPOT_TOKEN}
    requests_per_10s: 190
  hubspot_emea:
    type: hubspot
    token: ${HUBSPOT_EMEA_TOKEN}
  segment:
    write_key: ${SEGMENT_WRITE_KEY}
  salesforce:
    domain: acme.my
    consumer_secret: ${SF_CONSUMER_SECRET}
alerts:
  webhook: ${SLACK_WEBHOOK_URL:-}
guards:
  first_run: send
  max_clear_share: 5
"""


def test_every_key_of_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = opened(tmp_path, heatsync=FULL)
    assert of.time_zone.key == "Europe/Berlin"
    assert of.prefix == "Warm"
    assert of.state == tmp_path / "state"
    assert of.score_cron == "0 5 * * MON-fri"
    assert [table.table for table in of.source.events] == ["data/events.parquet", "calls"]
    assert of.source.events[0].columns == {"user_id": "uid", "timestamp": "occurred_at"}
    assert of.source.events[1].time_zone == "America/New_York"
    assert list(of.destinations) == ["hubspot", "hubspot_emea", "segment", "salesforce"]
    assert of.destinations["hubspot_emea"].vendor.type == "hubspot"
    assert of.guards.first_run == "send"
    assert of.guards.changed_meaning == "hold"
    assert (of.guards.max_clear_share, of.guards.max_level_share) == (5, 30)
    assert list(of.profiles) == ["adoption", "health"]
    assert of.profiles["health"].name == "Health"
    assert of.alerts_webhook is None
    assert of.broker is None
    assert of.warnings == ()
    monkeypatch.setenv("PG_PASSWORD", "p4ss")
    monkeypatch.setenv("HEATSYNC_BROKER", "redis://localhost:6379/0")
    assert of.source.engine == "postgres://heat:p4ss@db/product"
    assert of.ledger_url == "postgresql+psycopg://heat:p4ss@db/ledger"
    assert of.broker == "redis://localhost:6379/0"


def test_a_missing_key_has_a_default(tmp_path: Path) -> None:
    of = opened(tmp_path, heatsync="version: 1\nsource: {events: {table: e.csv}}\ndestinations:\n")
    assert of.time_zone.key == "UTC"
    assert of.prefix == "Accoil"
    assert of.source.engine == "duckdb://"
    assert (of.source.users, of.source.accounts) == (None, None)
    assert of.ledger_url == f"sqlite:///{tmp_path / '.heatsync' / 'ledger.db'}"
    assert of.broker is None
    assert of.score_cron == "0 5 * * *"
    assert of.destinations == {}
    assert of.guards.first_run == "hold"


def test_paths_are_inside_the_workspace_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "w", heatsync=HEATSYNC + "ledger: sqlite:///deep/ledger.db\n")
    monkeypatch.chdir(tmp_path)
    of = config.load(Path("w"), vendors=VENDORS)
    assert of.ledger_url == f"sqlite:///{tmp_path}/w/deep/ledger.db"
    assert of.snapshot_path("health", "user", date(2026, 1, 2)) == (
        tmp_path / "w/.heatsync/snapshots/health/user/2026-01-02.parquet"
    )
    assert of.traits_path("account", date(2026, 1, 2)) == (
        tmp_path / "w/.heatsync/snapshots/traits/account/2026-01-02.parquet"
    )


def test_another_config_file_can_be_chosen(tmp_path: Path) -> None:
    write(tmp_path, {"heatsync.prod.yml": HEATSYNC + "prefix: Prod\n"})
    assert config.load(tmp_path, "heatsync.prod.yml", VENDORS).prefix == "Prod"
    assert config.load(tmp_path, vendors=VENDORS).prefix == "Accoil"


def test_a_folder_without_a_workspace_says_how_to_create_one(tmp_path: Path) -> None:
    message = refusal(lambda: config.load(tmp_path, vendors=VENDORS))
    assert "There is no heatsync.yml" in message
    assert "heatsync init" in message


def test_only_the_variables_that_a_command_needs_must_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HUBSPOT_TOKEN", "SEGMENT_WRITE_KEY", "SF_CONSUMER_SECRET"):
        monkeypatch.delenv(name, raising=False)
    of = opened(
        tmp_path,
        {
            "mappings/m.yml": "version: 1\ndestination: hubspot\nobject: contacts\nprofile: health\n"
            "fields: {a: score}\n"
        },
    )
    assert mapping_files.load(of)
    assert of.destinations["segment"].settings({"SEGMENT_WRITE_KEY": "k"}) == {
        "write_key": "k",
        "region": "us",
    }


def test_a_missing_variable_is_named_with_file_and_line(tmp_path: Path) -> None:
    of = opened(tmp_path, heatsync=FULL)
    message = refusal(lambda: of.destinations["hubspot_emea"].settings({"HUBSPOT_TOKEN": "x"}))
    assert message.startswith("heatsync.yml:26:12: ")
    assert "HUBSPOT_EMEA_TOKEN" in message


def test_an_empty_variable_counts_as_missing(tmp_path: Path) -> None:
    of = opened(tmp_path)
    assert "HUBSPOT_TOKEN" in refusal(lambda: of.destinations["hubspot"].settings({"HUBSPOT_TOKEN": ""}))


def oauth(heatsync: str, settings: str) -> str:
    return heatsync.replace('hubspot: {token: "${HUBSPOT_TOKEN}"}', f"hubspot: {{{settings}}}")


def test_one_of_several_credentials_must_be_complete(tmp_path: Path) -> None:
    def checked(settings: str) -> list[str]:
        return list(mapping_files.check(write(tmp_path, heatsync=oauth(HEATSYNC, settings))).problems)

    for settings in ("requests_per_10s: 90", 'client_id: a, client_secret: "${S}"'):
        (problem,) = (each for each in checked(settings) if "credentials" in each)
        assert problem.startswith("heatsync.yml:8:3: ")
        assert problem.endswith("HubSpot needs `token`; or `client_id`, `client_secret`, `refresh_token`")
    for settings in ('token: "${T}"', 'client_id: a, client_secret: "${S}", refresh_token: "${R}"'):
        assert not any("credentials" in each for each in checked(settings))


@pytest.mark.parametrize(
    ("destination", "where", "message"),
    [
        ("segment: {write_key: k, region: mars}", "4:35", "`mars` is not a region of Segment; known: eu, us"),
        ("intercom: {token: t, region: uss}", "4:32", "not a region of Intercom; did you mean `us`?"),
        (
            "salesforce: {domain: acme.my, consumer_key: k, private_key: p}",
            "4:3",
            "`username`, `private_key`",
        ),
        ("salesforce: {domain: acme.my}", "4:3", "Salesforce needs `consumer_key`, `consumer_secret`; or"),
    ],
)
def test_the_check_reports_a_destination_that_can_never_be_opened(
    tmp_path: Path, destination: str, where: str, message: str
) -> None:
    source = "version: 1\nsource: {events: {table: e.csv}}\ndestinations:\n"
    path = write(tmp_path, heatsync=f"{source}  {destination}\n")
    found = [str(problem) for problem in config.load_partial(path).problems]
    assert any(each.startswith(f"heatsync.yml:{where}: ") and message in each for each in found), found


def test_a_setting_from_the_environment_is_checked_when_it_is_resolved(tmp_path: Path) -> None:
    heatsync = HEATSYNC.replace("  hubspot:", '  intercom: {token: t, region: "${REGION:-us}"}\n  hubspot:')
    settings = config.load(write(tmp_path, heatsync=heatsync)).destinations["intercom"].settings
    assert settings({"REGION": "eu"})["region"] == "eu"
    assert "heatsync.yml:8:32: `mars` is not a region" in refusal(lambda: settings({"REGION": "mars"}))


def test_an_empty_credential_is_reported_unless_another_one_is_complete(tmp_path: Path) -> None:
    both = 'token: "${T:-}", client_id: a, client_secret: "${S}", refresh_token: "${R:-}"'
    of = config.load(write(tmp_path, heatsync=oauth(HEATSYNC, both)))
    settings = of.destinations["hubspot"].settings
    assert "token" not in settings({"T": "", "S": "s", "R": "r"})
    message = refusal(lambda: settings({"T": "", "S": "s", "R": ""}))
    assert "`token` is empty: HubSpot requires it" in message
    assert message.startswith("heatsync.yml:8:20: ")


def test_the_environment_overrides_the_url_of_a_destination(tmp_path: Path) -> None:
    heatsync = HEATSYNC.replace('"${HUBSPOT_TOKEN}"', '"${HUBSPOT_TOKEN}", url: "https://proxy.example.com"')
    of = opened(
        tmp_path, heatsync=heatsync.replace("hubspot:", "hub-eu: {type: hubspot, token: x}\n  hubspot:")
    )
    settings = of.destinations["hubspot"].settings
    assert settings({"HUBSPOT_TOKEN": "x"})["url"] == "https://proxy.example.com"
    assert settings({"HUBSPOT_TOKEN": "x", "HEATSYNC_HUBSPOT_URL": "http://127.0.0.1:81"})["url"] == (
        "http://127.0.0.1:81"
    )
    assert of.destinations["hub-eu"].settings({"HEATSYNC_HUB_EU_URL": "http://localhost:8"})["url"] == (
        "http://localhost:8"
    )


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8100", "http://localhost", "http://[::1]:9/x", "https://a.example.com"]
)
def test_http_is_allowed_for_this_machine_only(tmp_path: Path, url: str) -> None:
    settings = opened(tmp_path).destinations["hubspot"].settings
    assert settings({"HUBSPOT_TOKEN": "x", "HEATSYNC_HUBSPOT_URL": url})["url"] == url


@pytest.mark.parametrize(
    "url",
    ["http://api.example.com", "http://127.0.0.1.example.com", "http://10.0.0.1", "ftp://x", "api.example.com",
     "https://", "https://user:pass@api.example.com", "https://api.example.com:port", "http://[bad"],
)  # fmt: skip
def test_an_invalid_address_is_refused_without_repeating_it(tmp_path: Path, url: str) -> None:
    settings = opened(tmp_path).destinations["hubspot"].settings
    message = refusal(lambda: settings({"HUBSPOT_TOKEN": "x", "HEATSYNC_HUBSPOT_URL": url}))
    assert "HEATSYNC_HUBSPOT_URL" in message
    assert "pass" not in message.replace("password", "")
    heatsync = HEATSYNC.replace('"${HUBSPOT_TOKEN}"', f'x, url: "{url}"')
    assert any(
        problem.startswith("heatsync.yml:8:") for problem in problems(tmp_path / "w", heatsync=heatsync)
    )


def test_a_secret_in_plain_text_is_a_warning_that_does_not_show_it(tmp_path: Path) -> None:
    heatsync = (
        HEATSYNC.replace('"${HUBSPOT_TOKEN}"', "pat-s3cret").replace(
            '"${SEGMENT_WRITE_KEY}"', '"${SEGMENT_WRITE_KEY:-s3cret}"'
        )
        + "alerts: {webhook: https://hooks.example.com/s3cret}\nledger: postgresql+psycopg://me:s3cret@db/x\n"
    )
    of = opened(tmp_path, heatsync=heatsync)
    assert [warning.split(": ")[0] for warning in of.warnings] == [
        "heatsync.yml:8:20", "heatsync.yml:9:24", "heatsync.yml:11:19", "heatsync.yml:12:9",
    ]  # fmt: skip
    assert not any("s3cret" in warning for warning in of.warnings)
    assert "${HUBSPOT_TOKEN}" in of.warnings[0]


def test_a_token_for_the_sandbox_is_not_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heatsync = HEATSYNC.replace('"${HUBSPOT_TOKEN}"', "demo, url: http://127.0.0.1:8100")
    assert opened(tmp_path, heatsync=heatsync).warnings == ()
    monkeypatch.setenv("HEATSYNC_SEGMENT_URL", "http://127.0.0.1:8100")
    assert opened(tmp_path, heatsync=HEATSYNC.replace('"${SEGMENT_WRITE_KEY}"', "demo")).warnings == ()


def test_no_error_of_the_file_shows_a_secret(tmp_path: Path) -> None:
    for token in ("{s3cret: x}", "[s3cret]", "${s3cret", "&s3cret x", '"${S3CRET:-s3cret} ${-s3cret}"'):
        found = problems(
            tmp_path, heatsync=HEATSYNC.replace('{token: "${HUBSPOT_TOKEN}"}', f"\n    token: {token}")
        )
        assert found, token
        assert not any("s3cret" in problem for problem in found if "&" not in problem), found


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("version: 1", "version: 2", "1:10", "expected version 1, found `2`"),
        ("Europe/Berlin", "Europe/Berln", "2:12", "did you mean `Europe/Berlin`?"),
        ("Europe/Berlin", "Berlin", "2:12", "did you mean `Europe/Berlin`?"),
        ("time_zone:", "timezone:", "2:1", "`timezone` is not a key here; did you mean `time_zone`?"),
        ("{table: data/events.parquet}", "{tabel: x}", "4:12", "did you mean `table`?"),
        ("{table: data/events.parquet}", "[]", "4:11", "at least one table of events"),
        ("{table: data/events.parquet}", "", "4:3", "`events` has no value"),
        ("events: {table: data/events.parquet}", "user: x", "3:1", "`events` is missing"),
        (
            'token: "${HUBSPOT_TOKEN}"',
            "tokn: x",
            "8:13",
            "`tokn` is not a setting of HubSpot; did you mean `token`?",
        ),
        ('token: "${HUBSPOT_TOKEN}"', "requests_per_10s: 5", "8:3", "`token` is missing"),
        ('token: "${HUBSPOT_TOKEN}"', "token: x, requests_per_10s: many", "8:41", "expected a whole number"),
        ('token: "${HUBSPOT_TOKEN}"', "token: x, requests_per_day: 0", "8:41", "expected a whole number"),
        (
            'token: "${HUBSPOT_TOKEN}"',
            "token: x, bulk_above: 9",
            "8:23",
            "`bulk_above` is not a setting of HubSpot",
        ),
        (
            'token: "${HUBSPOT_TOKEN}"',
            "token: x, requests_per_dya: 9",
            "8:23",
            "did you mean `requests_per_day`?",
        ),
        ('token: "${HUBSPOT_TOKEN}"', "token: ", "8:13", "`token` has no value"),
        ("hubspot:", "hubspt:", "8:3", "did you mean `hubspot`?"),
        ('{token: "${HUBSPOT_TOKEN}"}', "{type: hubspt, token: x}", "8:19", "did you mean `hubspot`?"),
        ('{token: "${HUBSPOT_TOKEN}"}', "{type: {a: b}, token: x}", "8:19", "expected text"),
        ("segment:", "hub/spot:", "8:3", "cannot be a destination's name"),
        ('"${HUBSPOT_TOKEN}"', '"${HUBSPOT-TOKEN}"', "8:20", "neither ${NAME} nor ${NAME:-default}"),
    ],
)
def test_every_error_is_reported_at_its_place(
    tmp_path: Path, old: str, new: str, where: str, message: str
) -> None:
    assert old in HEATSYNC
    found = problems(tmp_path, heatsync=HEATSYNC.replace(old, new, 1))
    assert any(p.startswith(f"heatsync.yml:{where}: ") and message in p for p in found), found


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("guards: {first_run: maybe}", "expected one of hold, send; found `maybe`"),
        ("guards: {max_clear_share: 120}", "a share in percent"),
        ("guards: {max_claer_share: 20}", "did you mean `max_clear_share`?"),
        ("schedule: {score: daily}", "expected a cron line"),
        ('schedule: {score: "0 25 * * *"}', "`25` is not an hour"),
        ("prefix: My Prefix", "expected letters, digits and _"),
        ("state: ''", "expected a folder"),
        ("broker: {a: b}", "expected text"),
        ("alerts: none", "expected keys with values"),
        ("sources: x", "did you mean `source`?"),
        ("source: {}", "`source` is given twice"),
    ],
)
def test_an_invalid_value_says_what_was_expected(tmp_path: Path, line: str, message: str) -> None:
    found = problems(tmp_path, heatsync=HEATSYNC + line + "\n")
    assert any(p.startswith("heatsync.yml:11:") and message in p for p in found), found


def test_fresh_by_is_refused_and_not_ignored(tmp_path: Path) -> None:
    heatsync = HEATSYNC.replace("  users:", '  fresh_by: "04:30"\n  users:')
    assert any("does not wait for data yet" in problem for problem in problems(tmp_path, heatsync=heatsync))


def test_a_ledger_or_broker_of_another_kind_is_refused_when_it_is_needed(tmp_path: Path) -> None:
    of = opened(tmp_path, heatsync=HEATSYNC + "ledger: mysql://me:s3cret@db/x\nbroker: amqp://s3cret@mq\n")
    for message in (refusal(lambda: of.ledger_url), refusal(lambda: of.broker)):
        assert message.startswith("heatsync.yml:1")
        assert "s3cret" not in message


def test_two_destinations_never_share_an_environment_variable(tmp_path: Path) -> None:
    heatsync = (
        HEATSYNC
        + '  hubspot-eu: {type: hubspot, token: "${A}"}\n  hubspot_eu: {type: hubspot, token: "${B}"}\n'
    )
    assert any("HEATSYNC_HUBSPOT_EU_URL" in problem for problem in problems(tmp_path, heatsync=heatsync))


def test_all_errors_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        {
            "mappings/a.yml": "version: 1\ndestination: hubspt\nobject: contacts\nprofile: helth\nfields: {a: score}\n",
            "mappings/b.yml": "version: 1\ndestination: hubspot\nobject: contact\nprofile: health\nextra: 1\n",
            "mappings/c.yml": "version: 1\nname: a: b\n",
            "mappings/d.yaml": "version: 1\n",
            "mappings/profiles/user.yml": PROFILE.format(name="User"),
            "mappings/audiences/mine.yml": "version: 1\nat_risk: {entity: account}\n",
        },
        HEATSYNC.replace("Europe/Berlin", "Europe/Berln"),
    )
    files = [problem.split(":")[0] for problem in found]
    assert files == sorted(files)
    assert set(files) == {
        "heatsync.yml", "mappings/a.yml", "mappings/b.yml", "mappings/c.yml", "mappings/d.yaml",
        "mappings/profiles/user.yml", "mappings/audiences/mine.yml",
    }  # fmt: skip
    assert files.count("mappings/a.yml") == 2
    assert files.count("mappings/b.yml") == 2


@pytest.mark.parametrize("name", ["user", "account", "audience", "traits"])
def test_a_profile_cannot_have_a_reserved_name(tmp_path: Path, name: str) -> None:
    found = problems(tmp_path, {f"mappings/profiles/{name}.yml": PROFILE.format(name="X")})
    assert any(p.startswith(f"mappings/profiles/{name}.yml:1:1: ") and "rename" in p for p in found)


def test_an_empty_folder_of_audiences_is_fine_and_so_is_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "mappings/audiences").mkdir(parents=True)
    assert problems(tmp_path) == []
    assert problems(tmp_path, {"mappings/audiences/success.yml": "version: 1\n"}) == []


_names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
_values = st.text(min_size=1, max_size=20)


@given(
    st.lists(st.tuples(st.text(alphabet="ab :/@-", max_size=5), _names, _values), max_size=4),
    st.text("xyz", max_size=3),
)
def test_references_are_replaced_and_other_text_stays(parts: list[tuple[str, str, str]], end: str) -> None:
    environ = {name: value for _, name, value in parts}
    template = Template("".join(f"{head}${{{name}}}" for head, name, _ in parts) + end, Place("f"), "key")
    assert template.syntax_error is None
    assert template.resolve(environ) == "".join(head + environ[name] for head, name, _ in parts) + end


def test_every_value_of_the_file_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heatsync = (
        HEATSYNC.replace("Europe/Berlin", "${TZ_NAME:-Asia/Tokyo}").replace(
            "data/events.parquet", '"${DATA}/e.csv"'
        )
        + 'state: ${STATE}\nguards: {max_clear_share: "${SHARE:-7}"}\nprefix: ${PREFIX:-Warm}\n'
    )
    monkeypatch.setenv("STATE", "elsewhere")
    monkeypatch.delenv("DATA", raising=False)
    of = opened(tmp_path, heatsync=heatsync)
    assert (of.time_zone.key, of.state, of.prefix) == ("Asia/Tokyo", tmp_path / "elsewhere", "Warm")
    assert of.guards.max_clear_share == 7
    assert refusal(lambda: of.source.events[0].table).startswith("heatsync.yml:4:19: `table` needs")
    monkeypatch.setenv("DATA", "s3://bucket")
    assert of.source.events[0].table == "s3://bucket/e.csv"
    monkeypatch.delenv("STATE")
    found = problems(tmp_path, heatsync=heatsync)
    assert len(found) == 1
    assert found[0].startswith("heatsync.yml:11:8: `state` needs the environment variable STATE")


def test_a_default_replaces_a_variable_that_is_missing_or_empty() -> None:
    template = Template("${A:-x y}-${B:-}", Place("f"), "key")
    assert template.resolve({}) == "x y-"
    assert template.resolve({"A": "", "B": "b"}) == "x y-b"
    assert template.resolve({"A": "${B}"}) == "${B}-"


def test_a_missing_variable_never_shows_the_rest_of_the_text() -> None:
    template = Template("postgres://me:s3cret@${HOST}/x", Place("heatsync.yml", 3, 9), "ledger")
    with pytest.raises(ConfigurationError) as raised:
        template.resolve({})
    assert "HOST" in str(raised.value)
    assert "s3cret" not in str(raised.value)
