"""What a package hands on is imported when somebody asks for it: who needs an error does not wait for a client."""

import re
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path


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
    """Each name that a package exports, and the module it is from; to parse the source takes ten times as long."""
    source = Path(str(sys.modules[package].__file__)).read_text(encoding="utf-8")
    imports = re.findall(r"^    from (\S+) import (?:\(([^)]*)\)|(.+))", source, re.MULTILINE)
    names = ((module, name.split()) for module, several, one in imports for name in (several or one).split(","))
    return {words[-1]: module for module, words in names if words}
