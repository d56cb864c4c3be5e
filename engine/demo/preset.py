"""The demo's config, whole or cut down."""

import tomllib
from pathlib import Path
from typing import Any

DEMO_FOLDER = Path(__file__).resolve().parent

SMALL_TASKS = {"source": 4, "target": 3}
SMALL_SPLIT = 4  # examples a split


def demo_config(*, small: bool) -> dict[str, Any]:
    """What `demo.toml` says; `small` keeps a tenth of the work, to see that everything runs. Paths: `DEMO_FOLDER`."""
    config = tomllib.loads((DEMO_FOLDER / "demo.toml").read_text(encoding="utf-8"))
    if not small:
        return config
    tasks = [
        {**task, "train_size": SMALL_SPLIT, "test_size": SMALL_SPLIT}
        for role, count in SMALL_TASKS.items()
        for task in [task for task in config["tasks"] if task["role"] == role][:count]
    ]
    outer = {**config["outer"], "candidates": 3}
    return {**config, "name": "demo-small", "inner": {**config["inner"], "keep": 1}, "outer": outer, "tasks": tasks}
