"""What tests find in the environment, from whoever's terminal they are started; imported before all that looks."""

import os

# A width, as readline sets it too for the processes that are started, and what makes rich draw, or not, on any stream.
for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(name, None)
    os.unsetenv(name)
os.environ["TERM"] = "xterm"
