"""The shape of the house: imports run one way, the wheel holds the tree, exports are sorted."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["backends", "cache", "scheduling", "engine", "serving", "adapters", "bench", "metaspo"]


ENGINE = [  # a room of engine/ imports only those before it; a module that lies beside the rooms is one of its own
    "tasks",
    "statistics",
    "journal",
    "suggest",
    "errors",
    "environment",
    "project",
    "gather",
    "addresses",
    "prompts",
    "money",
    "differences",
    "cut_tags",
    "listening",
    "strategies",
    "domains",
    "config",
    "runtime",
    "evaluation",
    "selection",
    "optimize",
    "runs",
    "exchange",
    "track",
    "check",
    "api",
    "safety",
    "studies",
    "cluster",
    "report",
    "attention",
    "watch",
    "demo",
]


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@cache
def imports(path: Path) -> tuple[ast.stmt, ...]:
    """The statements of a module that import. Each has its lines to itself: all else need not be parsed."""
    found = re.findall(
        r"^[ ]*((?:from [\w.]+ )?import (?:\([^)]*\)|.+))", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    return tuple(ast.parse("\n".join(found)).body)


@cache
def imported(path: Path) -> set[str]:
    """The folders of this project that a module imports."""
    found = set()
    for node in imports(path):
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


@cache
def names_imported(path: Path) -> set[str]:
    """Every dotted name that a module imports, names from a module included; at type-checking time, too."""
    names = set()
    for node in imports(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("name", ENGINE)
def test_a_room_of_the_engine_imports_only_those_before_it(name: str) -> None:
    allowed = set(ENGINE[: ENGINE.index(name) + 1])
    against = {
        str(path.relative_to(ROOT)): {
            imported_name
            for imported_name in names_imported(path)
            if imported_name.startswith("metaspo.engine.") and imported_name.split(".")[2] not in allowed
        }
        for path in modules("engine")
        if room_of(module_name(path)) == f"metaspo.engine.{name}"
    }
    assert against
    assert not {path: names for path, names in against.items() if names}


def test_every_room_of_the_engine_has_its_place_in_the_order() -> None:
    rooms = {room_of(module_name(path)) for path in modules("engine")}
    assert rooms == {"metaspo.engine", *(f"metaspo.engine.{name}" for name in ENGINE)}


@pytest.mark.parametrize("folder", ORDER)
def test_no_two_modules_import_each_other_however_far_around(folder: str) -> None:
    """Imports for type checkers count; what a package's `__init__` hands on is followed to the module it is from."""
    refuse_circles(import_graph(folder))


@pytest.mark.parametrize("folder", ORDER)
def test_no_two_rooms_import_each_other_however_far_around(folder: str) -> None:
    """A module that lies beside the rooms of its folder is one of its own."""
    graph: dict[str, set[str]] = {}
    for module, imported_modules in import_graph(folder).items():
        rooms = graph.setdefault(room_of(module), set())
        rooms |= {room_of(each) for each in imported_modules} - {room_of(module)}
    refuse_circles(graph)


def room_of(module: str) -> str:
    """`metaspo.cache.disk` of `metaspo.cache.disk.store`."""
    parts = module.split(".")
    return ".".join(parts[:3] if parts[1] in ORDER else parts[:2])


def refuse_circles(graph: dict[str, set[str]]) -> None:
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above[above.index(module) :], module))
        if module not in done:
            for imported_module in sorted(graph[module]):
                visit(imported_module, (*above, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


def import_graph(folder: str) -> dict[str, set[str]]:
    """Modules of a folder, `__init__` left out, and which of them each imports."""
    paths = {module_name(path): path for path in modules(folder)}
    handed_on = {
        f"{package}.{name.rpartition('.')[2]}": name.rpartition(".")[0]
        for package, path in paths.items()
        if path.name == "__init__.py"
        for name in names_imported(path)
    }
    graph = {}
    for module, path in paths.items():
        if path.name != "__init__.py":
            names = {handed_on.get(name, name) for name in names_imported(path)}
            graph[module] = {m for name in names for m in (name, name.rpartition(".")[0]) if m in paths}
            graph[module] -= {m for m in graph[module] if paths[m].name == "__init__.py"}
    return graph


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    dotted = ".".join(part for part in parts if part != "__init__")
    return dotted if parts[0] == "metaspo" else f"metaspo.{dotted}"


def test_every_package_is_listed_in_pyproject() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    there = {
        ".".join(("metaspo", *init.parent.relative_to(ROOT / "metaspo" if folder == "metaspo" else ROOT).parts))
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


def test_no_process_of_python_that_is_started_looks_into_the_current_folder() -> None:
    """`-P`, or `-I`: what lies there may be called like a module that it imports."""
    started = 0
    for path in [path for folder in ORDER for path in modules(folder)]:
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "sys.executable" in text or '"-c"' in text else ():
            words = node.elts if isinstance(node, ast.List | ast.Tuple) else getattr(node, "args", None)
            if (
                isinstance(words, list)
                and len(words) > 1
                and {"sys.executable", "'-c'"} & {ast.unparse(word) for word in words}
            ):
                started += 1
                assert {"'-P'", "'-I'"} & {ast.unparse(word) for word in words}, f"{path.name}: {ast.unparse(node)}"
    assert started >= 10


def test_no_pattern_is_compiled_as_a_module_is_imported() -> None:
    """All of them took longer than to list the runs. A script for other people's Pythons has none of our modules."""
    compiled = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (path for folder in ORDER for path in modules(folder))
        if b"re.compile" in path.read_bytes() and {"templates", "dspy_peer.py"}.isdisjoint(path.parts)
        for statement in ast.parse(path.read_bytes()).body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "re.compile"
    ]
    assert compiled == []


def test_the_top_folder_holds_what_belongs_there_and_nothing_that_a_run_left() -> None:
    told = subprocess.run(("git", "ls-files"), cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode != 0:
        pytest.skip("not a checkout of git")
    tops = {path.split("/")[0] for path in told.stdout.splitlines()}
    files = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"}
    files |= {"constraints.txt", "constraints-adapters.txt", ".gitignore"}
    assert tops == {*ORDER, ".ci", "docs", "tests", "tools", *files}
    assert not [path for path in told.stdout.splitlines() if Path(path).suffix.startswith((".db", ".sqlite", ".log"))]
