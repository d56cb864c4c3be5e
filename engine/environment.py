"""Where API keys come from: the environment, or a `.env` file."""

import os
from pathlib import Path

from dotenv import dotenv_values


def environment_with_dotenv(*folders: Path) -> dict[str, str]:
    """The process's environment over the `.env` files of the folders, an earlier folder's before a later one's."""
    variables: dict[str, str] = {}
    for folder in reversed(folders):
        values = dotenv_values(folder / ".env")
        variables.update({name: value for name, value in values.items() if value is not None})
    return {**variables, **os.environ}
