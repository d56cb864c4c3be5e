"""Ways of saying the opposite, or something else, that are read as neither: one law for each way."""

import pytest

from metaspo.engine.tasks import AnswerSpec, build_format

SENTIMENT = {"kind": "label", "labels": ["positive", "negative"]}
YES_NO = {"kind": "label", "labels": ["yes", "no"]}
HELPFUL = {"kind": "label", "labels": ["helpful", "not helpful"]}
LETTER = {"kind": "letter", "labels": ["A", "B", "C", "D"]}
METRES = {"kind": "number", "units": {"m": 1, "km": 1000}}
WORDS = {"kind": "number", "number_words": True}


def read(answer: object, text: str) -> str | None:
    raw = answer if isinstance(answer, dict) else {"kind": answer}
    return build_format(AnswerSpec.model_validate(raw)).parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "I don't believe the overall sentiment here could be called positive",
        "I would never say that the review as a whole is positive.",
        "It is not true that the text is positive",
        "It's hard to call this positive",
        "It is difficult to see this as positive.",
        "Positive? Far from it.",
        "Positive? I'd say it isn't.",
        "(not) positive",
        "zero positive content",
        "free of positive remarks",
        "too bland to be positive",
        "Positive sentiment is absent.",
        "Positive sentiment: none",
        "Positive: 0",
        "The label 'positive' would be misleading.",
        "The label positive is inappropriate.",
        "Positive won't do.",
        "Positive is a stretch",
        "positive or not",
    ],
)
def test_what_denies_a_label_in_other_words_does_not_give_it(text: str) -> None:
    assert read(SENTIMENT, text) is None
    assert read(SENTIMENT, f"{text}\nThe answer is negative.") == "negative"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("It is hard to follow, but positive.", "positive"),
        ("They don't recommend it, so negative.", "negative"),
        ("I don't think this is hard: positive", "positive"),
        ("The most positive", "positive"),
        ("I can't believe how much of what they say here is positive", "positive"),
        ("Zero complaints: positive", "positive"),
        ("Positive: 3 reasons", "positive"),
        ("negative=0.5", "negative"),
        ("rather negative than positive", "negative"),
        ("more negative than positive", "negative"),
    ],
)
def test_what_only_looks_like_a_denial_denies_nothing(text: str, label: str) -> None:
    assert read(SENTIMENT, text) == label


def test_a_letter_that_another_is_preferred_to_is_not_given() -> None:
    assert read(LETTER, "rather C than D") == "C"
    assert read(LETTER, "A is the least likely") is None


@pytest.mark.parametrize("text", ["no longer yes", "There's no reason to say yes.", "no one says yes", "no yes"])
def test_no_denies_also_where_it_is_an_answer(text: str) -> None:
    assert read(YES_NO, text) is None


def test_a_label_that_is_denied_with_so_is_its_negation() -> None:
    assert read(HELPFUL, "Not so helpful") == "not helpful"
    assert read(HELPFUL, "It was so helpful") == "helpful"


@pytest.mark.parametrize(
    "text",
    [
        "If it were sunny, the answer would be yes, but it is raining, so no.",
        "Some would answer yes. However, no.",
        "Most people might answer yes, but I say no.",
    ],
)
def test_what_others_would_answer_is_not_announced(text: str) -> None:
    assert read(YES_NO, text) != "yes"
    assert read(YES_NO, "I would answer yes.") == "yes"


def test_what_was_meant_goes_before_what_was_said() -> None:
    assert read(YES_NO, "No — I mean yes.") == "yes"
    assert read(YES_NO, "Yes. I mean, of course.") == "yes"


@pytest.mark.parametrize("rows", ["{}: 10%, {}: 90%", "{}: false\n{}: true", "- {}: wrong\n- {}: right", "{} ✗ {} ✗"])
def test_a_table_that_says_something_of_each_answer_gives_none(rows: str) -> None:
    assert read(SENTIMENT, rows.format("Positive", "Negative")) is None
    assert read(LETTER, rows.format("A", "B")) is None
    assert read(LETTER, f"{rows.format('A', 'B')}\nThe answer is B.") == "B"


def test_two_letters_with_a_plus_between_them_are_two() -> None:
    assert read(LETTER, "A+B") is None


@pytest.mark.parametrize("before", ["It is not ", "It isn't ", "It isn’t **", "never ", "must not be "])
def test_a_tag_that_is_denied_does_not_count(before: str) -> None:
    tagged = {**LETTER, "tag": True}
    assert read(tagged, f"{before}<answer>B</answer>.") is None
    assert read(tagged, f"{before}<answer>B</answer> but <answer>C</answer>.") == "C"


@pytest.mark.parametrize("before", ["Why not?\n", "It is not. ", "not\n", "That is not right: ", "No, "])
def test_a_tag_that_begins_anew_counts(before: str) -> None:
    assert read({**LETTER, "tag": True}, f"{before}<answer>B</answer>") == "B"


@pytest.mark.parametrize(
    "text",
    ["more than 5", "fewer than 5", "over 5", "below 5", "x > 5", "<5", ">5", "x<5", "3 < x < 5", "±5", "+/- 5"],
)
def test_a_bound_is_no_number(text: str) -> None:
    assert read("number", text) is None


@pytest.mark.parametrize(
    "text", ["> The answer is 5", "> 5", "-> 5", "=> 5", "<b>5</b>", "5<p>", "<5>", "5 < 6", "5 below"]
)
def test_signs_that_bound_nothing_leave_the_number(text: str) -> None:
    assert read("integer", text) == "5"


@pytest.mark.parametrize(
    "text",
    [
        *("3 km to 4 km", "3 apples or 4 apples", "1 h 30 min", "3 years and 2 months", "5ft 3in", "5' 10\""),
        *("x = 3 or x = -3", "x=3,y=4", "x=1; x=2", "0.(3)", "0,123", "(-2)^2", "1/2^2"),
    ],
)
def test_what_is_more_than_one_plain_number_is_none(text: str) -> None:
    assert read("number", text) is None
    assert read("number", f"{text}. The answer is 7.") == "7"


def test_a_length_in_two_units_is_not_its_first_part() -> None:
    assert read(METRES, "1 km 200 m") is None
    assert read(METRES, "1 km and 1 m") is None
    assert read({"kind": "number", "units": {"%": 0.01}}, "5‰") is None


def test_a_sign_apart_from_its_number_is_read_where_no_list_can_be() -> None:
    assert read("integer", "- 5") is read("integer", "– 5") is None
    assert read({"kind": "integer", "tag": True}, "<answer>- 5</answer>") == "-5"
    assert read("integer", "- 5 apples") == "5"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("one half", "0.5"), ("two thirds", "2/3"), ("two-thirds", "2/3"), ("minus three quarters", "-0.75")),
        *(("two and a half", "2.5"), ("three and one quarter", "3.25"), ("twenty-five hundredths", "0.25")),
        *(("two point five", "2.5"), ("one hundred and five point two", "105.2"), ("one thousandth", "0.001")),
        *(("two seconds", "2"), ("two hundred", "200")),
    ],
)
def test_fractions_in_words_are_fractions(text: str, value: str) -> None:
    assert read(WORDS, text) == value
    if not value.isdigit():
        assert read({"kind": "integer", "number_words": True}, text) is None


@pytest.mark.parametrize("text", ["twenty-first", "twenty-second", "twenty-fifth", "six sevenths"])
def test_ordinals_and_fractions_are_no_whole_numbers(text: str) -> None:
    assert read({"kind": "integer", "number_words": True}, text) is None


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        (
            ("positiv", "negativ"),
            ("keineswegs positiv", "alles andere als positiv", "positiv? Nein.", "weder positiv noch negativ"),
        ),
        (("vrai", "faux"), ("loin d'être vrai", "vrai? non", "ni vrai ni faux")),
        (("sí", "no"), ("no es sí", "nunca sí", "tampoco sí")),
        (("正面", "负面"), ("很难说是正面", "难以算作正面", "正面？不。", "无法判断为正面", "正面的说法不成立")),
        (
            ("ポジティブ", "ネガティブ"),
            ("ポジティブじゃない", "ポジティブだとは思わない", "ポジティブ？いいえ", "ポジティブとは言いがたい"),
        ),
        (("긍정", "부정"), ("긍정? 아니요", "긍정이 아닙니다")),
        (("да", "нет"), ("вряд ли да", "никак не да")),
        (("إيجابي", "سلبي"), ("لا إيجابي ولا سلبي",)),
    ],
)
def test_denials_of_other_languages(labels: tuple[str, ...], texts: tuple[str, ...]) -> None:
    for text in texts:
        assert read({"kind": "label", "labels": labels}, text) is None, text


def test_a_negative_number_is_no_label() -> None:
    stars = {"kind": "label", "labels": ["1", "2", "3", "4", "5"]}
    assert read(stars, "-3") is read(stars, "−4") is read(stars, "1: bad … 5: good") is None
    assert read(stars, "3 stars") == read(stars, "1: bad … 5: good. Answer: 3") == "3"


def test_an_expression_that_is_denied_in_short_is_not_announced() -> None:
    assert read("math", "The answer isn't $5$ but $6$") == "6"
