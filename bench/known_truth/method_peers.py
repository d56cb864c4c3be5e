"""Other people's packages among the methods that are compared: which there are, with which settings."""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaspo.bench.known_truth.peer_models import Models
from metaspo.bench.known_truth.world import World
from metaspo.engine.tasks import Task

TRAIN = 50  # examples of each task
MIPRO_LIGHT = {"minibatch": 35, "candidates": 6, "demos": (4, 4), "proposed_on": 40, "rows": 100}
PEERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gepa": ("gepa", {"minibatch": 3, "rows": TRAIN, "every": False}),
    "gepa, few rows": ("gepa", {"minibatch": 16}),
    "textgrad, its package": ("textgrad", {"minibatch": 3, "rows": TRAIN}),
    "textgrad, its package, few rows": ("textgrad", {"minibatch": 16}),
    "mipro, dspy": ("dspy", MIPRO_LIGHT),
    "mipro, dspy, few rows": ("dspy", {"minibatch": 16, "candidates": 6, "demos": (2, 0)}),
}
NEEDS: Mapping[str, tuple[str, ...]] = {"gepa": ("gepa",), "textgrad": ("textgrad",), "dspy": ("dspy", "optuna")}
_WHERE = """
import importlib.util as util, json, os, sys
specs = {name: util.find_spec(name) for name in sys.argv[1:]}
found = {name: spec.origin for name, spec in specs.items() if spec and spec.origin}
print(json.dumps({name: os.path.dirname(os.path.dirname(file)) for name, file in found.items()}))
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A package, the folder that has it, and settings."""

    package: str
    folder: str
    settings: Mapping[str, Any]

    def optimize(self, world: World, tasks: Sequence[Task], calls: int) -> tuple[dict[str, str], Models]:
        """The texts that the package finds for the system prompt and each task, and what they took."""
        if self.folder not in sys.path:
            sys.path.append(self.folder)
        os.environ.setdefault("TEXTGRAD_LOG_DIR", str(Path(tempfile.gettempdir()) / "metaspo-textgrad"))
        module = importlib.import_module(f"metaspo.bench.known_truth.{self.package}_peer")
        texts: tuple[dict[str, str], Models] = module.optimize(world, tasks, calls, **self.settings)
        return texts


def peers_of(python: Path) -> Mapping[str, Peer]:
    """The methods whose package a Python has; none of what is no Python. Raises `OSError` if it runs nothing."""
    asked = [str(python), "-P", "-c", _WHERE, *(module for modules in NEEDS.values() for module in modules)]
    done = subprocess.run(asked, stdout=subprocess.PIPE, check=False)  # noqa: S603 - the user's
    try:
        folders = json.loads(done.stdout)
    except ValueError:
        return {}
    return {
        name: Peer(package, folders[package], settings)
        for name, (package, settings) in PEERS.items()
        if all(module in folders for module in NEEDS[package])
    }
