"""What tells one Python function from another: its code, and the values that it carries along."""

import hashlib
import inspect
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Final

from metaspo.engine.tasks.errors import TaskError

_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
_CONSTANT: Final = (*_PLAIN, tuple, frozenset, re.Pattern, FunctionType)


def function_digest(function: Callable[..., object]) -> str:
    """The SHA-256 of what a function is: of one that can be imported its module's source; else its own code, the
    values in its closure, its defaults and a partial's arguments, and the global constants and functions it names.

    The same in every process. Raises `TaskError` where one of these values is no plain data.
    """
    return hashlib.sha256(repr(_told(function, ())).encode()).hexdigest()


def importable(value: object) -> bool:
    """Whether another program would find this very object by its module and name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return False
    there: object = sys.modules.get(module)
    for part in name.split("."):
        there = getattr(there, part, None)
    return there is not None and there is value


def _told(value: object, within: tuple[int, ...]) -> object:
    """A value as nested tuples and texts without addresses; `within` are the ids of what it is part of."""
    if id(value) in within:
        return ("again", within[::-1].index(id(value)))
    within = (*within, id(value))
    kind = type(value)
    match value:
        case _ if importable(value):  # what it carries, its module's text says
            module = sys.modules[getattr(value, "__module__", "")]
            return "importable", module.__name__, getattr(value, "__qualname__", ""), _source(module)
        case FunctionType():
            return "function", _function(value, within)
        case CodeType():
            consts = tuple(_told(each, within) for each in value.co_consts)
            names = (value.co_names, value.co_varnames, value.co_freevars, value.co_argcount, value.co_flags)
            return "code", value.co_code, value.co_exceptiontable, consts, names
        case partial():
            return "partial", *(_told(part, within) for part in (value.func, value.args, value.keywords))
        case re.Pattern():
            return "pattern", value.pattern, value.flags
        case ModuleType():
            return "module", value.__name__
        case PurePath():
            return "path", str(value)
        case _ if kind in _PLAIN:
            return kind.__name__, repr(value)
        case list() | tuple() if kind in (list, tuple):
            return kind.__name__, tuple(_told(each, within) for each in value)
        case set() | frozenset() if kind in (set, frozenset):
            return "set", tuple(sorted((_told(each, within) for each in value), key=repr))
        case dict() if kind is dict:
            return "dict", tuple((_told(key, within), _told(each, within)) for key, each in value.items())
    raise TaskError(
        f"metric: the function is, or carries along, a {kind.__qualname__}, of which nothing tells "
        "whether it is the same in another run: use a function of a module, or a closure over plain values"
    )


def _function(function: FunctionType, within: tuple[int, ...]) -> object:
    code = function.__code__
    # Several lambdas may share a line, and every text that is executed the name "<string>": under that Python 3.13 has
    # what it was given with -c.
    shared = code.co_name == "<lambda>" or code.co_filename in ("<string>", "<stdin>")
    source = "" if shared else _source(code)
    cells = tuple(map(_content, function.__closure__ or ()))
    carried = (cells, function.__defaults__, function.__kwdefaults__)
    constants = _constants(function, within)
    told = source or _told(code, within), tuple(_told(part, within) for part in carried)
    return (*told, constants) if constants else told


def _constants(function: FunctionType, within: tuple[int, ...]) -> tuple[object, ...]:
    """The global values that its code names and that do not change as it runs, such as a threshold; functions, too."""
    told: list[object] = []
    for name in sorted(_names(function.__code__) & function.__globals__.keys()):
        value = function.__globals__[name]
        if isinstance(value, _CONSTANT):
            with suppress(TaskError):  # a tuple of objects: that its name is there, the code says
                told.append((name, _told(value, within)))
    return tuple(told)


def _names(code: CodeType) -> set[str]:
    nested = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names, nested))


def _content(cell: object) -> object:
    try:
        return getattr(cell, "cell_contents", None)
    except ValueError:
        return ()  # not yet filled


def _source(value: CodeType | ModuleType) -> str:
    """ "" where there is none to be had."""
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        return ""
