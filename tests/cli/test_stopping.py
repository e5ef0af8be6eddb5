"""A command that is asked to stop."""

import signal
from collections.abc import Iterator

import pytest

from heatsync.cli.interrupts import STOPS, stoppable


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    kept = {each: signal.getsignal(each) for each in STOPS}
    yield
    for each, handler in kept.items():
        signal.signal(each, handler)


def stopped(asked: signal.Signals, becomes: BaseException) -> object:
    """The exit code of a command in which an interrupt becomes another exception."""

    def command() -> None:
        with stoppable():
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(asked)
            raise becomes

    with pytest.raises(SystemExit) as ended:
        command()
    return ended.value.code


@pytest.mark.parametrize("asked", STOPS)
@pytest.mark.parametrize(
    "becomes",
    [KeyboardInterrupt(), SystemExit(130), SystemExit(1), RuntimeError("Query interrupted")],
    ids=repr,
)
def test_an_interrupt_exits_with_130_whatever_exception_it_becomes(
    asked: signal.Signals, becomes: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    assert stopped(asked, becomes) == 130
    assert "Unsent changes go out with the next" in capfd.readouterr().err


def test_a_command_that_still_ends_normally_exits_with_0() -> None:
    assert stopped(signal.SIGINT, SystemExit(0)) == 0


def test_a_second_interrupt_ends_the_process_at_once() -> None:
    stopped(signal.SIGINT, KeyboardInterrupt())
    assert {signal.getsignal(each) for each in STOPS} == {signal.SIG_DFL}


def test_a_background_job_keeps_ignoring_a_signal_that_it_ignored_at_its_start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stoppable():
        signal.raise_signal(signal.SIGINT)


def test_a_command_that_ends_normally_leaves_the_signals_as_they_were() -> None:
    before = {each: signal.getsignal(each) for each in STOPS}
    with stoppable():
        assert {signal.getsignal(each) for each in STOPS} != set(before.values())
    assert {each: signal.getsignal(each) for each in STOPS} == before
