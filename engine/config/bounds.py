"""How large what a config says may be."""

LONGEST_NAME = 200  # with what is put around it, within the 255 bytes of a file's name
MAX_COUNT = 1_000_000  # of what is counted in a run: more is a slip, and could not even be planned
MAX_CALLS = 10**12  # that are planned for
