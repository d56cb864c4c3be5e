"""What a package hands on is imported when somebody asks for it: who needs an error does not wait for a client."""

import ast
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module


def late_exports(package: str) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a package whose `__init__` imports what it exports for type checkers only.

    A name that is a module of the package, too, cannot be handed on so: once imported, the module stands there.
    """

    def get(name: str) -> object:
        module = _modules(package).get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *_modules(package)})


@cache
def _modules(package: str) -> dict[str, str]:
    """Each name that a package exports, and the module it is from."""
    with open(str(sys.modules[package].__file__), encoding="utf-8") as source:
        nodes = ast.walk(ast.parse(source.read()))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module != __name__]
    return {alias.name: str(node.module) for node in imports for alias in node.names}
