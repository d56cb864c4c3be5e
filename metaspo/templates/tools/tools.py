"""Answers with two tools. The rules for their use are the user prompt, which is what is optimized."""

import ast
import operator
import re

STOCK = {"hammer": 42, "saw": 17, "ladder": 9, "bucket": 130, "rope": 64, "lamp": 23}
DO = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
TOOL = re.compile(r"\b(calc|stock)\(([^()\n]*(?:\([^()\n]*\)[^()\n]*)*)\)")


def calc(text):
    """The value of an arithmetic expression; nothing else is carried out."""

    def value(node):
        if isinstance(node, ast.BinOp) and type(node.op) in DO:
            return DO[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        raise ValueError(f"{text!r} is no arithmetic")

    result = value(ast.parse(text.strip(), mode="eval").body)
    return int(result) if result == int(result) else round(result, 6)


def stock(text):
    """How many of a thing there are."""
    return STOCK[text.strip(" '\"").lower().removesuffix("s")]


def use(name, argument):
    """What a tool says, or why it says nothing."""
    try:
        return str({"calc": calc, "stock": stock}[name](argument))
    except (ValueError, KeyError, SyntaxError, ZeroDivisionError) as reason:
        return f"error: {reason}"


async def answer(prompts, example, call):
    """At most one use of a tool, then the answer."""
    messages = [*prompts.messages(example.question)]
    said = await call(messages)
    used = TOOL.search(said.text)
    if used is None:
        return said
    result = use(used[1], used[2])
    messages += [
        {"role": "assistant", "content": used[0]},
        {"role": "user", "content": f"{used[0]} is {result}. So the answer to the question is:"},
    ]
    return await call(messages)
