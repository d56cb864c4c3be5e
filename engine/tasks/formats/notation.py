"""Numbers as they are written: signs, separators, fractions, exponents, currency; what stands for one, in one form."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.formats.beside_numbers import COMPOUND, CURRENCY, WORKED_OUT, is_bound, joint_after
from metaspo.engine.tasks.formats.denials import denied
from metaspo.engine.tasks.formats.mentions import Mention, announced, corrections, opens_clause, settled
from metaspo.engine.tasks.formats.plain import HANGUL, KATAKANA, SPACELESS

LONGEST: Final = 4000  # digits: beyond, Python's own conversions refuse
_COUNTED: Final = (
    "step",
    "question",
    "example",
    "problem",
    "section",
    "chapter",
    "figure",
    "item",
    "line",
    "row",
    "第",
)
_CURRENT: Final = frozenset(CURRENCY)
_BEGINS: Final = late_pattern(
    rf"[0-9](?:(?<![^\W_].)(?<![.^].)|(?<=[{SPACELESS}{KATAKANA}{HANGUL}].)|(?<=(?<![^\W_.])\..))"
)
_PREFIX: Final = late_pattern(
    rf"(?:(?<![\w.,)])(?:(?P<sign>[-+])\s?(?=[{CURRENCY}])|(?P<near>[-+])\(?)|(?i:\b(?P<word>minus|negative)\s+)"
    r"|(?:(?<=[=:{($])[ \t]*|(?i:(?<=\bis\s)|(?<=\bequals\s)|(?<=\bbe\s)))(?P<far>[-+])[ \t]+)?"
    rf"(?:[{CURRENCY}]\s?)?(?P<dot>\.)?\Z"
)
_BARE_PREFIX: Final = (" ", "\n", "\t", "(", "*", "=", ":", '"')
_FUNCTIONS: Final = ("sqrt", "sin", "cos", "tan", "log", "ln", "exp")
_SPEAKING: Final = (
    *("minus", "negative", "-", "+", "-(", "√", "∛", "π", *CURRENCY),
    *(f"{name}{opening}" for name in _FUNCTIONS for opening in ("", "(", " (")),
)
_SIMPLE: Final = late_pattern(
    r"[0-9]++(?=[.,!?]?(?:\Z|\s++(?![0-9/x×*·⋅∙√∛π百千万萬億亿백천만억\\]|hundred|thousand|lakh|million|crore|billion|trillion)))"
)
_NUMBER: Final = late_pattern(
    r"""
    (?!0[xXbB][0-9A-Fa-f])(?:
      (?:(?P<whole>[0-9]{1,4})\s)?(?P<upper>[0-9]++)\s?/\s?(?P<lower>[0-9]++)(?![.,]?[0-9]|\s?/\s?[0-9])
    | (?P<dotted>[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]++|[0-9]{1,3}(?:\.[0-9]{3}){2,}
        |[0-9]{1,3}(?:\ [0-9]{3})+,[0-9]++)(?![.,\ ]?[0-9])
    | (?P<digits>(?!0)[0-9]{1,3}(?P<by>[,_'\ ])[0-9]{3}(?:(?P=by)[0-9]{3})*(?![,_'\ ]?[0-9]|-\w)
        |[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?!,?[0-9])|[0-9]++)(?:\.(?P<decimals>[0-9]++))?(?!\.[0-9])
    )
    (?: [eE](?P<exponent>[-+]?[0-9]++)(?!\w)
      | \s?(?:[x×*·⋅∙]|\\times|\\cdot)\s?10(?:\^|\*\*)\{?(?P<tens>[-+]?[0-9]++)\}?
      | (?:\^|\*\*)\{?(?P<power>-?[0-9]++)(?![.,/]?[0-9])\}?
    )?
    (?:\s(?i:(?P<large>hundred|thousand|lakh|million|crore|billion|trillion)s?)\b
      |\s?(?P<myriad>百(?!分)|千(?![克米瓦卡焦赫帕伏安牛])|[万萬億亿]|[백천만억](?![^\W\d_원명개]))
    )?
    """,
    re.VERBOSE,
)
_UNREADABLE: Final = late_pattern(r"[0-9.,]+")
_MYRIADS: Final = {"百백": 2, "千천": 3, "万萬만": 4, "億亿억": 8}
_LARGE: Final = {
    **{sign: zeros for signs, zeros in _MYRIADS.items() for sign in signs},
    "": 0,
    "hundred": 2,
    "thousand": 3,
    "lakh": 5,
    "million": 6,
    "crore": 7,
    "billion": 9,
    "trillion": 12,
}
# What makes a number a part of another that is not read here: roots, pi, functions, powers and fractions of such.
_WITHIN: Final = late_pattern(
    rf"(?:[√∛π]|\\(?:sqrt|pi)\b(?:\[\w*\])?|\}}\{{|\b(?:{'|'.join(_FUNCTIONS)})\b)[\s({{/*·×]*\Z", re.IGNORECASE
)
_GOES_ON: Final = late_pattern(
    r"\s?[*·×/]?\s?(?:[√∛π]|\\(?:pi|sqrt)\b)|\^[({\\]*[-+]?[\w.]|\*\*[-+]?\.?[0-9]|\)\s?(?:\^|\*\*)|\.\([0-9]|\}\{|[0-9万萬億亿兆]|[백천만억]{2}"
)
_SHORT: Final = late_pattern(r"(?:(k)|(mn?)|(bn?)|(tn?))\b", re.IGNORECASE)  # of an amount of money: "$1.5M"
_TEX: Final = late_pattern(
    r"(?P<after>[0-9]?)\\[dt]?frac(?:\{\s*(?P<upper>-?[0-9]+)\s*\}\{\s*(?P<lower>[0-9]+)\s*\}|(?P<one>[0-9])(?P<two>[0-9]))"
    r"|(?<=[0-9])(?:\{,\}|\\[,!:;])(?=[0-9]{3})|(?P<sign>-)\\[,!:; ]\s*"
)


@dataclass(frozen=True, slots=True)
class Numeral:
    """A number in a text.

    Attributes:
        start, end: where its characters stand, sign and currency before it included.
        value: in canonical form, of any length: "1234", "-0.5", "1/3"; None where it cannot be read.
    """

    start: int
    end: int
    value: str | None


def given_number(text: str) -> Numeral | None:
    """The number that a plain text announces as its answer, else its first that is not denied nor part of a list.

    One that only counts steps, questions or list items is taken where there is no other. None also where several
    different ones are announced.
    """
    first: Numeral | None = None
    counting: Numeral | None = None
    announcing = "nswer" in text or "NSWER" in text or "boxed" in text or "olution" in text or "####" in text
    announcing = announcing or not text.isascii()
    spoken: dict[str | None, Numeral] = {}
    for numeral in _settled(text):
        if first is None and not _denied(text, numeral):
            if _counts(text, numeral):
                counting = counting or numeral
            elif not announcing:
                return numeral
            else:
                first = numeral
        if announcing and announced(text, Mention("", numeral.start, numeral.end)) and not _denied(text, numeral):
            spoken.setdefault(numeral.value, numeral)
    if spoken:
        return next(iter(spoken.values())) if len(spoken) == 1 else None
    return first or counting


def _settled(text: str) -> Iterator[Numeral]:
    """The numbers outside of lists that the text's corrections leave standing."""
    if not corrections(text, len(text)):
        yield from _unlisted(text)
        return
    numerals = {numeral.start: numeral for numeral in _unlisted(text)}
    said = [each for each in numerals.values() if not _denied(text, each) and not _counts(text, each)]
    mentions = [
        Mention(each.value or "", each.start, each.end, each.start < 20 and opens_clause(text, each.start, each.end))
        for each in said
    ]
    standing = settled(text, mentions)
    yield from (numerals[mention.start] for mention in standing) if said else numerals.values()


def _counts(text: str, numeral: Numeral) -> bool:
    """Whether a number is that of a step, a question, a list item, or of a name: "Step 1", "2) 40", "GPT-4"."""
    before = text[max(0, numeral.start - 12) : numeral.start].rstrip(" #")
    if text.startswith(")", numeral.end) and (not before or before.endswith("\n")):
        return True
    return before[-8:].lower().endswith(_COUNTED) or (before[-1:] == "-" and before[-2:-1].isalpha())


def _denied(text: str, numeral: Numeral) -> bool:
    return denied(text, numeral.start, numeral.end, number=True) is not None or is_bound(
        text, numeral.start, numeral.end
    )


def without_tex(text: str) -> str:
    r"""The text with TeX's fractions and separators of thousands as they are typed: "\frac{1}{2}" is "1/2"."""
    return _TEX.sub(_typed, text) if "\\" in text or "{,}" in text else text


def _typed(match: re.Match[str]) -> str:
    if match["after"] is None:
        return match["sign"] or ","
    upper, lower = match["upper"] or match["one"], match["lower"] or match["two"]
    return f"{match['after']}{' ' * bool(match['after'])}{upper}/{lower}"


def number_in(text: str) -> Numeral | None:
    """The number that a plain text begins with."""
    begin = _BEGINS.search(text)
    numeral = _numeral(text, begin.start()) if begin else None
    return numeral if numeral and numeral.start == 0 else None


def as_text(value: Fraction) -> str:
    """A decimal where there is an exact one, else a fraction."""
    twos = (value.denominator & -value.denominator).bit_length() - 1
    rest, fives = value.denominator >> twos, 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1 or places > LONGEST:
        return str(value)
    digits = str(abs(value.numerator) * 10**places // value.denominator)
    return _shifted(digits, "", -places, negative=value < 0)


def _unlisted(text: str) -> Iterator[Numeral]:
    """Every number that does not stand in a range, a sum or a list of different ones."""
    position = 0
    while begin := _BEGINS.search(text, position):
        numeral = _numeral(text, begin.start())
        in_list = False
        while not _counts(text, numeral) and (joint := joint_after(text, numeral.start, numeral.end)):
            begin = _BEGINS.search(text, numeral.end)
            following = _numeral(text, begin.start()) if begin else None
            if following is None or following.start > joint.end():
                break
            worked_out = joint.re.pattern == COMPOUND.pattern or WORKED_OUT.match(joint[0]) is not None
            in_list = in_list or following.value != numeral.value or worked_out
            numeral = following
        position = numeral.end
        if not in_list:
            yield numeral


def _numeral(text: str, start: int) -> Numeral:
    """The number whose first digit stands at `start`."""
    before = text[max(0, start - 10) : start].lower()
    if before and not (before[-1] in _BARE_PREFIX and not before.rstrip().endswith(_SPEAKING)):
        prefix = _PREFIX.search(text, max(0, start - 12), start)
    else:
        prefix = None
        if simple := _SIMPLE.match(text, start):
            return Numeral(start, simple.end(), simple[0].lstrip("0") or "0")
    match = _NUMBER.match(text, start)
    if match is None:
        return Numeral(start, _UNREADABLE.match(text, start).end(), None)  # type: ignore[union-attr]
    if _GOES_ON.match(text, match.end()) or (before and _WITHIN.search(text, max(0, start - 12), start)):
        return Numeral(start, match.end(), None)
    if prefix is None:
        return Numeral(start, match.end(), _value(match, negative=False, fraction=False))
    negative = "-" in (prefix["sign"], prefix["near"], prefix["far"]) or prefix["word"] is not None
    end, shift = match.end(), 0
    if not _CURRENT.isdisjoint(prefix[0]) and (short := _SHORT.match(text, end)):
        end, shift = short.end(), 3 * (short.lastindex or 0)
    fraction = prefix["dot"] is not None
    return Numeral(prefix.start(), end, _value(match, negative=negative, fraction=fraction, shift=shift))


def _value(match: re.Match[str], *, negative: bool, fraction: bool, shift: int = 0) -> str | None:
    """In canonical form, times ten to the power of `shift`; with `fraction` a decimal point stands before it."""
    shift += _exponent(match["exponent"] or match["tens"]) + _LARGE[(match["large"] or match["myriad"] or "").lower()]
    if abs(shift) > LONGEST:
        return None
    if match["upper"] or match["power"]:
        both = match["upper"] and match["power"]
        value = None if fraction or both else _fraction(match) if match["upper"] else _power(match)
        return None if value is None else as_text((-value if negative else value) * Fraction(10) ** shift)
    if match["dotted"]:
        digits, _, decimals = match["dotted"].replace(".", "").replace(" ", "").partition(",")
    else:
        digits, decimals = match["digits"].translate(_SEPARATORS), match["decimals"] or ""
    if fraction:
        digits, decimals = "", digits + decimals
    return _shifted(digits, decimals, shift, negative=negative)


_SEPARATORS: Final = str.maketrans("", "", ",_' ")


def _fraction(match: re.Match[str]) -> Fraction | None:
    """A fraction or a mixed number; None where it divides by zero or is huge."""
    if max(len(match["upper"]), len(match["lower"])) > LONGEST // 2 or not match["lower"].strip("0"):
        return None
    return int(match["whole"] or 0) + Fraction(int(match["upper"]), int(match["lower"]))


def _power(match: re.Match[str]) -> Fraction | None:
    base, power = match["digits"] or "", _exponent(match["power"])
    if match["decimals"] or not base.isdigit() or len(base) * abs(power) > LONGEST // 4:
        return None
    return None if not base.strip("0") and power < 0 else Fraction(int(base)) ** power


def _exponent(written: str | None) -> int:
    return 0 if written is None else int(written) if len(written) < 7 else LONGEST + 1


def _shifted(digits: str, decimals: str, shift: int, *, negative: bool) -> str:
    # Stays text throughout: `int` refuses very long numbers, and a parser must not fail on any answer.
    if shift > 0:
        digits, decimals = digits + decimals[:shift].ljust(shift, "0"), decimals[shift:]
    elif shift < 0:
        digits = digits.rjust(-shift, "0")
        digits, decimals = digits[:shift], digits[shift:] + decimals
    digits, decimals = digits.lstrip("0") or "0", decimals.rstrip("0")
    number = f"{digits}.{decimals}" if decimals else digits
    return f"-{number}" if negative and number != "0" else number
