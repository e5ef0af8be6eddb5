"""An error in the file of a profile is reported with its file, line and column."""

from pathlib import Path

import pytest
from file_workspaces import opened, problems

FILE = "mappings/profiles/reach.yml"
HEAD = "version: 1\nname: Reach\n"
KPI = HEAD + "model: kpi\n"
WEIGHTED = HEAD + "events:\n" + "".join(f"  - {{event: Event {number}, weight: 5}}\n" for number in range(6))
ENGAGEMENT = HEAD + "model: engagement\nevents: [{event: Report Created}]\n"


def messages(folder: Path, text: str) -> list[str]:
    found = problems(folder, {FILE: text})
    assert all(each.startswith(f"{FILE}:") for each in found), found
    return [each.removeprefix(f"{FILE}:") for each in found]


@pytest.mark.parametrize("text", [KPI, WEIGHTED, ENGAGEMENT, ENGAGEMENT + "levels: churn\n"])
def test_a_short_profile_of_each_model_has_no_problem(tmp_path: Path, text: str) -> None:
    assert messages(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        (HEAD + "model: kpis\n", "3:8: ", "did you mean `kpi`"),
        (HEAD + "model: kpis\ntouchpoints: [{event: A, weight: 1}]\n", "4:14: ", "99 are missing"),
        (KPI + "touchpoints:\n  - {event: A, weight: 40}\n", "5:3: ", "60 are missing"),
        (KPI + "touchpoints:\n  - {event: A, weight: 4o}\n", "5:24: ", "a number such as 2.5, found `4o`"),
        (KPI + "touchpoints:\n  - {evnt: A, weight: 40}\n", "5:5: ", "either `event` or `ratio`"),
        (KPI + "touchpoints:\n  - {event: A, weight: 50}\n  - {event: A, weight: 50}\n", "6:5: ", "names `A` twice"),
        (KPI + "touchpoints:\n  - {event: A, where: {page: {is: x}}, weight: 100}\n", "5:31: ", "`is` does not belong"),
        (KPI + "touchpoints:\n  - {name: R, ratio: {of: {event: A}}, weight: 100}\n", "5:15: ", "`to` is missing"),
        (KPI + "events: [{event: A, weight: 5}]\n", "4:9: ", "its `touchpoints` say what counts"),
        (KPI + "rollup: pooled\n", "4:9: ", "`rollup` belongs to `model: weighted`"),
        (KPI + "levels: churn\n", "4:9: ", "`churn` levels need `model: engagement`"),
        (HEAD + "touchpoints: [{event: A, weight: 100}]\n", "3:14: ", "or write `model: kpi`"),
        (WEIGHTED + "levels: {churn: true}\n", "10:17: ", "`churn` levels need `model: engagement`"),
        (WEIGHTED + "levels: {bands: {Low: 0, Top: 101}}\n", "10:31: ", "a lower bound from 0 to 100"),
        (WEIGHTED + "levels: {hysteresys: true}\n", "10:10: ", "did you mean `hysteresis`"),
        (WEIGHTED + "ship: {red_hto: true}\n", "10:17: ", "did you mean `red_hot`"),
        (WEIGHTED + "  - {event: Event 3, weight: 5}\n", "10:13: ", "names `Event 3` twice"),
        (WEIGHTED + "  - {event: Event 9}\n", "10:5: ", "a `weight` from 0 to 10 or a `tier`"),
        (WEIGHTED + "signals:\n  - {trait: account.nps, from: 0, to: 0, weight: 15}\n", "11:39: ", "are both 0"),
        (WEIGHTED + "signals:\n  - {trait: account.nps, from: 0, to: 9, wieght: 15}\n", "11:42: ", "did you mean `weight`"),
        (WEIGHTED + "signals:\n  - {trait: nps, from: 0, to: 9, weight: 60}\n", "11:42: ", "at most 50"),
        (WEIGHTED + "filter: {not: {trait: account.plan, eqq: internal}}\n", "10:37: ", "did you mean `eq`"),
        (WEIGHTED + "filter: {trait: score, gt: 5}\n", "10:17: ", "a filter cannot use `score`"),
        (ENGAGEMENT + "rollup: average\n", "5:9: ", "an account is scored by its own events"),
        (HEAD + "model: engagement\nevents: [{event: A, per_window: 9}]\n", "4:33: ", "or use `per_day`"),
        (HEAD + "model: engagement\n", "1:1: ", "`events` is missing"),
    ],
)  # fmt: skip
def test_an_error_is_reported_at_its_place(tmp_path: Path, text: str, place: str, sentence: str) -> None:
    found = [each for each in messages(tmp_path, text) if sentence in each]
    assert found
    assert found[0].startswith(place), found


def test_a_misspelled_model_is_not_taken_for_another_one(tmp_path: Path) -> None:
    """Neither the events without weights nor the levels are wrong: the model is."""
    found = messages(
        tmp_path, ENGAGEMENT.replace("model: engagement", "model: engagment") + "levels: churn\n"
    )
    assert len(found) == 1
    assert found[0].startswith("3:8: `engagment` is not a model; did you mean `engagement`?")


def test_all_errors_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    text = (
        KPI
        + "window: 12h\nrollup: total\nsignals: [{trait: nps, from: 0, to: 10, weight: 0}]\nlevels: churn\n"
    )
    assert [each.split(" ")[0] for each in messages(tmp_path, text)] == ["4:9:", "5:9:", "6:49:", "7:9:"]


def test_levels_learned_from_churn_are_read(tmp_path: Path) -> None:
    profile = opened(tmp_path, {FILE: ENGAGEMENT + "levels: {churn: true, hysteresis: true}\n"}).profiles[
        "reach"
    ]
    assert (profile.model, profile.levels.kind, profile.levels.hysteresis) == ("engagement", "churn", True)
