"""explain, backtest, whatif, suggest-weights and the health gate, as they are typed."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from cli_workspace import END
from forked_workspace import PROFILE, ForkedWorkspace, assert_refused, rows

from heatsync.workspace import config as workspace_config

DAY = END.isoformat()


def lose_the_last_day(workspace: ForkedWorkspace) -> None:
    """The export broke off at midnight, but for one event."""
    path = workspace.folder / "data" / "events.parquet"
    table = pq.read_table(path)
    midnight = pa.scalar(datetime(END.year, END.month, END.day, tzinfo=UTC), table["timestamp"].type)
    before = table.filter(pc.less(table["timestamp"], midnight))
    after = table.filter(pc.greater_equal(table["timestamp"], midnight))
    assert after.num_rows > 1
    pq.write_table(pa.concat_tables([before, after.slice(0, 1)]), path)


def unguarded(workspace: ForkedWorkspace, **guards: str) -> None:
    """Only what is asked for holds a run."""
    usual = {"first_run": "send", "max_level_share": "100", "max_clear_share": "100"}
    text = (workspace.folder / "heatsync.yml").read_text("utf-8").partition("\nguards:")[0].rstrip()
    settings = ", ".join(f"{key}: {value}" for key, value in {**usual, **guards}.items())
    workspace.write("heatsync.yml", f"{text}\nguards: {{{settings}}}\n")


def test_explain_shows_what_was_sent_and_answered(live: ForkedWorkspace) -> None:
    assert live.sync_with().code == 0
    user = rows(live)[0]
    found = live.run("explain", user["user_id"], "--json").json
    (destination,) = found["destinations"]
    assert (found["entity"], found["as_of"], destination["covered"]) == ("user", DAY, True)
    assert destination["wants"] == {"heatsync_role": user["role"], "heatsync_name": user["name"]}
    (there,) = destination["accounts"]
    assert there["fields"]["heatsync_role"] == user["role"]
    assert (there["state"], there["last"]["status"]) == ("settled", "delivered")
    (score,) = found["profiles"]
    points = sum(each["points"] for each in score["contributions"])
    assert points == pytest.approx(score["score_exact"], abs=1e-6)
    said = live.run("explain", user["user_id"])
    assert said.code == 0
    assert "What the score is made of" in said.out or score["score"] == 0
    assert "delivered" in said.out


def test_explain_says_in_words_why_a_record_cannot_be_sent(paper: ForkedWorkspace) -> None:
    paper.replace("mappings/hubspot-contacts.yml", "user.role", "{from: user.role, as: number}")
    user = rows(paper)[0]
    said = paper.run("explain", user["user_id"])
    why = f"heatsync_role holds a value that is not of the field's type ('{user['role']}')"
    assert f"cannot be sent: {why}" in said.out
    (destination,) = paper.run("explain", user["user_id"], "--json").json["destinations"]
    assert destination["problem"] == why


def test_explain_needs_no_secret_and_no_destination(paper: ForkedWorkspace) -> None:
    user = rows(paper)[0]["user_id"]
    answer = paper.run("explain", user, "--json", HUBSPOT_TOKEN="")
    assert answer.code == 0, answer.err
    assert answer.json["destinations"][0]["accounts"] == []


def test_explain_names_what_it_does_not_know(paper: ForkedWorkspace) -> None:
    assert_refused(paper.run("explain", "nobody"), 2, "no user and no account 'nobody'")
    assert_refused(paper.run("explain", "u1", "--profile", "healt"), 2, "did you mean `health`")
    assert_refused(paper.run("explain", "u1", "--entity", "team"), 2, "--entity must be user or account")
    assert_refused(paper.run("explain", "u1", "--date", "yesterday"), 2, "--date: expected a day")


def test_a_backtest_with_too_little_data_gives_no_figure(paper: ForkedWorkspace, tmp_path: Path) -> None:
    answer = paper.run("backtest", "health", "--date", DAY, "--json").json
    assert answer["auc"] is None
    assert answer["predictive"] is None
    assert "30" in answer["why"]
    plot = tmp_path / "plot.png"
    said = paper.run("backtest", "health", "--date", DAY, "--plot", str(plot))
    assert said.code == 0
    assert "no figure" in said.out
    assert not plot.exists()


def test_a_backtest_refuses_what_it_cannot_do(paper: ForkedWorkspace, tmp_path: Path) -> None:
    assert_refused(paper.run("backtest", "healt"), 2, "did you mean `health`")
    assert_refused(paper.run("backtest", "health", "--plot", "chart.gif"), 2, ".png, .svg")
    assert_refused(
        paper.run("backtest", "health", "--plot", str(tmp_path / "no" / "a.png")), 2, "does not exist"
    )
    assert_refused(
        paper.run("backtest", "health", "--horizon", "soon"), 2, "--horizon: expected days such as 30d"
    )
    assert_refused(paper.run("backtest", "health", "--entity", "team"), 2, "--entity must be user or account")


def test_a_profile_that_is_not_predictive_is_marked_wherever_it_is_shown(paper: ForkedWorkspace) -> None:
    mark = "health is not predictive for users"
    verdict = {"entity": "user", "auc": 0.52, "low": 0.47, "high": 0.58, "horizon": 30, "rows": 900}
    version = paper.run("score", "--date", DAY, "--json").json["snapshots"][0]
    assert version["predictive"] is None
    known = workspace_config.load(paper.folder).profiles["health"].version
    stored = {"user": verdict | {"churned": 90, "last": DAY, "version": known}}
    paper.write(".heatsync/verdicts/health.json", json.dumps(stored))
    assert mark in paper.run("score", "--date", DAY).out
    assert mark in paper.run("plan", "--date", DAY, "--offline").err
    assert paper.run("plan", "--date", DAY, "--offline", "--json").json["mappings"][0]["predictive"] is False
    user = rows(paper)[0]["user_id"]
    assert "NOT PREDICTIVE" in paper.run("explain", user).out
    # Of a changed profile nothing is known.
    paper.write("mappings/profiles/health.yml", PROFILE.replace("weight: 8", "weight: 7"))
    assert mark not in paper.run("score", "--date", DAY).out


def test_a_what_if_sends_nothing_and_shows_what_would_be_sent(paper: ForkedWorkspace, tmp_path: Path) -> None:
    paper.replace("mappings/hubspot-contacts.yml", "user.role", "score")
    changed = tmp_path / "health.yml"
    changed.write_text(PROFILE.replace("target: 50", "target: 5"))
    paper.sandbox.reset_stats()
    answer = paper.run("whatif", str(changed), "--date", DAY, "--json")
    assert answer.code == 0, answer.err
    users = answer.json["entities"][0]
    assert users["moved"] == sum(each["count"] for each in users["levels"] if each["from"] != each["to"]) > 0
    (mapping,) = answer.json["mappings"]
    assert 0 < mapping["changed"] <= mapping["records"]
    assert sum(each["calls"] for each in paper.sandbox.stats().values()) == 0
    said = paper.run("whatif", str(changed), "--date", DAY)
    assert "Levels: from the rows to the columns" in said.out


def test_suggest_weights_with_too_little_data_says_so(paper: ForkedWorkspace) -> None:
    answer = paper.run("suggest-weights", "health", "--date", DAY, "--json").json
    assert answer["verdict"] is None
    assert answer["why"]
    assert "no suggestion" in paper.run("suggest-weights", "health", "--date", DAY).out


def test_a_day_that_lost_its_events_is_held_until_approved(live: ForkedWorkspace) -> None:
    unguarded(live)
    lose_the_last_day(live)
    answer = live.run("sync", "--date", DAY, "--json")
    assert answer.code == 4, answer.out + answer.err
    mapping = answer.mapping("hubspot-contacts")
    assert mapping["state"] == "held"
    assert f"{DAY} has 1 events" in mapping["cause"]
    assert "fewer than" in mapping["cause"]
    assert mapping["outcomes"]["delivered"] == 0
    approved = live.run("approve", answer.json["run"], "--json")
    assert approved.code == 0, approved.err
    assert approved.mapping("hubspot-contacts")["outcomes"]["delivered"] > 0


def test_the_health_gate_can_be_switched_off(live: ForkedWorkspace) -> None:
    unguarded(live, health="send")
    lose_the_last_day(live)
    answer = live.run("sync", "--date", DAY, "--json")
    assert answer.code == 0, answer.out + answer.err
    assert answer.mapping("hubspot-contacts")["outcomes"]["delivered"] > 0


def test_one_empty_table_of_events_among_others_is_held(live: ForkedWorkspace) -> None:
    unguarded(live)
    live.write("data/calls.csv", "user_id,event,timestamp\n")
    config = (live.folder / "heatsync.yml").read_text("utf-8")
    assert "    - table: data/events.parquet\n" in config, config
    live.replace(
        "heatsync.yml",
        "    - table: data/events.parquet\n",
        "    - table: data/events.parquet\n    - table: data/calls.csv\n",
    )
    answer = live.run("sync", "--date", DAY, "--json")
    assert answer.code == 4, answer.out + answer.err
    assert "data/calls.csv is empty" in answer.mapping("hubspot-contacts")["cause"]
