"""The contract is a module that tests import; its assertions are to be explained like theirs."""

import pytest

pytest.register_assert_rewrite("contract")


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated call is repeated at once: no test waits for the clock."""
    monkeypatch.setattr("connectors.http.LONGEST_BACKOFF", 0.0)
