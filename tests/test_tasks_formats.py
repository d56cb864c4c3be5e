"""Answers are read out of any text, or found malformed; never an error, never a guess beyond the rule."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.tasks import AnswerFormat, AnswerSpec, Integer, Label, Letter, Tagged, Text, build_format
from metaspo.engine.tasks.formats.plain import AFTER_EDGE, BEFORE_EDGE, within_ascii

FORMATS: Sequence[AnswerFormat] = (
    Letter(),
    Letter(("A", "B", "C")),
    Integer(),
    Integer(number_words=True),
    Label(("yes", "no")),
    Label(("entailment", "non-entailment", "3", "not sure"), number_words=True),
    Label(("yes", "not sure"), alone=True),
    Text(),
    Text(number_words=True),
    Tagged(Letter()),
    Tagged(Integer()),
    Tagged(Label(("yes", "no")), "verdict"),
    Tagged(Text()),
)
PIECES = (
    *("<answer>", "</answer>", "</answer", "<ANSWER >", "<verdict>", "</verdict>", "A", "b", "(C)", "I", "3", "-4"),
    *("1,234", "5.0", "6.5", "three", "twenty-one", "yes", "no", "non-entailment", "entailment", "not  sure", "no-one"),
    *("answer is", "option", " ", "\n", ".", "-", "−", "_", "'", "İ", "ſ", "ß"),
)
texts = st.one_of(st.text(), st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3))).map("".join))
formats = st.sampled_from(FORMATS)


def _gold(answer_format: AnswerFormat) -> st.SearchStrategy[str]:
    """Answers as data may hold them, for one format."""
    match answer_format.inner if isinstance(answer_format, Tagged) else answer_format:
        case Letter(letters=letters):
            return st.sampled_from(letters).flatmap(
                lambda one: st.sampled_from([one, one.lower(), f" ({one})", f"{one}."])
            )
        case Integer():
            return st.integers().flatmap(lambda one: st.sampled_from([f"{one}", f"{one:,}", f" {one}.0"]))
        case Label(labels=labels):
            return st.sampled_from(labels).flatmap(lambda one: st.sampled_from([one, one.upper(), f" {one}\n"]))
        case _:
            return texts.filter(lambda text: answer_format.canonical(text) is not None)


formats_with_gold = formats.flatmap(lambda one: st.tuples(st.just(one), _gold(one)))


@given(formats, texts)
def test_no_text_is_an_error_and_what_is_read_is_canonical(answer_format: AnswerFormat, text: str) -> None:
    for read in (answer_format.parse(text), answer_format.canonical(text)):
        assert read is None or (read and answer_format.canonical(read) == read)


@given(formats_with_gold, st.text(alphabet="xyz .\n"), st.text(alphabet="xyz .\n"))
def test_a_gold_answer_comes_back_from_a_completion(given: tuple[AnswerFormat, str], before: str, after: str) -> None:
    answer_format, answer = given
    gold = answer_format.canonical(answer)
    assert gold is not None
    if isinstance(answer_format, Tagged):
        completion = f"{before}<{answer_format.tag}> {gold}\n</{answer_format.tag}>{after}"
    else:
        completion = f"\n{gold} "
    assert answer_format.parse(completion) == gold


@given(st.lists(st.integers(), min_size=1))
def test_the_last_tag_wins(numbers: list[int]) -> None:
    completion = " then ".join(f"<answer>{number}</answer>" for number in numbers)
    assert Tagged(Integer()).parse(completion) == str(numbers[-1])


@pytest.mark.parametrize(
    "completion",
    ["", "B", "answer: B", "<answer>B", "<answer>A or B</answer>", "</answer>B<answer>", "<answer></answer>"],
)
def test_a_missing_an_unclosed_and_an_empty_tag_are_malformed(completion: str) -> None:
    assert Tagged(Letter()).parse(completion) is None


@pytest.mark.parametrize(
    "completion",
    [
        "<answer>B</answer>",
        "<Answer> (B) </ANSWER >",
        "in <answer> tags: <answer>B</answer>",
        "<answer>B</answer></answer>",
        "<answer>B</answer> Thus <answer>",
        "<answer>B</answer> or <answer>A",
        "<answer>B</answer><answer></answer>",
        "＜answer＞Ｂ＜/answer＞",
    ],
)
def test_a_tag_is_read_whatever_its_case_and_what_is_around_it(completion: str) -> None:
    assert Tagged(Letter()).parse(completion) == "B"


def test_an_answer_that_holds_the_tag_cannot_be_gold() -> None:
    assert Tagged(Text()).canonical("write <answer>x</answer>") is None


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("b. Because", "B"),
        ("**C**", "C"),
        ("D) Bonwill's curve", "D"),
        ("The correct answer is A because of it", "A"),
        ("Answer: c", "C"),
        ("A patient with fever: (B)", "B"),
        ("Vitamin C is low, so I choose (A).", "A"),
        ("I think that B fits", "B"),
        ("A patient has fever", None),
        ("Option A is right", "A"),
        ("the option(s) given", None),
        ("none of them", None),
        ("It's U.S. law", None),
        ("", None),
    ],
)
def test_option_letters(text: str, letter: str | None) -> None:
    assert Letter().parse(text) == letter


def test_letters_outside_the_options_are_passed_over() -> None:
    assert Letter(("A", "B")).parse("(E) or (B)") == "B"
    assert Letter(("A", "B")).canonical("E") is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", "5"),
        ("I count 12 of 15.", "12"),
        ("1,234,567 people", "1234567"),
        ("1,2,3", None),
        ("1,234,5", None),
        ("-7", "-7"),
        ("\u22127 degrees", "-7"),
        ("COVID-19", "19"),
        ("3-5", None),
        ("4.0 stars", "4"),
        ("4.5 stars of 5", None),
        ("007", "7"),
        ("-0", "0"),
        ("5.", "5"),
        ("three", None),
        ("", None),
    ],
)
def test_the_first_number_counts_if_it_is_whole(text: str, number: str | None) -> None:
    assert Integer().parse(text) == number


@given(st.integers())
def test_separators_do_not_change_an_integer(number: int) -> None:
    for written in (f"{number}", f"{number:,}", f"about {number:,} of them"):
        assert Integer().parse(written) == str(number)


def test_a_number_of_any_length_is_read() -> None:
    assert Integer().parse("9" * 10_000) == "9" * 10_000


def test_number_words_count_only_where_asked_for() -> None:
    assert Integer(number_words=True).parse("There are twenty-three.") == "23"
    assert Integer().parse("There are twenty-three.") is None
    assert Label(("3", "blue"), number_words=True).parse("Three of them") == "3"
    assert Label(("one", "two"), number_words=True).parse("exactly 2") == "two"
    assert Text(number_words=True).parse(" Three ") == "3"
    assert Text().parse(" Three ") == "Three"


@pytest.mark.parametrize("answer", ["5 stars", "4.5", "five", "", "1,2"])
def test_gold_integers_are_integers_and_nothing_else(answer: str) -> None:
    assert Integer().canonical(answer) is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("YES!", "yes"),
        ("I know that yes, no", None),
        ("no-one said so", None),
        ("a semi-yes", None),
        ("yes/no", None),
        ("**No**", "no"),
        ("_no_", "no"),
        ("nothing", None),
        ("Not   sure, yes", None),
        ("I am not   sure.", "not sure"),
        ("", None),
    ],
)
def test_the_label_that_a_text_gives(text: str, label: str | None) -> None:
    assert Label(("yes", "no", "not sure")).parse(text) == label


@pytest.mark.parametrize("hyphen", ["-", "\u2010", "\u2011"])
def test_the_longest_label_at_a_place_counts_whatever_the_order_of_the_labels(hyphen: str) -> None:
    for labels in (("entailment", "non-entailment"), ("non-entailment", "entailment")):
        assert Label(labels).parse(f"It is non{hyphen}entailment.") == "non-entailment"
    for labels in (("not", "not sure"), ("not sure", "not")):
        assert Label(labels).parse("I am not sure.") == "not sure"


def test_labels_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="'Yes' would be read as 'yes'"):
        Label(("yes", "Yes"))
    with pytest.raises(ValueError, match="told apart"):
        Label(("one", "1"), number_words=True)


@given(st.sampled_from(["yes", "no", "not sure"]), st.text(alphabet=" \n\t.!*\"'`"), st.text(alphabet=" \n\t.!*\"'`"))
def test_a_label_alone_is_read_whatever_marks_stand_around_it(label: str, before: str, after: str) -> None:
    assert Label(("yes", "no", "not sure"), alone=True).parse(f"{before}{label.upper()}{after}") == label


@given(st.sampled_from(["yes", "no"]), st.sampled_from(["So", "it is", "because", "no"]))
def test_a_label_beside_any_word_is_not_alone(label: str, word: str) -> None:
    alone = Label(("yes", "no"), alone=True)
    assert alone.parse(f"{word} {label}") is alone.parse(f"{label}, {word}") is None
    assert Tagged(alone).parse(f"{word} <answer>{label}</answer>") == label
    assert Tagged(alone).parse(f"<answer>{word} {label}</answer>") is None


def test_the_instruction_names_the_labels_and_the_tag() -> None:
    rule = build_format(AnswerSpec.model_validate({"kind": "label", "labels": ["cat", "dog"], "tag": True})).describe()
    assert all(word in rule for word in ("cat", "dog", "<answer>", "</answer>"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("letter", Letter()),
        ("integer", Integer()),
        ("text", Text()),
        ("tagged", Tagged(Text())),
        ({"kind": "letter", "labels": ["A", "B"], "tag": "choice"}, Tagged(Letter(("A", "B")), "choice")),
        ({"kind": "integer", "number_words": True, "tag": False}, Integer(number_words=True)),
        ({"kind": "label", "labels": ["x", "y"]}, Label(("x", "y"))),
        ({"kind": "label", "labels": ["x", "y"], "alone": True}, Label(("x", "y"), alone=True)),
    ],
)
def test_a_config_names_every_format(given: object, expected: AnswerFormat) -> None:
    assert build_format(AnswerSpec.model_validate(given)) == expected


@given(
    st.lists(
        st.sampled_from(["<answer>", "</answer>", "a", "not ", "It is NEVER ", "ANSWER ", "b", "<", "* "]), max_size=8
    )
)
def test_how_a_tag_is_written_changes_nothing(pieces: list[str]) -> None:
    """Also not that of a single pair of brackets, which is found by a shorter way when it is in small letters."""
    text, kind = "".join(pieces), Tagged(Label(("a", "b")))
    for written in (("<Answer>", "</Answer>"), ("<answer >", "</answer>"), ("<answer>", "</ANSWER>")):
        assert kind.parse(text) == kind.parse(text.replace("<answer>", written[0]).replace("</answer>", written[1]))


@given(st.text("aA1 _-'.", max_size=8))
def test_edges_of_words_without_the_scripts_are_the_same_in_a_text_of_ascii(text: str) -> None:
    word = f"a{AFTER_EDGE}1?{BEFORE_EDGE}"
    assert within_ascii(word).isascii()
    spans = [[match.span() for match in re.finditer(pattern, text)] for pattern in (word, within_ascii(word))]
    assert spans[0] == spans[1]
