"""`heatsync profile reset`: the default touchpoints, and not a character more."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.errors import ConfigurationError
from heatsync.cli import commands
from heatsync.scoring.definition.profile import Profile
from heatsync.scoring.definition.touchpoints import DEFAULT_TOUCHPOINTS, yaml_line
from heatsync.workspace import profile_reset
from heatsync.workspace.profile_reset import TouchpointChange

LINES = [f"  - {yaml_line(each)}" for each in DEFAULT_TOUCHPOINTS]
HEAD = """\
# What marketing wants to see.
version: 1
name: Reach          # as sales calls it
model: kpi

"""
TAIL = """
# How it is shown.
levels: {bands: {Cold: 0, Warm: 40}}   # two are enough
"""


def make(folder: Path, text: str, name: str = "reach") -> Path:
    path = folder / "mappings" / "profiles" / f"{name}.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def listed(lines: Sequence[str]) -> str:
    return HEAD + "touchpoints:\n" + "".join(f"{line}\n" for line in lines) + TAIL


def test_a_changed_weight_is_put_back_and_nothing_else_is_touched(tmp_path: Path) -> None:
    lines = ["  # Ads first.", *LINES]
    lines[2] = (
        "  - {name: LinkedIn clicks, event: LinkedIn Ad Click, weight: 13}   # clicks are what we pay for"
    )
    lines[3] = LINES[2].replace("17", "14")
    path = make(tmp_path, listed(lines))
    done = profile_reset.reset(tmp_path, "reach")
    lines[2] = f"{LINES[1]}  # clicks are what we pay for"
    lines[3] = LINES[2]
    assert path.read_text() == listed(lines)
    assert done.file == "mappings/profiles/reach.yml"
    assert done.changes == (
        TouchpointChange("LinkedIn clicks", "13 % LinkedIn Ad Click", "10 % LinkedIn Ad Click"),
        TouchpointChange(
            "LinkedIn leads", "14 % LinkedIn Lead Form Submitted", "17 % LinkedIn Lead Form Submitted"
        ),
    )


def test_missing_touchpoints_come_back_and_added_ones_are_removed(tmp_path: Path) -> None:
    kept = [line for line in LINES if "Calls" not in line and "Emails" not in line]
    own = [
        "  # The webinar of the year.",
        "  - name: Webinars",
        "    event: Webinar Attended",
        "    weight: 15",
    ]
    path = make(tmp_path, listed([*own, *kept]))
    done = profile_reset.reset(tmp_path, "reach")
    assert path.read_text() == listed([own[0], *kept, LINES[9], LINES[10]])
    assert done.changes == (
        TouchpointChange("Emails", None, "5 % Email Logged"),
        TouchpointChange("Calls", None, "10 % Call Logged"),
        TouchpointChange("Webinars", "15 % Webinar Attended", None),
    )


def test_comments_inside_a_touchpoint_survive_its_reset(tmp_path: Path) -> None:
    own = [
        "  - name: Calls",
        "    # agreed in March",
        "    event: [Call Made, Call Taken]  # both ways",
        "    weight: 10  # for now",
    ]
    path = make(tmp_path, listed([*LINES[:10], *own]))
    profile_reset.reset(tmp_path, "reach")
    assert path.read_text() == listed(
        [*LINES[:10], "  # agreed in March", "  # both ways", f"{LINES[10]}  # for now"]
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" [{name: Calls, event: Call Logged, weight: 100}]", []),
        (" [ # only calls\n  {name: Calls, event: Call Logged, weight: 100}, # for now\n  ]", ["# only calls", "# for now"]),
        (" everything", []),
        ("", []),
    ],
)  # fmt: skip
def test_any_other_value_is_replaced_by_the_list(tmp_path: Path, value: str, expected: list[str]) -> None:
    path = make(tmp_path, f"{HEAD}touchpoints:{value}\n{TAIL}")
    assert profile_reset.reset(tmp_path, "reach").changes
    assert path.read_text() == listed([*(f"  {comment}" for comment in expected), *LINES])


def test_a_reset_repairs_weights_that_do_not_add_up(tmp_path: Path) -> None:
    path = make(tmp_path, listed([LINES[0]]))
    profile_reset.reset(tmp_path, "reach")
    assert path.read_text() == listed(LINES)


@pytest.mark.parametrize(
    "text", [HEAD + TAIL, listed(LINES), listed(LINES[::-1]), listed(LINES).replace("17", "17.0")]
)
def test_a_file_with_the_default_touchpoints_is_not_written(tmp_path: Path, text: str) -> None:
    path = make(tmp_path, text)
    before = path.stat()
    assert profile_reset.reset(tmp_path, "reach").changes == ()
    assert path.read_text() == text
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_line_ends_byte_order_mark_and_permissions_stay_as_they_are(tmp_path: Path) -> None:
    text = ("\ufeff" + listed(LINES[:4])).rstrip("\n").replace("\n", "\r\n")
    path = make(tmp_path, text)
    path.chmod(0o640)
    profile_reset.reset(tmp_path, "reach")
    assert path.read_bytes().decode() == ("\ufeff" + listed(LINES)).rstrip("\n").replace("\n", "\r\n")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in path.parent.iterdir()] == ["reach.yml"]


def test_a_list_at_the_end_of_a_file_without_a_final_line_break_is_reset(tmp_path: Path) -> None:
    path = make(tmp_path, HEAD + "touchpoints:\n" + "\n".join(LINES[:2]))
    profile_reset.reset(tmp_path, "reach")
    assert path.read_text() == HEAD + "touchpoints:\n" + "\n".join(LINES)


def test_a_list_without_indentation_stays_without(tmp_path: Path) -> None:
    path = make(tmp_path, listed([line.strip() for line in LINES[:3]]))
    profile_reset.reset(tmp_path, "reach")
    assert path.read_text() == listed([line.strip() for line in LINES])


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.yml"
    real.write_text(listed(LINES[:3]))
    path = make(tmp_path, "")
    path.unlink()
    path.symlink_to(real)
    profile_reset.reset(tmp_path, "reach")
    assert path.is_symlink()
    assert real.read_text() == listed(LINES)


_COMMENTS = st.sampled_from(["", "# one", "  # two: {a: b}", "    # - {name: Calls}", "#"])


@st.composite
def files(draw: st.DrawFn) -> str:
    """Any mixture of touchpoints, in any of the ways to write them, with comments and empty lines anywhere."""
    own = {"name": "Webinars # 1", "event": ["Webinar: Attended", "b"], "weight": "3"}
    items: list[dict[str, Any]] = draw(
        st.lists(
            st.sampled_from([*map(dict, DEFAULT_TOUCHPOINTS), own, {"name": "Calls", "weight": "ten"}]),
            max_size=14,
        )
    )
    indent = draw(st.sampled_from(["", "  ", "    "]))
    lines = []
    for each in items:
        item = {**each, "weight": draw(st.sampled_from([each["weight"], "1"]))}
        flow = draw(st.booleans())
        written_text = (
            yaml.safe_dump(item, default_flow_style=flow, sort_keys=False, width=1000)
            .rstrip("\n")
            .split("\n")
        )
        remark = draw(_COMMENTS)
        written_text[-1] += f" {remark.strip()}" if remark else ""
        lines += [f"{indent}{'- ' if place == 0 else '  '}{line}" for place, line in enumerate(written_text)]
        lines.append(draw(_COMMENTS))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return listed(lines if items else ["  []"]).replace("\n", newline)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=files())
def test_any_list_is_replaced_by_the_defaults_and_other_lines_stay(tmp_path: Path, text: str) -> None:
    path = make(tmp_path, text)
    profile_reset.reset(tmp_path, "reach")
    written_text = path.read_bytes().decode()
    tree = yaml.load(written_text, Loader=yaml.BaseLoader)
    assert (
        Profile.model_validate(tree).version
        == Profile.model_validate({**tree, "touchpoints": list(DEFAULT_TOUCHPOINTS)}).version
    )
    before = yaml.load(text, Loader=yaml.BaseLoader)
    assert {**tree, "touchpoints": None} == {**before, "touchpoints": None}
    own = [line for line in text.splitlines() if line.strip().startswith("#")]
    assert [line for line in written_text.splitlines() if line.strip().startswith("#")] == own
    assert profile_reset.reset(tmp_path, "reach").changes == ()
    assert path.read_bytes().decode() == written_text


def refusal(folder: Path, name: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        profile_reset.reset(folder, name)
    return str(caught.value)


def test_other_models_have_nothing_to_reset(tmp_path: Path) -> None:
    path = make(tmp_path, HEAD.replace("kpi", "weighted") + "events: [{event: A, weight: 1}]\n")
    before = path.read_bytes()
    assert refusal(tmp_path, "reach") == (
        "mappings/profiles/reach.yml:4:8: `reach` is `model: weighted`: only `model: kpi` has touchpoints and default"
        " weights"
    )
    assert path.read_bytes() == before
    make(tmp_path, "version: 1\nname: X\n")
    assert "says no model, and is `model: weighted`" in refusal(tmp_path, "reach")


def test_an_unknown_profile_is_refused_with_a_similar_name(tmp_path: Path) -> None:
    assert "There is no profile in" in refusal(tmp_path, "reach")
    make(tmp_path, HEAD)
    make(tmp_path, HEAD, "adoption")
    assert refusal(tmp_path, "raech") == "There is no profile `raech`; did you mean `reach`?"
    assert refusal(tmp_path, "zzz") == "There is no profile `zzz`; known: adoption, reach"


def test_an_unreadable_file_is_not_written(tmp_path: Path) -> None:
    path = make(tmp_path, HEAD + "touchpoints: [\n")
    assert refusal(tmp_path, "reach").startswith("mappings/profiles/reach.yml:")
    path.write_bytes(b"name: \xff\n")
    assert "not UTF-8" in refusal(tmp_path, "reach")


def test_a_file_in_braces_is_refused_and_not_written(tmp_path: Path) -> None:
    text = "{version: 1, name: X, model: kpi, touchpoints: [{event: A, weight: 100}], window: 30d}\n"
    path = make(tmp_path, text)
    assert "remove the key by hand" in refusal(tmp_path, "reach")
    assert path.read_text() == text


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`heatsync profile reset` with arguments, in this process: exit code, stdout and stderr."""

    def reset(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["heatsync", "profile", "reset", *arguments, "-w", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            commands.main()
        output, errors = capsys.readouterr()
        return int(ended.value.code or 0), output, errors

    return reset


def test_the_command_shows_what_changed(tmp_path: Path, run: Run) -> None:
    path = make(tmp_path, listed([*LINES[:10], LINES[10].replace("10}", "25}")]))
    code, output, _ = run("reach", "--json")
    assert code == 0
    assert json.loads(output) == {
        "profile": "reach",
        "file": "mappings/profiles/reach.yml",
        "changes": [{"touchpoint": "Calls", "old": "25 % Call Logged", "new": "10 % Call Logged"}],
    }
    assert path.read_text() == listed(LINES)
    code, output, _ = run("reach")
    assert code == 0
    assert "already has the default touchpoints" in output
    make(tmp_path, listed(LINES[1:]))
    _, output, _ = run("reach")
    assert "LinkedIn impressions" in output
    assert "has the default touchpoints again" in output
    code, _, errors = run("raech")
    assert code == 2
    assert errors.strip() == "error: There is no profile `raech`; did you mean `reach`?"
