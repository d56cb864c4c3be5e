"""What models and servers wrote is shown as text: no terminal obeys it, and no markup is made of it."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from metaspo.backends.printable import printable
from metaspo.console import HarmlessConsole, say_error
from metaspo.tables.printing import make_table, print_json

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eabc\u2066\x7f\x00\rgone\x08"
TEXTS = st.one_of(st.text(), st.just(HOSTILE), st.text(st.characters(categories=["Cc", "Cf"])))


def shown(*objects: object, markup: bool = False, color: bool = False) -> str:
    """What a console of ours sends to a terminal."""
    file = io.StringIO()
    HarmlessConsole(file=file, force_terminal=color, soft_wrap=True, emoji=False, width=200).print(
        *objects, markup=markup, highlight=False
    )
    return file.getvalue()


@given(TEXTS)
def test_no_text_moves_the_cursor_or_changes_the_terminal(text: str) -> None:
    """Printed as it is, in a table, or with a style."""
    table = make_table("title", "a", "b")
    table.add_row("x", Text(text))
    for sent in (shown(text), shown(Text(text, style="bold")), shown(table)):
        assert printable(sent) == sent


def test_our_own_colours_are_still_sent() -> None:
    """It is the texts that are made harmless, not the console."""
    assert "\x1b[1m" in shown(Text(HOSTILE, style="bold"), color=True)
    assert "\x1b[2J" not in shown(Text(HOSTILE, style="bold"), color=True)


@pytest.mark.parametrize(
    "words", ["[red]x[/red]", r"\[red]x", "[/nothing]", "[link=https://evil]x[/link]", "a [b] c\\"]
)
def test_square_brackets_in_the_words_of_a_server_stay_what_they_are(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also behind a backslash, and where rich would find a tag that nobody opened."""
    say_error(f"here:1 says: {words}")
    assert capsys.readouterr().err == f"error: here:1 says: {words}\n"


@given(TEXTS)
def test_json_says_the_same_and_is_harmless_too(text: str) -> None:
    """Whoever reads it as JSON gets every character."""
    file = io.StringIO()
    plain = text.encode("utf-8", "replace").decode()
    print_json(HarmlessConsole(file=file), {"says": plain})
    assert json.loads(file.getvalue()) == {"says": plain}
    assert printable(file.getvalue()) == file.getvalue()


def test_a_long_fault_keeps_its_beginning_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    say_error(f"first {'word ' * 1_000}last")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: first word")
    assert line.endswith("word last")
    assert len(line) < 2_000
