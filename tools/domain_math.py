"""The rows of the domain `math`: word problems and expressions, drawn, with their answers computed."""

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

Row = dict[str, Any]
NAMES = ("Ada", "Bo", "Cleo", "Dario", "Edda", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Luca", "Mina", "Nils")
GOODS = ("pencils", "apples", "stamps", "candles", "buttons", "postcards", "bread rolls", "tea bags", "light bulbs")


def purchases(rng: random.Random) -> Row:
    """Money: what is paid, what is left, what one costs."""
    name, goods = rng.choice(NAMES), rng.choice(GOODS)
    count, cents, paid = rng.randint(3, 12), rng.randint(2, 30) * 5, rng.choice((20, 50))
    price = f"{cents / 100:.2f}"
    kind = rng.randrange(3)
    if kind == 0:
        extra = rng.randint(2, 9)
        text = f"{name} buys {count} {goods} at {price} euros each and a bag for {extra} euros. How many euros is that?"
        return _row(text, (count * cents + extra * 100) / 100)
    if kind == 1:
        text = f"{name} pays {count} {goods} at {price} euros each with a {paid} euro note. How many euros come back?"
        return _row(text, paid - count * cents / 100)
    total = f"{count * cents / 100:.2f}"
    more = rng.randint(2, 9)
    text = f"{count} {goods} cost {total} euros. How many euros do {count + more} of them cost?"
    return _row(text, (count + more) * cents / 100)


def schedules(rng: random.Random) -> Row:
    """Minutes and clocks."""
    name = rng.choice(NAMES)
    hour, minute, minutes = rng.randint(6, 12), rng.randrange(0, 60, 5), rng.randint(15, 170)
    ends = hour * 60 + minute + minutes
    starts, ending = f"{hour}:{minute:02}", f"{ends // 60}:{ends % 60:02}"
    kind = rng.randrange(3)
    if kind == 0:
        return _row(
            f"{name}'s train leaves at {starts} and arrives at {ending}. How many minutes does it take?", minutes
        )
    if kind == 1:
        stops, each = rng.randint(3, 9), rng.randint(2, 6)
        text = (
            f"A bus drives {minutes} minutes from end to end and waits {each} minutes at each of {stops} stops "
            "between. How many minutes does the whole trip take?"
        )
        return _row(text, minutes + stops * each)
    days, rest = rng.randint(3, 7), rng.randint(5, 40)
    text = (
        f"{name} practises {rest} minutes on each of {days} days and {minutes} minutes on Sunday. How many minutes are "
        "missing to ten hours?"
    )
    return _row(text, 600 - rest * days - minutes)


def fractions(rng: random.Random) -> Row:
    """Two or three fractions and the signs between them."""
    first, second = _fraction(rng), _fraction(rng)
    sign = rng.choice("+-*/")
    value = {"+": first + second, "-": first - second, "*": first * second, "/": first / second}[sign]
    shown = {"*": "×", "/": "÷", "-": "−"}.get(sign, sign)
    if rng.random() < 0.4:
        whole = rng.randint(1, 5)
        return _row(f"What is ({first} {shown} {second}) + {whole}?", str(value + whole))
    return _row(f"What is {first} {shown} {second}?", str(value))


def equations(rng: random.Random) -> Row:
    """One unknown, both sides."""
    left, right = rng.sample(range(2, 12), 2)
    solution = Fraction(rng.randint(-9, 9), rng.choice((1, 1, 2)))
    plus = rng.randint(-20, 20)
    constant = (left - right) * solution + plus
    if constant.denominator != 1:
        return equations(rng)
    text = f"For which x is {left}x {_signed(plus)} = {right}x {_signed(int(constant))}? Give the value of x."
    return _row(text, str(solution))


def percentages(rng: random.Random) -> Row:
    """Shares, discounts and what was there before."""
    name, percent, base = rng.choice(NAMES), rng.randrange(5, 80, 5), rng.randrange(40, 900, 20)
    kind = rng.randrange(3)
    if kind == 0:
        return _row(f"What is {percent}% of {base}?", percent * base / 100)
    if kind == 1:
        text = f"{name} sees a coat of {base} euros at {percent}% off. How many euros does it cost now?"
        return _row(text, base * (100 - percent) / 100)
    after = base * (100 + percent) / 100
    text = f"After a rise of {percent}% a rent is {_number(after)} euros. How many euros was it before?"
    return _row(text, base)


def sequences(rng: random.Random) -> Row:
    """The next number of a sequence with a simple rule."""
    start, step, factor = rng.randint(1, 20), rng.randint(2, 15), rng.randint(2, 4)
    kind = rng.randrange(4)
    terms = [start]
    while len(terms) < 6:
        at = len(terms)
        terms.append((terms[-1] + step, terms[-1] * factor - 1, terms[-1] + step * at, sum(terms[-2:]) + step)[kind])
    return _row(f"Which number comes next: {', '.join(map(str, terms[:5]))}, …?", terms[5])


def polynomials(rng: random.Random) -> Row:
    """Products to expand, as expressions in x."""
    first, second, factor = rng.randint(-9, 9) or 1, rng.randint(-9, 9) or 2, rng.randint(1, 4)
    lead = "" if factor == 1 else str(factor)
    text = f"Expand ({lead}x {_signed(first)})(x {_signed(second)}). Give a polynomial in x."
    middle, last = factor * second + first, first * second
    parts = [f"{lead}x^2"]
    if middle:
        parts.append(_signed(middle).replace(" ", "") + "x")
    return _row(text, " ".join([*parts, _signed(last)]).replace("+ ", "+").replace("- ", "-"))


TASKS: dict[str, Callable[[random.Random], Row]] = {
    "math/purchases": purchases,
    "math/schedules": schedules,
    "math/fractions": fractions,
    "math/equations": equations,
    "math/percentages": percentages,
    "math/sequences": sequences,
    "math/polynomials": polynomials,
}


def _row(question: str, answer: float | str) -> Row:
    return {"question": question, "answer": answer if isinstance(answer, str) else _number(answer)}


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _fraction(rng: random.Random) -> Fraction:
    while (drawn := Fraction(rng.randint(1, 11), rng.randint(2, 12))).denominator == 1:
        pass
    return drawn


def _signed(value: int) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value)}"
