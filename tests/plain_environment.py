"""What tests find in the environment, from whoever's terminal they are started; imported before all that looks."""

import os
import sys
from pathlib import Path

# A width, as readline sets it too for the processes that are started, and what makes rich draw, or not, on any stream.
for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(name, None)
    os.unsetenv(name)
os.environ["TERM"] = "xterm"

# Compiled code is kept, also of the processes that tests start, wherever the environment would have none in the tree.
sys.dont_write_bytecode = False
sys.pycache_prefix = str(Path(__file__).parents[1] / ".cache" / "compiled")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
