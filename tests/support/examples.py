"""How many examples a law is tried with: HEATSYNC_EXAMPLES times as many in a long run (`make test-long`)."""

import os

TIMES = max(1, int(os.environ.get("HEATSYNC_EXAMPLES", "1")))


def examples(count: int) -> int:
    """`count` in an ordinary run; for laws whose examples are costly."""
    return count * TIMES
