"""The shape of the house: imports run one way, the wheel holds the tree, exports are sorted."""

import ast
import importlib
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["backends", "cache", "scheduling", "engine", "bench", "metaspo"]


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The folders of this project that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == "metaspo":
                found.add(parts[1] if len(parts) > 1 and parts[1] in ORDER else "metaspo")
    return found


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_imports_only_those_below_it(folder: str) -> None:
    allowed = set(ORDER[: ORDER.index(folder) + 1])
    against = {str(path.relative_to(ROOT)): imported(path) - allowed for path in modules(folder)}
    wrong = {path: found for path, found in against.items() if found - {"metaspo"} or (found and folder != "metaspo")}
    assert not wrong


def test_every_package_is_listed_in_pyproject() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    there = {
        "metaspo" if folder == "metaspo" else f"metaspo.{'.'.join(init.parent.relative_to(ROOT).parts)}"
        for folder in ORDER
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert set(listed) == there


def rank(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, as ruff sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("package", [f"metaspo.{name}" for name in ORDER[:-1]] + ["metaspo"])
def test_exports_are_sorted_and_there(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__, key=rank)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.slow
def test_the_wheel_holds_exactly_the_tree(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(copy)], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(copy)], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tree = set()
    for folder in ORDER:
        for path in (copy / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md":
                place = path.relative_to(copy).as_posix()
                tree.add(place if folder == "metaspo" else f"metaspo/{place}")
    assert inside == tree
