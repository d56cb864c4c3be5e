"""Single wrong lines: every small change of a module that ought to make some test fail.

A mutant replaces one piece of source text by another, so that everything else stays as it is, to the letter. Left alone
are: what only tells people something (docstrings, messages, `__repr__`), annotations, what the program asserts of
itself (`assert`, `raise AssertionError`, `strict=True`), which of two equals `a if a < b else b` takes, and the numbers
at the top of a module, which are choices and not laws.
"""

import ast
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
Piece = ast.expr | ast.stmt
TWINS = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change: the text from `start` to `end` (characters of the file) becomes `text`.

    Attributes:
        file: from the root of the tree.
        function: qualified name of the outermost function around it; "" at the top of a module or class.
        before, after: the lines it is on, as they were and as they are, without margins.
    """

    file: str
    line: int
    function: str
    start: int
    end: int
    text: str
    before: str
    after: str

    def apply(self, source: str) -> str:
        """The whole module with this change."""
        return source[: self.start] + self.text + source[self.end :]


def mutants_of(root: Path, file: str) -> list[Mutant]:
    """All mutants of a module, from its top to its end."""
    source = (root / file).read_text(encoding="utf-8")
    tree = ast.parse(source)
    ties = {id(node.test) for node in ast.walk(tree) if _takes_either_of_equals(node)}
    return list(_Finder(file, source, ties).walk(tree, function="", names=()))


class _Finder:
    def __init__(self, file: str, source: str, ties: Container[int]) -> None:
        self._file = file
        self._source = source
        self._ties = ties
        self._lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def walk(self, node: ast.AST, *, function: str, names: tuple[str, ...]) -> Iterator[Mutant]:
        """The mutants of a node and of all below it."""
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = (*names, node.name)
            if not isinstance(node, ast.ClassDef):
                if node.name == "__repr__":
                    return
                function = function or ".".join(names)
        if function:
            for changed, text in _changes(node, tie=id(node) in self._ties):
                yield self._mutant(changed, text, function)
        if not isinstance(node, ast.Raise):  # its words
            for child in _children(node):
                yield from self.walk(child, function=function, names=names)

    def _mutant(self, node: Piece, text: str, function: str) -> Mutant:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start, end = self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)
        first, last = self._starts[node.lineno - 1], self._starts[node.end_lineno]
        changed = self._source[first:start] + text + self._source[end:last]
        return Mutant(
            file=self._file,
            line=node.lineno,
            function=function,
            start=start,
            end=end,
            text=text,
            before=_plain(self._source[first:last]),
            after=_plain(changed),
        )

    def _at(self, line: int, column: int) -> int:
        """Columns are bytes of UTF-8 in `ast`."""
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "defaults", "kw_defaults"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not (isinstance(child, ast.JoinedStr | ast.Assert) or _is_strict(child)):
                yield child


def _changes(node: ast.AST, *, tie: bool) -> Iterator[tuple[Piece, str]]:
    """What of a node may become which text; `tie` for a comparison that may go either way between equals."""
    match node:
        case ast.expr():
            yield from ((node, f"({ast.unparse(changed)})") for changed in _changed_expressions(node, tie=tie))
        case ast.If(test=test) | ast.While(test=test) if not _has_own_changes(test):
            yield test, f"(not {ast.unparse(test)})"
        case ast.stmt():
            yield from ((node, text) for text in _changed_statements(node))


def _changed_expressions(node: ast.expr, *, tie: bool) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(ops=[operator]):
            for changed in COMPARISONS[type(operator)][tie:]:
                yield ast.Compare(node.left, [changed()], node.comparators)
        case ast.BinOp() if type(node.op) in ARITHMETIC and not _is_text(node):
            yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Call(func=ast.Name(id=name)) if name in TWINS:
            yield ast.Call(ast.Name(TWINS[name]), node.args, node.keywords)
            if name in ("min", "max") and len(node.args) == 2:
                yield from node.args
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.IfExp(test=test) if not _has_own_changes(test):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), test), node.body, node.orelse)


def _changed_statements(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.Raise(exc=ast.Call(func=ast.Name(id="AssertionError"))):
            return
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Delete() | ast.Raise() | ast.Return(value=None):
            yield "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield "pass"
        case ast.AugAssign() if type(node.op) in ARITHMETIC:
            yield "pass"
            yield ast.unparse(ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value))
        case ast.Return(value=ast.Call() | ast.Attribute() | ast.Subscript() | ast.Name()):
            yield "return None"
        case ast.Break():
            yield "continue"
        case ast.Continue():
            yield "break"


def _has_own_changes(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare | ast.BoolOp) or (
        isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    )


def _takes_either_of_equals(node: ast.AST) -> TypeGuard[ast.IfExp | ast.If]:
    """The larger of two, or the smaller, written out: `a if a < b else b`, or `if a < b: b = a`."""
    match node:
        case ast.IfExp(test=ast.Compare(left=left, ops=[operator], comparators=[right]), body=body, orelse=orelse):
            taken = [body, orelse]
        case ast.If(
            test=ast.Compare(left=left, ops=[operator], comparators=[right]),
            body=[ast.Assign(targets=[target], value=value)],
            orelse=[],
        ):
            taken = [target, value]
        case _:
            return False
    ordered = isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE)
    return ordered and sorted(map(ast.unparse, taken)) == sorted(map(ast.unparse, (left, right)))


def _is_strict(node: ast.AST) -> bool:
    """That `zip` checks lengths, which the program asserts of itself."""
    return isinstance(node, ast.keyword) and node.arg == "strict"


def _is_text(node: ast.BinOp) -> bool:
    """Words put together."""
    sides = (node.left, node.right)
    return any(isinstance(side, ast.JoinedStr) or _is_string(side) for side in sides)


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _plain(lines: str) -> str:
    return " ".join(lines.split())
