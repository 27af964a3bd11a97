"""Text normalization: English as it is said: numbers, money, years, Roman numerals and abbreviations in words.

What is written tells less than it seems. "1500" is a year or a number of men and is
read the same way, "Chapter I" holds a numeral and "this chapter I wrote" does not, and a text wholly in capitals
(LibriSpeech's) is not shouted but merely printed so. Where the page does not say, the commoner reading is taken.

Every rule is a pattern and what to say for it, applied in order; only letters, apostrophes, hyphens and
punctuation remain. Source: num2words for the words of numbers, and the rules it lacks.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

_Match = re.Match[str]
_SAME = str.maketrans(
    {"‘": "'", "’": "'", "ʼ": "'", "´": "'", "`": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'}
    | {"–": "-", "‒": "-", "‑": "-", "−": "-", "―": "—", "[": "(", "{": "(", "]": ")", "}": ")", "¿": "", "¡": ""}
    | dict.fromkeys("*_~^|♪♫♬♩\u00ad\u200b\u200c\u200d\ufeff", " ")  # marks on the page that nobody says
)
_LONGEST = 15  # digits of a number that is said as one
_MIXED = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞])")  # 3½ is three and a half, not thirty-one over two


def tidy(text: str) -> str:
    """A text in any language with one form of each mark, and single blanks; it says the same."""
    text = unicodedata.normalize("NFKC", _MIXED.sub(" and ", text.translate(_SAME))).translate(_SAME)
    text = re.sub(r"-{2,}|(?<!\S)-(?=\s|$)|(?<=\D)-(?=\s|$)", " — ", text.replace("⁄", "/"))
    text = re.sub(r"\s+(?=[,.?!;:)…](?!\d))", "", " ".join(text.split()))
    return re.sub(r"\.{2,}|[.…]*…[.…]*", "…", text)


def verbalize(text: str) -> str:
    """English text as it is said, without a digit: "Chapter IV cost $3.50." costs three dollars and fifty cents."""
    text = tidy(text)
    in_capitals = text.isupper() and sum(map(str.isalpha, text)) > 3
    for pattern, say in _RULES:
        text = pattern.sub(say, text)
    return tidy(text.lower() if in_capitals else text)  # in capitals, "US" and "IT" would be spelled


@lru_cache(maxsize=4096)
def _words(number: int, kind: str = "cardinal") -> str:
    """A number in words, as num2words says it but without commas: kind is cardinal, ordinal or year."""
    from num2words import num2words

    return str(num2words(number, lang="en", to=kind)).replace(",", "")


def _digits(digits: str) -> str:
    """Digits one by one: "007" is zero zero seven."""
    return " ".join(_words(int(digit)) for digit in digits)


def _integer(digits: str) -> str:
    """A whole number in words, with or without commas; digit by digit where nobody says it otherwise."""
    digits = digits.replace(",", "")
    if len(digits) > _LONGEST or (len(digits) > 1 and int(digits[0]) == 0):
        return _digits(digits)
    return _words(int(digits))


def _number(match: _Match) -> str:
    """3.50 is three point five zero; .5 is point five."""
    whole, *parts = match[0].split(".")
    words = [_integer(whole)] if whole else []
    return " ".join([*words, *(f"point {_digits(part)}" for part in parts)])


def _year(match: _Match) -> str:
    return _words(int(match[0]), "year")


def _decade(match: _Match) -> str:
    """1890s are the eighteen nineties, 1900s the nineteen hundreds."""
    words = _words(int(match[1]), "year") if len(match[1]) == 4 else _words(int(match[1]))
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def _ordinal(match: _Match) -> str:
    """21st is twenty-first; of a number that nobody says as one, the last digit alone is an ordinal."""
    digits = match[1].replace(",", "")
    if len(digits) > _LONGEST:
        return f"{_digits(digits[:-1])} {_words(int(digits[-1]), 'ordinal')}"
    return _words(int(digits), "ordinal")


_COINS = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
}


def _money(match: _Match) -> str:
    """$3.50 is three dollars and fifty cents; $2.5 million is two point five million dollars."""
    one, many, small, smalls = _COINS[match["coin"]]
    whole, part, scale = match["whole"], match["part"], match["scale"]
    if scale or (part and len(part) != 2):
        amount = _integer(whole) + (f" point {_digits(part)}" if part else "")
        return " ".join(filter(None, (amount, scale, many)))
    large = f"{_integer(whole)} {one if whole == '1' else many}"
    if not part or int(part) == 0:
        return large
    change = f"{_words(int(part))} {small if int(part) == 1 else smalls}"
    return change if not any(map(int, whole.replace(",", ""))) else f"{large} and {change}"


def _clock(match: _Match) -> str:
    """3:05 is three oh five; 3:00 is three o'clock, but three where a.m. or p.m. follows."""
    hours, minutes = _words(int(match[1])), int(match[2])
    if minutes == 0:
        return hours if match[3] else f"{hours} o'clock"
    return f"{hours} oh {_words(minutes)}" if minutes < 10 else f"{hours} {_words(minutes)}"


def _half_day(match: _Match) -> str:
    letter = match[1] or match[2] or match[3]
    return f" {letter.upper()}-M" + _full_stop(match)


def _fraction(match: _Match) -> str:
    """3/4 is three quarters; what is no proper fraction is two numbers."""
    above, below = int(match[1]), int(match[2])
    if not 0 < above < below:
        return f"{match[1]} {match[2]}"
    part = {2: "half", 4: "quarter"}.get(below) or _words(below, "ordinal")
    return f"{_words(above)} {part}" + ("s" if above > 1 else "")


_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_NUMERAL = r"(?=[CLXVI])C{0,3}(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?<=[CLXVI])"


def _roman(numeral: str) -> int:
    """XIV is 14: a smaller letter before a larger one counts against it."""
    values = [_ROMAN[letter] for letter in numeral]
    return sum(value if value >= after else -value for value, after in zip(values, [*values[1:], 0], strict=True))


def _heading(match: _Match) -> str:
    return f"{match[1]} {_words(_roman(match[2]))}"


def _regnal(match: _Match) -> str:
    return f"{match[1]} the {_words(_roman(match[2]), 'ordinal')}"


def _full_stop(match: _Match) -> str:
    """A point that ended an abbreviation ends the sentence too, where nothing but closing marks follows."""
    return "." if match[0].endswith(".") and not match.string[match.end() :].strip('")') else ""


_LONG = {
    "Mr": "Mister", "Mrs": "Missus", "Messrs": "Messieurs", "Mme": "Madame", "Mlle": "Mademoiselle", "Dr": "Doctor",
    "Prof": "Professor", "Rev": "Reverend", "Hon": "Honorable", "Capt": "Captain", "Col": "Colonel", "Gen": "General",
    "Lt": "Lieutenant", "Lieut": "Lieutenant", "Sgt": "Sergeant", "Maj": "Major", "Gov": "Governor", "Sen": "Senator",
    "Pres": "President", "Supt": "Superintendent", "Jr": "Junior", "Sr": "Senior", "Esq": "Esquire", "Bros": "Brothers",
    "Co": "Company", "Inc": "Incorporated", "Ltd": "Limited", "Corp": "Corporation", "Mt": "Mount", "Ft": "Fort",
    "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Ms": "Miz", "etc": "et cetera", "viz": "namely",
    "vs": "versus", "e.g": "for example", "i.e": "that is", "&c": "et cetera",
}  # fmt: skip
_BEFORE_A_NUMBER = {
    "No": "Number", "no": "number", "Nos": "Numbers", "Vol": "Volume", "vol": "volume", "Ch": "Chapter", "p": "page",
    "pp": "pages", "Fig": "Figure", "Jan": "January", "Feb": "February", "Mar": "March", "Apr": "April",
    "Aug": "August", "Sept": "September", "Sep": "September", "Oct": "October", "Nov": "November", "Dec": "December",
}  # fmt: skip


def _long(match: _Match) -> str:
    return _LONG[match[1]] + _full_stop(match)


def _street_or_saint(match: _Match) -> str:
    """St. and Dr. before a name are a person's, after one a road's."""
    before_a_name = re.match(r"\s[A-Z]", match.string[match.end() :])
    after_a_name = re.search(r"[A-Z]\w+ $", match.string[: match.start()])
    if match[1] == "St":
        return "Saint" if before_a_name else "Street" + _full_stop(match)
    return "Drive" + _full_stop(match) if after_a_name and not before_a_name else "Doctor"


def _letters(match: _Match) -> str:
    """U.S.A. is three letters; hyphens keep its last from being read as an article."""
    return "-".join(re.findall("[A-Z]", match[0])) + _full_stop(match)


def _alternatives(words: dict[str, str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_HEADINGS = "Chapter|Book|Part|Volume|Vol\\.|Act|Scene|Canto|Section|Letter|Article|Appendix|Psalm|Stave|Lecture|War"
_TITLES = "King|Queen|Pope|Emperor|Empress|Tsar|Czar|Kaiser|Sultan"
_RULERS = (
    "Henry|George|Charles|Edward|James|William|Richard|Elizabeth|Mary|Louis|Philip|Napoleon|Frederick|Ferdinand"
    "|Francis|Alexander|Nicholas|Peter|Catherine|Ivan|Leopold|Otto|Gustavus|Christian|Pius|Leo|Gregory|Innocent"
    "|Clement|Benedict|Paul|John|Urban|Boniface|Ramses|Ptolemy|Darius|Xerxes|Alfonso|Victor Emmanuel"
)
_INTEGER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"

_RULES: tuple[tuple[re.Pattern[str], Callable[[_Match], str] | str], ...] = (
    (re.compile(rf"\b({_HEADINGS}) ({_NUMERAL})\b(?!['.]\w)"), _heading),
    (re.compile(rf"\b({_HEADINGS.upper()}) (I(?=[^\w\s']|$)|(?!I\b){_NUMERAL})\b"), _heading),
    (re.compile(rf"\b((?:{_TITLES}) [A-Z][a-z]+) ({_NUMERAL})\b"), _regnal),
    (re.compile(rf"\b({_RULERS}) (I(?=[,.;:?!)]|$|'s\b| of\b)|(?!I\b){_NUMERAL})\b"), _regnal),
    (re.compile(rf"\b({_alternatives(_BEFORE_A_NUMBER)})\.? ?(?=\d)"), lambda match: _BEFORE_A_NUMBER[match[1]] + " "),
    (re.compile(r"\b(St|Dr)\."), _street_or_saint),
    (re.compile(r"\b(Mr|Mrs|Messrs|Dr)\b(?!\.)"), _long),
    (re.compile(rf"(?<![\w.])({_alternatives(_LONG)})\."), _long),
    (re.compile(r"\b(?:[A-Z]\. ?)+[A-Z]\."), _letters),
    (re.compile(r"\b([B-HJ-Z])\.(?= [A-Z])"), r"\1"),
    (re.compile(rf"(?P<coin>[$£€]) ?(?P<whole>{_INTEGER})(?:\.(?P<part>\d+))?"
                r"(?: (?P<scale>hundred|thousand|million|billion|trillion)\b)?"), _money),
    (re.compile(r"(?<=\d) ?([ap])m\b|(?<![\w.]) ?([ap])\.m\.|(?<=\d) ?([ap])\.m\.", re.IGNORECASE), _half_day),
    (re.compile(r"(?<![\d:.,])([01]?\d|2[0-4]):([0-5]\d)(?![\d:])(?=( [AP]-M)?)"), _clock),
    (re.compile(r"(?<![\d/.,])(\d{1,2})/(\d{1,3})(?![\d/])"), _fraction),
    (re.compile(rf"\b({_INTEGER})(?:st|nd|rd|th)\b", re.IGNORECASE), _ordinal),
    (re.compile(r"'?\b(\d{2}|\d{4})'?s\b"), _decade),
    (re.compile(r"(?<=\d)-(?=\d)"), " to "),
    (re.compile(r"(?<!\S)-(?=[\d.])"), "minus "),
    (re.compile(r"(?<=[^\W\d])(?=\d)|(?<=\d)(?=[^\W\d])"), " "),
    (re.compile(r"(?<![\d.,#])\b(?:10(?!00)\d\d|1[1-9]\d\d|20[1-9]\d)\b(?!,\d|\.\d)"), _year),
    (re.compile(r"# ?(?=\d)"), " number "),
    (re.compile(rf"{_INTEGER}(?:\.\d+)*|(?:\.\d+)+"), _number),
    (re.compile(r"&"), " and "),
    (re.compile(r"@"), " at "),
    (re.compile(r"%"), " percent "),
    (re.compile(r"\+"), " plus "),
    (re.compile(r"="), " equals "),
    (re.compile(r"×"), " times "),
    (re.compile(r"°"), " degrees "),
    (re.compile(r"¢"), " cents "),
    (re.compile(r"[/\\#<>]"), " "),
)  # fmt: skip
