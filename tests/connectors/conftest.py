"""The contract is a module that tests import; its assertions are to be explained like theirs."""

import pytest

pytest.register_assert_rewrite("contract")
