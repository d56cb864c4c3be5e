"""What benchmarks do where nobody says otherwise, for their help, which imports none of them."""

from typing import Final, Literal

Victim = Literal["model", "server"]

DOMAINS: Final = 5  # runs in one process, each on tasks of its own
FIRST_SEED: Final = 1_000  # settings were chosen on others, below 200
LIVE_CALLS: Final = 4_000
SEEDS: Final = 3
