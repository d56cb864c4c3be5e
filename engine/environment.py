"""Where API keys come from: the environment, or a `.env` file."""

import os
from pathlib import Path

from dotenv import dotenv_values


def environment_with_dotenv(folder: Path) -> dict[str, str]:
    """The process's environment over the folder's `.env` file, if there is one."""
    values = dotenv_values(folder / ".env")
    return {**{name: value for name, value in values.items() if value is not None}, **os.environ}
