"""Text in a plain form to look for answers in: what Unicode writes in several ways is written in one."""

import unicodedata
from typing import Final

from metaspo.backends.late_patterns import late_pattern

# Scripts that put no space between words (Unicode's line break class SA, and East Asia's ideographs and syllables).
SPACELESS: Final = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u309f"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
# Scripts that keep their own words together, and may stand right before or after another script's.
KATAKANA: Final = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
HANGUL: Final = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
_OTHER: Final = f"[{SPACELESS}{KATAKANA}{HANGUL}]"
# Where a word may begin, said after its first character, and where it may end.
AFTER_EDGE: Final = rf"(?:(?<![^\W_].)|(?<={_OTHER}.))"
BEFORE_EDGE: Final = rf"(?:(?![^\W_])|(?={_OTHER}))"

_SUPERSCRIPT: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_POWER: Final = late_pattern("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_THIN_GROUP: Final = late_pattern(r"(?<=\d)[\u00a0\u2007\u2009\u202f](?=\d{3}(?!\d))")
# The sign of a number, unlike a dash, even with a space behind it.
_MINUS: Final = late_pattern(r"\u2212\s+(?=[.\d$€£¥])")
_MIXED: Final = late_pattern(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_FOREIGN_DIGIT: Final = late_pattern(r"(?![0-9])\d")
_DASHES: Final = (
    "\u058a\u05be\u1400\u1806\u2010\u2011\u2012\u2013\u2014\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u2e5d\u301c"
    "\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d\U00010d6e\U00010ead\u2212\u02d7\u2796"
)
_INVISIBLE: Final = (
    0xAD,
    0x61C,
    0x180E,
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
)
_DROPPED: Final = dict.fromkeys(_INVISIBLE)
_SPECIAL: Final = {
    **_DROPPED,
    **dict.fromkeys(map(ord, _DASHES), "-"),
    **dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u00b4"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u00ab\u00bb"), '"'),
    ord("№"): "#",
    ord("\u2044"): "/",
    ord("\u066b"): ".",  # Arabic's decimal separator, and that of thousands
    ord("\u066c"): ",",
}
MOST: Final = 200_000
"""Characters of a text in which an answer is looked for: no model means to write more."""


def ends(text: str) -> str:
    """The text, or the beginning and the end of one that goes on for ever, cut between words."""
    if len(text) <= MOST:
        return text
    half = MOST // 2 - 1
    head, tail = text[:half].rsplit(maxsplit=1)[:1], text[-half:].split(maxsplit=1)[-1:]
    return "\n".join([*head, *tail])


def within_ascii(pattern: str) -> str:
    """What a pattern with these edges finds in a text of ASCII alone: `re` compiles the scripts for milliseconds."""
    return pattern.replace(AFTER_EDGE, r"(?<![^\W_].)").replace(BEFORE_EDGE, r"(?![^\W_])")


def words(text: str) -> frozenset[str]:
    """The words of a list, written in one string."""
    return frozenset(text.split())


def one_form(text: str) -> str:
    """The text with letters and accents composed (NFC) and without invisible characters: no other text looks the same
    for these."""
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_DROPPED))


def plain(text: str) -> str:
    """The text in compatibility form (NFKC): full-width letters, ligatures and fractions as ASCII writes them.

    All dashes and minus signs become "-", all digits ASCII's, superscript digits a power ("10⁶": "10^6"), narrow spaces
    within a number "_"; invisible characters go.
    """
    if text.isascii():
        return text
    text = _MINUS.sub("-", _THIN_GROUP.sub("_", text))
    text = _POWER.sub(lambda match: "^" + match[0].translate(_SUPERSCRIPT), text)
    text = _MIXED.sub(" ", text).translate(_SPECIAL)
    text = unicodedata.normalize("NFKC", text).translate(_SPECIAL)
    return _FOREIGN_DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), text)
