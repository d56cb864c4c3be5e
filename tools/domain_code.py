"""The rows of the domain `code`: functions put together from steps that are both said in words and done in Python."""

import random
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]
Step = tuple[str, Callable[[Any], Any]]  # in words, and what it does
CALLS = 6  # each function is tried with
WORDS = [
    *("apple", "River", "stone", "Oak", "ember", "quiet", "Lamp", "island", "Umbrella", "tin", "echo", "Nest", "brave"),
    *("under", "kite", "olive", "Window", "dust", "arc", "Yellow", "go"),
]
CITIES = ("Oslo", "Lima", "Rome", "Accra")


def strings(rng: random.Random) -> Row:
    """A text in, its words chosen, changed and put together."""
    length = rng.randint(3, 6)
    choose: list[Step] = [
        (f"the words with more than {length} letters", lambda words: [word for word in words if len(word) > length]),
        (f"the words with at most {length} letters", lambda words: [word for word in words if len(word) <= length]),
        (
            "the words that begin with a vowel, of either case",
            lambda words: [w for w in words if w[0].lower() in "aeiou"],
        ),
        ("the words that begin with a capital letter", lambda words: [word for word in words if word[0].isupper()]),
        ("every second word, the first one included", lambda words: words[::2]),
        ("all words but the first one", lambda words: words[1:]),
    ]
    change: list[Step] = [
        ("as they are", lambda words: words),
        ("each written backwards", lambda words: [word[::-1] for word in words]),
        ("each in capital letters", lambda words: [word.upper() for word in words]),
        ("each without its last letter", lambda words: [word[:-1] for word in words]),
        ("each followed by its length, as in tea3", lambda words: [f"{word}{len(word)}" for word in words]),
    ]
    finish: list[Step] = [
        ("joined by a hyphen", "-".join),
        ("as a list in alphabetical order by Python's own sorting", sorted),
        ("as a list in reversed order", lambda words: words[::-1]),
        ("joined without anything between", "".join),
    ]
    (what, chosen), (how, changed), (form, finished) = map(rng.choice, (choose, change, finish))
    text = (
        f"takes a text, which may be empty, whose words stand between single spaces, and returns {what}, {how}, {form}."
    )
    inputs = [""] + [" ".join(rng.choices(WORDS, k=rng.randint(1, 7))) for _ in range(CALLS - 1)]
    return _row("words", "text", text, inputs, lambda given: finished(changed(chosen(given.split()))))


def lists(rng: random.Random) -> Row:
    """Whole numbers in; some of them, changed, and one value or list out."""
    limit, divisor, added = rng.randint(-3, 8), rng.randint(2, 5), rng.randint(2, 9)
    choose: list[Step] = [
        ("the even numbers", lambda numbers: [n for n in numbers if n % 2 == 0]),
        ("the odd numbers", lambda numbers: [n for n in numbers if n % 2]),
        (f"the numbers greater than {limit}", lambda numbers: [n for n in numbers if n > limit]),
        (f"the numbers that {divisor} divides", lambda numbers: [n for n in numbers if n % divisor == 0]),
        ("the numbers without repeats, each where it comes first", lambda numbers: list(dict.fromkeys(numbers))),
        ("the negative numbers", lambda numbers: [n for n in numbers if n < 0]),
    ]
    change: list[Step] = [
        ("squares each of them", lambda numbers: [n * n for n in numbers]),
        (f"adds {added} to each of them", lambda numbers: [n + added for n in numbers]),
        ("changes the sign of each of them", lambda numbers: [-n for n in numbers]),
        (f"multiplies each of them by {added}", lambda numbers: [n * added for n in numbers]),
        ("takes the distance of each of them from zero", lambda numbers: [abs(n) for n in numbers]),
    ]
    finish: list[Step] = [
        ("their sum (0 if there are none)", sum),
        ("the largest of them (None if there are none)", lambda numbers: max(numbers, default=None)),
        ("the smallest of them (None if there are none)", lambda numbers: min(numbers, default=None)),
        ("a list of them from the largest to the smallest", lambda numbers: sorted(numbers, reverse=True)),
        ("the largest minus the smallest of them (0 if there are none)", lambda ns: max(ns) - min(ns) if ns else 0),
        ("a list of their running sums", lambda numbers: [sum(numbers[: at + 1]) for at in range(len(numbers))]),
    ]
    (what, chosen), (how, changed), (form, finished) = map(rng.choice, (choose, change, finish))
    text = f"takes a list of whole numbers, keeps {what}, {how}, and returns {form}."
    inputs: list[Any] = [[]] + [[rng.randint(-12, 15) for _ in range(rng.randint(1, 9))] for _ in range(CALLS - 1)]
    return _row("numbers", "numbers", text, inputs, lambda given: finished(changed(chosen(given))))


def digits(rng: random.Random) -> Row:
    """A whole number in, something about its digits out."""
    base, divisor = rng.randint(2, 9), rng.randint(3, 9)
    choose: list[Step] = [
        ("the decimal digits of it", lambda n: [int(c) for c in str(n)]),
        (f"the digits of it in base {base}, the most significant first", lambda n: _digits(n, base)),
        (f"the decimal digits of {divisor} times it", lambda n: [int(c) for c in str(divisor * n)]),
        ("the decimal digits of its square", lambda n: [int(c) for c in str(n * n)]),
    ]
    change: list[Step] = [
        ("keeps the even ones", lambda ds: [d for d in ds if d % 2 == 0]),
        ("keeps the odd ones", lambda ds: [d for d in ds if d % 2]),
        ("keeps each different one once, where it comes first", lambda ds: list(dict.fromkeys(ds))),
        ("leaves out the zeros", lambda ds: [d for d in ds if d]),
        ("puts them in reversed order", lambda ds: ds[::-1]),
    ]
    finish: list[Step] = [
        ("their sum (0 if there are none)", sum),
        ("how many there are", len),
        ("the text of them beside each other", lambda ds: "".join(map(str, ds))),
        ("a list of them from the smallest to the largest", sorted),
        ("the largest of them (None if there are none)", lambda ds: max(ds, default=None)),
    ]
    (what, chosen), (how, changed), (form, finished) = map(rng.choice, (choose, change, finish))
    text = f"takes a whole number that is not negative, takes {what}, {how}, and returns {form}."
    inputs = [0, *(rng.randrange(10 ** rng.randint(1, 6)) for _ in range(CALLS - 1))]
    return _row("digits", "number", text, inputs, lambda given: finished(changed(chosen(given))))


def records(rng: random.Random) -> Row:
    """Orders in, grouped or filtered ones out."""
    price, count = rng.randint(4, 12), rng.randint(2, 5)
    choose: list[Step] = [
        (f"cost more than {price} apiece", lambda rows: [r for r in rows if r["price"] > price]),
        (f"cost at most {price} apiece", lambda rows: [r for r in rows if r["price"] <= price]),
        (f"have a count of at least {count}", lambda rows: [r for r in rows if r["count"] >= count]),
        (f"have a count below {count}", lambda rows: [r for r in rows if r["count"] < count]),
        (f"go to {(city := rng.choice(CITIES))}", lambda rows: [r for r in rows if r["city"] == city]),
    ]
    finish: list[Step] = [
        ("the sum of price times count (0 if there are none)", lambda rows: sum(r["price"] * r["count"] for r in rows)),
        ("a dictionary from each city among them to its number of orders", lambda rows: _grouped(rows, len)),
        (
            "a dictionary from each city among them to the sum of its counts",
            lambda rows: _grouped(rows, lambda group: sum(r["count"] for r in group)),
        ),
        ("a list of their items in alphabetical order", lambda rows: sorted(r["item"] for r in rows)),
        (
            "a list of their items from the dearest to the cheapest, in the given order where prices are equal",
            lambda rows: [r["item"] for r in sorted(rows, key=lambda r: -r["price"])],
        ),
        ("a sorted list of their cities, each once", lambda rows: sorted({r["city"] for r in rows})),
    ]
    (what, chosen), (form, finished) = map(rng.choice, (choose, finish))
    text = (
        "takes a list of orders, dictionaries with the keys item (text), city (text), price and count (whole numbers), "
        f"keeps the orders that {what}, and returns {form}."
    )
    inputs: list[Any] = [[]] + [[_order(rng) for _ in range(rng.randint(1, 5))] for _ in range(CALLS - 1)]
    return _row("orders", "orders", text, inputs, lambda given: finished(chosen(given)))


def grids(rng: random.Random) -> Row:
    """A list of equally long rows in, a changed grid or a value of it out."""
    by = rng.randint(2, 9)
    change: list[Step] = [
        ("swaps rows and columns", lambda grid: [list(row) for row in zip(*grid, strict=True)]),
        ("puts the rows in reversed order", lambda grid: grid[::-1]),
        ("reverses each row", lambda grid: [row[::-1] for row in grid]),
        ("turns it a quarter to the right", lambda grid: [list(row) for row in zip(*grid[::-1], strict=True)]),
        (f"multiplies every number by {by}", lambda grid: [[cell * by for cell in row] for row in grid]),
        (f"takes every number modulo {by}", lambda grid: [[cell % by for cell in row] for row in grid]),
    ]
    finish: list[Step] = [
        ("the grid", lambda grid: grid),
        ("a list of the sums of its rows", lambda grid: [sum(row) for row in grid]),
        ("a list of the largest number of each row", lambda grid: [max(row) for row in grid]),
        ("all its numbers in one list, row by row", lambda grid: [cell for row in grid for cell in row]),
        ("its first row", lambda grid: grid[0]),
        ("the last number of each row, in a list", lambda grid: [row[-1] for row in grid]),
    ]
    (how, changed), (then, again), (form, finished) = map(rng.choice, (change, change, finish))
    steps = f"{how}, then {then}" if then != how else how
    text = (
        f"takes a grid of numbers, a list of rows of one length with at least one number in it, {steps}, and returns "
        f"{form}."
    )
    inputs = [_grid(rng) for _ in range(CALLS)]
    after = changed if then == how else lambda given: again(changed(given))
    return _row("grid", "grid", text, inputs, lambda given: finished(after(given)))


TASKS: dict[str, Callable[[random.Random], Row]] = {
    "code/strings": strings,
    "code/lists": lists,
    "code/digits": digits,
    "code/records": records,
    "code/grids": grids,
}


def _row(stem: str, parameter: str, text: str, inputs: Sequence[Any], function: Callable[[Any], Any]) -> Row:
    name = f"work_on_{stem}"
    calls = [[[given], function(given)] for given in inputs]
    return {
        "question": f"The function {name}({parameter}) {text}",
        "answer": {"function": name, "calls": calls},
    }


def _digits(number: int, base: int) -> list[int]:
    rest, last = divmod(number, base)
    return [*(_digits(rest, base) if rest else []), last]


def _order(rng: random.Random) -> dict[str, Any]:
    item, city = rng.choice(WORDS).lower(), rng.choice(CITIES)
    return {"item": item, "city": city, "price": rng.randint(1, 15), "count": rng.randint(1, 6)}


def _grouped(rows: Sequence[dict[str, Any]], value: Callable[[list[dict[str, Any]]], int]) -> dict[str, int]:
    return {city: value([r for r in rows if r["city"] == city]) for city in dict.fromkeys(r["city"] for r in rows)}


def _grid(rng: random.Random) -> list[list[int]]:
    width = rng.randint(1, 4)
    return [[rng.randint(0, 20) for _ in range(width)] for _ in range(rng.randint(1, 4))]
