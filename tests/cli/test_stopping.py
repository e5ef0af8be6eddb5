"""A command that is asked to stop."""

import signal
from collections.abc import Iterator

import pytest

from heatsync.cli import commands


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    kept = {each: signal.getsignal(each) for each in commands.STOPS}
    yield
    for each, handler in kept.items():
        signal.signal(each, handler)


def stopped(asked: signal.Signals, becomes: BaseException) -> object:
    """The exit code of a command in which an interrupt becomes something else on its way."""

    def command() -> None:
        with commands._stoppable():
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(asked)
            raise becomes

    with pytest.raises(SystemExit) as ended:
        command()
    return ended.value.code


@pytest.mark.parametrize("asked", commands.STOPS)
@pytest.mark.parametrize(
    "becomes",
    [KeyboardInterrupt(), SystemExit(130), SystemExit(1), RuntimeError("Query interrupted")],
    ids=repr,
)
def test_an_interrupt_is_told_as_one_whatever_became_of_it(
    asked: signal.Signals, becomes: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    assert stopped(asked, becomes) == 130
    assert "the rest stays due" in capfd.readouterr().err


def test_a_command_that_ends_well_all_the_same_has_ended_well() -> None:
    assert stopped(signal.SIGINT, SystemExit(0)) == 0


def test_who_asks_twice_is_not_made_to_wait() -> None:
    stopped(signal.SIGINT, KeyboardInterrupt())
    assert {signal.getsignal(each) for each in commands.STOPS} == {signal.SIG_DFL}


def test_a_job_in_the_background_goes_on_ignoring_what_it_was_started_to_ignore() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with commands._stoppable():
        signal.raise_signal(signal.SIGINT)
