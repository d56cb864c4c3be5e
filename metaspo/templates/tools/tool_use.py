"""Answers with two tools: arithmetic, and what is in stock. The rules for their use are what is optimized."""

import ast
import operator
import re

from metaspo import Call, Completion, Example, PromptPair

STOCK = {"hammer": 42, "saw": 17, "ladder": 9, "bucket": 130, "rope": 64, "lamp": 23}
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
FENCED = re.compile(r"```(?:python)?\n?(.*?)```", re.DOTALL)
CALLED = re.compile(r'stock\("[^"]*"\)')


def stock(thing: str) -> int:
    """How many of a thing there are. Raises `ValueError`."""
    name = thing.strip().lower().removesuffix("s")
    if name not in STOCK:
        raise ValueError(f"no {thing} in stock")
    return STOCK[name]


def value(node: ast.AST) -> float:
    """Of an expression of numbers, + - * / and stock("thing"); nothing else is carried out. Raises `ValueError`."""
    match node:
        case ast.Expression(body=inner) | ast.Expr(value=inner):
            return value(inner)
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            return float(OPERATIONS[type(op)](value(left), value(right)))
        case ast.Call(func=ast.Name(id="stock"), args=[ast.Constant(value=str() as thing)]):
            return stock(thing)
    raise ValueError('use numbers, + - * / and stock("thing") only')


def carry_out(text: str) -> str:
    """What the tools make of a reply: of the code in it, of a call in a sentence, of all of it. Raises `ValueError`."""
    code, called = FENCED.search(text), CALLED.search(text)
    expression = code[1] if code else called[0] if called else text
    try:
        return f"{value(ast.parse(expression.strip(), mode='eval')):.10g}"
    except (SyntaxError, ZeroDivisionError, RecursionError) as reason:
        raise ValueError(f"this is no expression: {reason}") from reason


async def answer(prompts: PromptPair, example: Example, call: Call) -> str | Completion:
    """An expression for the tools; where they cannot carry it out, the model is told why and asked once more."""
    messages = prompts.chat("rules", question=example.question)
    said = await call(messages)
    try:
        return carry_out(said.text)
    except ValueError as reason:
        again = {"role": "user", "content": prompts.text("again", reason=str(reason))}
        said = await call([*messages, {"role": "assistant", "content": said.text}, again])
    try:
        return carry_out(said.text)
    except ValueError:
        return said
