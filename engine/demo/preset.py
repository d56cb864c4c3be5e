"""The demo's config, whole or cut down."""

import tomllib
from pathlib import Path
from typing import Any

DEMO_FOLDER = Path(__file__).resolve().parent

SMALL_TASKS = {"source": 4, "target": 3}
SMALL_TRAIN, SMALL_TEST = 6, 16  # examples a split


def demo_config(*, small: bool) -> dict[str, Any]:
    """What `demo.toml` says; `small` keeps a fifth of the work. Paths: `DEMO_FOLDER`."""
    config = tomllib.loads((DEMO_FOLDER / "demo.toml").read_text(encoding="utf-8"))
    if not small:
        return config
    tasks = [
        {**task, "train_size": SMALL_TRAIN, "test_size": SMALL_TEST}
        for role, count in SMALL_TASKS.items()
        for task in [task for task in config["tasks"] if task["role"] == role][:count]
    ]
    return {**config, "name": "demo-small", "iterations": 1, "tasks": tasks}
