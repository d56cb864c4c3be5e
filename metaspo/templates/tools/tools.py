"""Answers with two tools. The rules for their use are the user prompt, which is what is optimized."""

import ast
import operator
import re

from metaspo import Call, Completion, Example, PromptPair

STOCK = {"hammer": 42, "saw": 17, "ladder": 9, "bucket": 130, "rope": 64, "lamp": 23}
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
USE = re.compile(r"\b(calc|stock)\(([^()\n]*(?:\([^()\n]*\)[^()\n]*)*)\)")


def value(node: ast.expr) -> float:
    """Of an arithmetic expression; nothing else is carried out. Raises `ValueError`."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        result: float = OPERATIONS[type(node.op)](value(node.left), value(node.right))
        return result
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    raise ValueError("this is no arithmetic")


def calc(text: str) -> str:
    """What an expression comes to, without a fraction of zero. Raises `ValueError`, `SyntaxError`."""
    return f"{value(ast.parse(text.strip(), mode='eval').body):.10g}"


def stock(text: str) -> str:
    """How many of a thing there are. Raises `KeyError`."""
    return str(STOCK[text.strip(" '\"").lower().removesuffix("s")])


def use(name: str, argument: str) -> str:
    """What a tool says, or that it can say nothing."""
    try:
        return {"calc": calc, "stock": stock}[name](argument)
    except (ValueError, KeyError, SyntaxError, ZeroDivisionError, RecursionError):
        return "unknown"


async def answer(prompts: PromptPair, example: Example, call: Call) -> Completion:
    """At most one use of a tool, then the answer."""
    messages = prompts.messages(example.question)
    said = await call(messages)
    used = USE.search(said.text)
    if used is None:
        return said
    result = f"{used[0]} is {use(used[1], used[2])}. What is the answer to the question?"
    return await call([*messages, {"role": "assistant", "content": used[0]}, {"role": "user", "content": result}])
