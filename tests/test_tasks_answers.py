"""No answer is read as its opposite, and a copy of the instruction is none: for any set of labels, in any wrapping."""

import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metaspo.engine.tasks import AnswerFormat, AnswerSpec, Integer, Label, Letter, Number, Tagged, Text, build_format
from metaspo.engine.tasks.formats.label_sets import LabelSet

DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"
NATURAL = (
    "entailment",
    "toxic",
    "hateful",
    "relevant",
    "spam",
    "ironic",
    "self-harm",
    "off topic",
    "正面",
    "긍정",
    "ネガ",
)
LETTERS = Letter(("A", "B", "C", "D"))
WRAPPINGS = (
    *("{}", " {}\n", "**{}**", '"{}"', "({})", "{}.", "The answer is {}.", "The answer is: {}", "Answer: {}"),
    *("I have no doubt: {}", "So, after all of this, it must be {}.", "Let me see.\n\n{}", "Final answer:\n{}"),
)
words = st.text(alphabet="bcdfghjklmpqrstvwxz", min_size=4, max_size=9)
label_sets = st.lists(words, min_size=2, max_size=5, unique=True).map(tuple)


def _tagged(text: str) -> str:
    return f"Let me think. <answer>{text}</answer>"


@given(label_sets, st.data())
def test_a_label_comes_back_from_every_wrapping(labels: tuple[str, ...], data: st.DataObject) -> None:
    label = data.draw(st.sampled_from(labels))
    said = data.draw(st.sampled_from(WRAPPINGS)).format(data.draw(st.sampled_from([label, label.upper()])))
    assert Label(labels).parse(said) == label
    assert Tagged(Label(labels)).parse(_tagged(said)) == label


@given(st.sampled_from(LETTERS.letters), st.sampled_from(WRAPPINGS))
def test_a_letter_comes_back_from_every_wrapping(letter: str, wrapping: str) -> None:
    assert LETTERS.parse(wrapping.format(letter)) == letter
    assert Tagged(LETTERS).parse(_tagged(wrapping.format(f"({letter})"))) == letter


@given(
    st.sampled_from([*NATURAL[:6], "off topic"]),
    st.sampled_from(["not", "non"]),
    st.sampled_from(["not", "non", "Not", "NON"]),
    st.sampled_from([" ", "_", "  ", *DASHES]),
    st.sampled_from([" ", "_", *DASHES]),
    st.sampled_from(WRAPPINGS),
)
def test_a_negated_label_is_that_label_however_it_is_spelled(
    label: str, written: str, said: str, joint: str, between: str, wrapping: str
) -> None:
    negated = f"{written}{between}{label}"
    for labels in ((label, negated), (negated, label)):
        assert Label(labels).parse(wrapping.format(f"{said}{joint}{label}")) == negated
        assert Label(labels).parse(wrapping.format(label)) == label


DENIALS = (
    *("not {}", "It is not {}.", "This isn't {}", "definitely not a {}", "not really {}", "I do not think it is {}."),
    *("I can't call that {}", "anything but {}", "everything except {}", "{} is wrong", "{} is not the answer"),
    *("{} can be ruled out", "never {}", "far from certain; not {}", "neither {} nor anything like it"),
)


@given(label_sets, st.sampled_from(DENIALS), st.data())
def test_a_denied_label_is_never_read(labels: tuple[str, ...], denial: str, data: st.DataObject) -> None:
    denied, right = data.draw(st.permutations(labels))[:2]
    text = denial.format(denied)
    assert Label(labels).parse(text) is Tagged(Label(labels)).parse(_tagged(text)) is None
    for answer_format, said in ((Label(labels), "{}"), (Tagged(Label(labels)), "<answer>{}</answer>")):
        assert answer_format.parse(said.format(f"{text}, but {right}")) == right


REFUSALS = (
    *("all but {}", "All options but {}", "everything but {}", "Any option other than {}", "We can rule out {}"),
    *("It would be a mistake to say {}", "{} would be a mistake", "it cant be {}", "It is wrong to answer {}"),
    *("{} is the wrong answer", "{} is the incorrect option", "{} (incorrect)", "{} (wrong)", "{} fails", "{} ✗"),
    *(
        "❌ {}",
        "~~{}~~",
        "Wrong answer: {}",
        "incorrect: {}",
        "{}? No.",
        "Is it {}? No, it is not.",
        "{}? I don't think so",
    ),
    *(
        "Is it {}? Hardly.",
        "neither {} nor the like",
        "ikke {}",
        "inte {}",
        "不应该选{}",
        "答案不可能是{}",
        "{}不对",
        "{}是错的",
    ),
    *("{}ではない", "{}は違います", "{}이 아니다", "{} değil", "{} नहीं है", "{} ليس صحيحا"),
)
AFFIRMATIONS = (
    *(
        "none other than {}",
        "nothing but {}",
        "It can only be {}",
        "It is certainly {}",
        "{}, not the rest",
        "It is {}, no doubt",
    ),
    *(
        "The others are wrong; {}",
        "It's not easy, but the answer is {}",
        "I am not certain, but I'd say {}",
        "应该选{}",
    ),
    *("Sure! {}", "```\n{}\n```", "«{}»", "答案不难，是{}", "{} ✓", "✗ is for others. {}"),
)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_is_refused_in_other_words_is_never_read(refusal: str) -> None:
    for kind, value in (
        (Label(("positive", "negative")), "positive"),
        (LETTERS, "B"),
        (Integer(), "5"),
        (Number(), "5"),
    ):
        said = refusal.format(value)
        assert kind.parse(said) is Tagged(kind).parse(_tagged(said)) is None


@pytest.mark.parametrize(
    "refusal",
    [
        *("{}? Absolutely not.", "{}? Never.", "{} - not at all.", "{}: certainly not", "Is it {}? By no means."),
        *("¬{}", "!{}", "!= {}", "≠ {}", r"\neq {}", "{} = false", "{} (no)", "{}? Nah.", "{}? I doubt it."),
        *("nowhere near {}", "the reverse of {}", "I am unable to say {}", "I refuse to say {}", "unclear if it is {}"),
        *("the {} label is wrong", "{} is out of the question", "{} is off the table", "everything else than {}"),
    ],
)
def test_a_label_is_not_read_where_signs_or_rarer_words_deny_it(refusal: str) -> None:
    assert Label(("positive", "negative")).parse(refusal.format("positive")) is None


LISTED_DENIALS = (
    "not {} or {}",
    "It isn't {} or {}.",
    "not ({}) or ({})",
    "I would not say {} and {}",
    "none of {}, {}",
)


@pytest.mark.parametrize(
    "denial", [*LISTED_DENIALS, "neither {} nor {}", "It is not a case of {} or of {}", "no {}/{}"]
)
def test_a_denial_reaches_over_a_list(denial: str) -> None:
    labels = Label(("positive", "negative", "neutral"))
    said = denial.format("positive", "negative")
    assert labels.parse(said) is Tagged(labels).parse(_tagged(said)) is LETTERS.parse(denial.format("A", "B")) is None
    assert labels.parse(f"{said}. It is neutral.") == "neutral"
    assert LabelSet(("joy", "fear", "hope")).parse(denial.format("joy", "fear")) is None


def test_what_follows_a_denied_answer_may_be_the_answer() -> None:
    labels = Label(("positive", "negative"))
    for said in ("not positive, negative", "not positive, but negative", "not positive, and negative is right"):
        assert labels.parse(said) == "negative"
    assert LETTERS.parse("It is not A, and B is correct.") == "B"


def test_a_box_without_a_tick_is_not_the_answer() -> None:
    assert LETTERS.parse("- [ ] A\n- [x] B\n- [ ] C") == "B"
    assert Label(("yes", "no")).parse("☐ yes\n☑ no") == "no"


def test_a_cross_before_a_word_that_denies_is_no_denial_of_it() -> None:
    assert [Label(("yes", "no")).parse(text) for text in ("❌ No", "❌ **No**", "❌ Yes")] == ["no", "no", None]


@pytest.mark.parametrize("affirmation", AFFIRMATIONS)
def test_what_only_sounds_like_a_refusal_is_read(affirmation: str) -> None:
    for kind, value in ((Label(("positive", "negative")), "positive"), (LETTERS, "B"), (Integer(), "5")):
        assert kind.parse(affirmation.format(value)) == value


@pytest.mark.parametrize("refusal", ["{}: no", "{}? No.", "{} - no", "Is the text {}? No, it is not.", '"{}": false'])
def test_a_label_answered_with_no_is_its_negation_where_there_is_one(refusal: str) -> None:
    assert Label(("toxic", "non-toxic")).parse(refusal.format("toxic")) == "non-toxic"
    assert Label(("toxic", "harmless")).parse(refusal.format("toxic")) is None


def test_the_text_of_an_option_denies_no_letter() -> None:
    for text in ("B: No", "B - No treatment", "(B) No.", "B: Not at all", "B - Never", "(B) Never."):
        assert LETTERS.parse(text) == "B"


@pytest.mark.parametrize(
    "correction",
    [
        "{}. Wait, it's {}.",
        "{}. Actually, {}.",
        "The answer is {}. Hold on. It is {}.",
        "{}\nCorrection: {}",
        "{} - but actually {}",
    ],
)
def test_what_is_taken_back_is_not_the_answer(correction: str) -> None:
    assert Label(("yes", "no")).parse(correction.format("Yes", "no")) == "no"
    assert LETTERS.parse(correction.format("B", "C")) == "C"
    assert Integer().parse(correction.format("5", "6")) == "6"


def test_a_word_that_takes_nothing_back_changes_nothing() -> None:
    labels = Label(("positive", "negative"))
    assert labels.parse("Positive. Actually the negative remarks are few.") == "positive"
    assert Integer().parse("The answer is 3. Wait, let me check. Yes.") == "3"


def test_a_number_may_be_the_subject_of_a_denial() -> None:
    assert [Integer().parse(text) for text in ("5 are not red", "5 were not sold", "5 don't")] == ["5"] * 3


@given(st.sampled_from(list(combinations("ABCD", 2))), st.sampled_from(DENIALS))
def test_a_denied_letter_is_never_read(pair: tuple[str, str], denial: str) -> None:
    denied, right = pair
    assert LETTERS.parse(denial.format(denied)) is None
    assert LETTERS.parse(denial.format(denied) + f", but {right}.") == right


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is B, not A.", "B"),
        ("A and B are wrong. C is right.", "C"),
        ("A and B are wrong.", None),
        ("I'd eliminate A and B, leaving C", "C"),
        ("D is correct since A, B and C are wrong.", "D"),
        ("The answer is B (A is wrong).", "B"),
        ("I can't decide between A and B", None),
        ("The answer is (B) because A is too small and C is too big.", "B"),
        ("It could be A. But the answer is D.", "D"),
        ("The answer is B. No, the answer is C.", None),
        ("A patient with B symptoms", None),
        ("I would go with D here", "D"),
        ("A is the answer", "A"),
        ("Not A. Not B. C!", "C"),
        (r"Hence \boxed{B}.", "B"),
        ("不选A，选B", "B"),
        ("答えはBではなくCです", "C"),
        ("정답은 A가 아니라 B입니다", "B"),
        ("La réponse est C", "C"),
    ],
)
def test_the_letter_that_a_text_settles_on(text: str, letter: str | None) -> None:
    assert LETTERS.parse(text) == letter


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The sentiment is not positive but negative.", "negative"),
        ("neither positive nor negative: neutral", "neutral"),
        ("neither positive nor negative", None),
        ("Positive. The food was not negative", "positive"),
        ("Positive. Few things are negative.", "positive"),
        ("mostly positive with negative parts", None),
        ("not, in my view, positive", None),
        ("I doubt that it is positive", None),
        ("There is no doubt that it is positive", "positive"),
        ("far from positive", None),
        ("a false positive", None),
        ("I could not finish meals they served me here negative", "negative"),
        ("Answer: neutral\n\nThe text is neither positive nor negative, one could say.", "neutral"),
    ],
)
def test_the_label_that_a_text_settles_on(text: str, label: str | None) -> None:
    assert Label(("positive", "negative", "neutral")).parse(text) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Yes, no doubt", "yes"),
        ("yes — there's no reason to doubt", "yes"),
        ("no problem, yes", "yes"),
        ("No, there is no evidence", "no"),
        ("Answer: no\n\nExplanation: there is no hate, yes it is rude", "no"),
        ("No because it is kind", "no"),
        ("Yes or no? Yes", "yes"),
        ("no\nyes", None),
        ("not yes", None),
        ("№ 5", None),
    ],
)
def test_the_word_no_is_an_answer_and_a_determiner(text: str, label: str | None) -> None:
    assert Label(("yes", "no")).parse(text) == label


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (("正面", "负面"), "这条评论不是正面的"),
        (("正面", "负面"), "并非正面"),
        (("긍정", "부정"), "긍정이 아니다"),
        (("良い", "悪い"), "良いではない"),
        (("บวก", "ลบ"), "ไม่ใช่บวก"),
        (("positiv", "negativ"), "Das ist nicht positiv"),
        (("positif", "négatif"), "Ce n'est pas positif"),
        (("yes", "no"), "no evidence for it"),
        (("正面", "负面"), "不太正面"),
        (("正面", "负面"), "我不认为是正面"),
        (("正面", "负面"), "谈不上正面"),
        (("正面", "负面"), "正面的可能性很小"),
        (("ポジティブ", "ネガティブ"), "ポジティブとは言えない"),
        (("긍정", "부정"), "긍정적이지 않다"),
        (("긍정", "부정"), "긍정이라고 할 수 없다"),
        (("positiivinen", "negatiivinen"), "Tämä ei ole positiivinen"),
        (("pozitív", "negatív"), "nem pozitív"),
        (("pozitivní", "negativní"), "není pozitivní"),
        (("pozitiv", "negativ"), "nu este pozitiv"),
        (("pozitivan", "negativan"), "nije pozitivan"),
        (("θετικό", "αρνητικό"), "δεν είναι θετικό"),
        (("olumlu", "olumsuz"), "olumlu değil"),
        (("إيجابي", "سلبي"), "غير إيجابي"),
        (("सकारात्मक", "नकारात्मक"), "यह सकारात्मक नहीं है"),
    ],
)
def test_a_label_that_another_language_denies_is_not_read(labels: tuple[str, ...], text: str) -> None:
    assert Label(labels).parse(text) is None


LISTS = (", ", "/", " or ", " / ", " and ", "|", ", or ", "; ", " vs. ")


@given(label_sets, st.sampled_from(LISTS), st.sampled_from(["one of: {}", "{}", "Answer with one of: {}.", "({})"]))
def test_a_list_of_labels_is_no_answer_and_spoils_none(labels: tuple[str, ...], joint: str, wrapping: str) -> None:
    listed = wrapping.format(joint.join(labels))
    for label_format in (Label(labels), Tagged(Label(labels))):
        assert label_format.parse(listed) is None
        assert label_format.parse(_tagged(listed)) is None
    assert Label(labels).parse(f"{listed}\nAnswer: {labels[1]}") == labels[1]


formats = st.one_of(
    label_sets.map(Label),
    st.sampled_from(
        [LETTERS, Letter(), Integer(), Integer(number_words=True), Number(), Number(units={"m": 1}), Text()]
    ),
)


@given(formats, st.booleans(), st.sampled_from(["{}", " {}\n", "{} ", "> {}", '"{}"']))
def test_the_instruction_copied_out_is_malformed(kind: AnswerFormat, tagged: bool, wrapping: str) -> None:
    answer_format = Tagged(kind) if tagged else kind  # type: ignore[arg-type]
    assert answer_format.parse(wrapping.format(answer_format.describe())) is None
    assert answer_format.parse(_tagged(kind.wanted) if tagged else kind.wanted) is None  # type: ignore[attr-defined]


@given(st.integers(1, 8), st.integers(1, 8))
def test_a_scale_copied_out_is_malformed(low: int, high: int) -> None:
    assume(low != high)
    for scale in (f"{low}-{high}", f"{low} to {high}", f"{low}–{high}", f"from {low} to {high}", f"{low}, {high}"):
        for answer_format in (Integer(), Number(), Label(tuple(map(str, range(1, 9))))):
            assert answer_format.parse(scale) is None
            assert Tagged(answer_format).parse(_tagged(scale)) is None
        assert Integer().parse(f"On the scale {scale}: I give 9.") == "9"


@given(label_sets, st.data())
def test_several_labels_in_one_tag_are_malformed(labels: tuple[str, ...], data: st.DataObject) -> None:
    one, two = data.draw(st.permutations(labels))[:2]
    joint = data.draw(st.sampled_from([" ", "\n", ". ", ", maybe ", " and ", " – no, rather ", ": "]))
    assert Tagged(Label(labels)).parse(_tagged(f"{one}{joint}{two}")) is None


@given(st.sampled_from(list(combinations("ABCD", 2))), st.sampled_from([" ", ", ", "/", ") ", ". ", "\n", " or ", ""]))
def test_several_letters_in_one_tag_are_malformed(pair: tuple[str, str], joint: str) -> None:
    assert Tagged(LETTERS).parse(_tagged(joint.join(pair))) is None


@pytest.mark.parametrize("letter", LETTERS.letters)
@pytest.mark.parametrize(
    "text", ["Vitamin {}", "hepatitis {}", "Type {} diabetes", "blood group {}", "{}-cells", "R&{}"]
)
def test_a_letter_that_is_a_part_of_a_name_is_no_option(letter: str, text: str) -> None:
    assert LETTERS.parse(text.format(letter)) is None
    assert LETTERS.parse(f"B) {text.format(letter)}") == "B"
    assert Tagged(LETTERS).parse(_tagged(f"(C) {text.format(letter)}")) == "C"


@given(
    st.lists(st.sampled_from(["mg", "left", "not so"]), min_size=4, max_size=4),
    st.sampled_from(["({}) ", "{}) ", "{}. "]),
)
def test_options_written_out_are_no_answer(options: Sequence[str], mark: str) -> None:
    lines = "\n".join(f"{mark.format(letter)}{option}" for letter, option in zip("ABCD", options, strict=True))
    assert LETTERS.parse(lines) is None
    assert LETTERS.parse(f"{lines}\nThe answer is C.") == "C"


@given(st.integers(1, 4), st.data())
def test_the_last_closed_tag_that_can_be_read_counts(count: int, data: st.DataObject) -> None:
    letters = data.draw(st.lists(st.sampled_from("ABCD"), min_size=count, max_size=count))
    text = " ".join(f"<answer>{letter}</answer>" for letter in letters)
    for rest in ("", " Thus <answer>", " <answer></answer>", " or <answer>A or B</answer>", "</answer>", "<answer>D"):
        assert Tagged(LETTERS).parse(text + rest) == letters[-1]


@given(
    st.sampled_from("ABCD"),
    st.sampled_from(["答案是{}。", "正确答案是（{}）", "答えは{}です", "정답은 {}입니다", "คำตอบคือ {} ครับ"]),
)
def test_letters_in_sentences_of_other_scripts(letter: str, sentence: str) -> None:
    full_width = chr(ord(letter) + 0xFEE0)
    assert LETTERS.parse(sentence.format(letter)) == letter
    assert LETTERS.parse(sentence.format(full_width)) == letter
    assert Tagged(LETTERS).parse(f"<answer>{full_width}</answer>") == letter


@pytest.mark.parametrize(
    ("labels", "text", "label"),
    [
        (("正面", "负面"), "这条评论是正面的。", "正面"),
        (("相关", "不相关"), "答案是不相关的", "不相关"),
        (("はい", "いいえ"), "答えははいです。", "はい"),
        (("긍정", "부정"), "이 리뷰는 긍정입니다.", "긍정"),
        (("บวก", "ลบ"), "คำตอบคือบวกครับ", "บวก"),
        (("ポジ", "ネガ"), "ポジティブ", None),
        (("yes", "no"), "我的回答是yes。", "yes"),
        (("yes", "no"), "ＮＯ", "no"),
        (("İYİ", "KÖTÜ"), "iyi", "İYİ"),
        (("DOĞRU", "YANLIŞ"), "Yanlış.", "YANLIŞ"),
        (("正面", "负面"), "非常正面", "正面"),
        (("正面", "负面"), "无疑是正面", "正面"),
        (("ポジティブ", "ネガティブ"), "ポジティブに違いない", "ポジティブ"),
        (("да", "нет"), "Ответ: Да.", "да"),
        (("oui", "non"), "La réponse est oui.", "oui"),
    ],
)
def test_labels_in_sentences_of_other_scripts(labels: tuple[str, ...], text: str, label: str | None) -> None:
    assert Label(labels).parse(text) == label


numbers = st.fractions(max_denominator=1).map(int)
signs = st.sampled_from([*DASHES])


@given(
    st.integers(-(10**12), 10**12),
    signs,
    st.sampled_from(["{}", "{}.", "I count {} of them", "The answer is {}.", "${}"]),
)
def test_a_whole_number_is_read_in_every_notation(number: int, minus: str, wrapping: str) -> None:
    plain, full_width = f"{number}", "".join(chr(ord(char) + 0xFEE0) for char in f"{number}")
    grouped = f"{number:,}"
    arabic = plain.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))
    spaced, swiss = grouped.replace(",", "\u202f"), grouped.replace(",", "'")
    for written in (plain, full_width, grouped, arabic, spaced, swiss, f"{number}.0", f"{plain}e0", f"{plain}×10^0"):
        said = wrapping.format(written.replace("-", minus))
        assert Integer().parse(said) == str(number), said
        assert Number().parse(said) == str(number), said


decimals = st.decimals(-(10**6), 10**6, places=4)


@given(decimals, signs, st.integers(-5, 5))
def test_a_number_is_read_in_every_notation(number: object, minus: str, exponent: int) -> None:
    value = Fraction(str(number))
    shifted = value / Fraction(10) ** exponent
    mantissa = f"{float(shifted):.12f}"
    assume(Fraction(mantissa) == shifted)
    for written in (str(number), f"{number:,}", f"{mantissa}e{exponent}", f"{mantissa} × 10^{exponent}"):
        said = Number().parse(written.replace("-", minus))
        assert said is not None
        assert Fraction(said) == value, written
        assert Integer().parse(written) == (str(value) if value.denominator == 1 else None), written


@given(st.integers(-999, 999), st.integers(1, 999), st.sampled_from(["/", " / ", "\u2044"]))
def test_a_fraction_is_itself(upper: int, lower: int, slash: str) -> None:
    said = Number().parse(f"{upper}{slash}{lower}")
    assert said is not None
    assert Fraction(said) == Fraction(upper, lower)
    assert Integer().parse(f"{upper}{slash}{lower}") is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("½", "0.5"),
        ("2½", "2.5"),
        ("-1 3/4", "-1.75"),
        ("1/3", "1/3"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("minus 3", "-3"),
        ("negative 1,000", "-1000"),
        ("-$5.50", "-5.5"),
        ("€ 5", "5"),
        ("5 %", "5"),
        ("10⁶", "1000000"),
        ("3×10⁻²", "0.03"),
        ("2^10", "1024"),
        ("1.5 million", "1500000"),
        ("1.234,56", "1234.56"),
        ("10,00,000", "1000000"),
        ("3,14", None),
        ("1.2.3", None),
        ("1/0", None),
        ("1e999999999", None),
        ("9^9999999", None),
        ("H2O", None),
        ("0x1F", None),
        ("-(5)", "-5"),
        ("٣٫٥", "3.5"),
        ("۱٬۲۳۴٫۵", "1234.5"),
        ("Step 1: add. Step 2: 7 is left.", "7"),
        ("1) 42", "42"),
        ("(2) 42", "2"),
        ("Step 1", "1"),
        ("5. Because 3 of them do.", "5"),
        (r"\frac{1}{2}", "0.5"),
        (r"-\dfrac{3}{4}", "-0.75"),
        (r"2\frac12", "2.5"),
        ("1{,}234", "1234"),
        ("1 234,5", "1234.5"),
        ("1 234", "1234"),
        ("12 345.6", "12345.6"),
        ("1 2 3 4 5", None),
        ("12 34", None),
        ("3 100-page books", "3"),
        ("x = - 5", "-5"),
        ("The answer is - 5", "-5"),
        ("\u2212 5", "-5"),
        (r"\boxed{-\,5}", "-5"),
        ("7 \u2212 3 = 4", "4"),
        ("7 plus 3 is 10", "10"),
        ("6 ÷ 2", None),
        ("x ≠ 5", None),
        ("√2", None),
        ("2√3", None),
        ("2π", None),
        (r"2\sqrt{3}", None),
        (r"\frac{\pi}{2}", None),
        (r"\frac{1}{\sqrt{2}}", None),
        ("2^0.5", None),
        ("2^(1/2)", None),
        ("log 2", None),
        ("sin(30)", None),
        ("GPT-4 says 7", "7"),
        ("第5章: 7", "7"),
        ("5万", "50000"),
        ("1.5万人", "15000"),
        ("1.2億", "120000000"),
        ("5만 원", "50000"),
        ("3천만", None),
        ("3万5千", None),
        ("5千克", "5"),
        ("5 조각", "5"),
        ("2 lakh", "200000"),
        ("3 hundred", "300"),
        ("$1.5M", "1500000"),
        ("-€2k", "-2000"),
        ("£3bn", "3000000000"),
        ("5k", "5"),
        ("3 + 4 = 7", "7"),
        ("not 5 but 4", "4"),
        ("There are 3 boxes of 4. The answer is 12.", "12"),
        ("The answer is 3. No, the answer is 4.", None),
    ],
)
def test_numbers_as_people_write_them(text: str, number: str | None) -> None:
    assert Number().parse(text) == number


@pytest.mark.parametrize("content", ["4\n5", "4 5", "4, 5", "4; 5", "4 or 5", "1-5", "- 4\n- 5"])
def test_several_numbers_in_one_tag_are_malformed(content: str) -> None:
    for kind in (Integer(), Number()):
        assert Tagged(kind).parse(_tagged(content)) is None
        assert Tagged(kind).parse(_tagged("\n5\napples\n")) == "5"


@given(st.text(), st.sampled_from([LETTERS, Integer(), Number(), Label(("yes", "no")), Text()]))
def test_invisible_characters_change_no_answer_in_a_tag(text: str, kind: AnswerFormat) -> None:
    """Whatever stands in a tag, it is read or malformed, and a byte order mark before the text changes nothing."""
    tagged = Tagged(kind)  # type: ignore[arg-type]
    assert tagged.parse(_tagged(text)) == tagged.parse("\ufeff" + _tagged(text))


def test_all_dashes_of_unicode_are_dashes() -> None:
    dashes = [char for char in map(chr, range(0x11000)) if unicodedata.category(char) == "Pd"]
    for dash in [*dashes, "\u2212"]:
        assert Integer().parse(f"{dash}7") == "-7", hex(ord(dash))
        assert Label(("toxic", "non-toxic")).parse(f"non{dash}toxic") == "non-toxic", hex(ord(dash))


def test_a_format_reads_the_same_whether_tag_or_table_names_it() -> None:
    spec = AnswerSpec.model_validate({"kind": "label", "labels": ["entailment", "not-entailment"], "tag": True})
    assert build_format(spec).parse("<answer>non entailment</answer>") == "not-entailment"


@pytest.mark.parametrize("worked_out", ["12 x 4 = 48", "24 + 24 = 48", "24 plus 24 is 48", "6 X 8 = 48", "12 × 4 = 48"])
def test_what_a_number_is_worked_out_from_is_no_answer(worked_out: str) -> None:
    assert Integer().parse(worked_out) == "48"
    assert Integer().parse(worked_out.partition(" = ")[0].partition(" is ")[0]) is None
