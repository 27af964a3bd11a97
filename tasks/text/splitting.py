"""Text splitting: a text of any length, cut into segments that a model says in one breath.

A model that learnt from utterances of 10 to 20 s loses its text in longer ones, so a text is halved at the sentence
end nearest its middle until each segment is short enough; where a sentence is too long, at a comma, and else at a
blank. The text is said out first. Only then is a full stop a full stop, and not the end of
"Mr." or the middle of "$3.50".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.text.normalization import tidy, verbalize
from tasks.text.phonemization import Unspeakable, phonemize
from warehouse.errors import Mistake

LONGEST_TEXT = 100_000  # characters: about two hours of speech
LONGEST = 200  # characters of a segment, said out: about 13 s

_LONG_NUMBER = re.compile(r"\d{1000,}")  # a key or a hash that was pasted, rather than anything to be said
_PARAGRAPH = re.compile(r"\n\s*\n")
_ENDS = tuple(re.compile(rf"{mark}[\"')]*\s+") for mark in ("[.!?…]", "[,;:—)]", ""))  # the better place first
_PAUSES = {".!?…": 0.35, ",;:—)": 0.15}  # seconds behind a segment that ends so
_NAMED = 8  # strangers that a message names


@dataclass(frozen=True)
class Segment:
    """A part of a text."""

    text: str  # as it is spoken
    phones: tuple[str, ...]

    @property
    def pause(self) -> float:
        """Seconds of silence between it and the next."""
        last = self.text.rstrip("\"')")[-1:]
        return next((pause for ends, pause in _PAUSES.items() if last and last in ends), 0.0)


def segments(text: str, language: str = "en-us", longest: int = LONGEST) -> list[Segment]:
    """A text in segments, in order, each in phones. Punctuation that stands alone is no segment.

    Args:
        text: what is to be said; a blank line ends a sentence.
        language: as espeak-ng names it.
        longest: characters of a segment.

    Raises:
        Mistake: there is nothing to say, too much, or a part that has no phones.
    """
    if not text.strip():
        raise Mistake("there is nothing to say: the text is empty")
    if len(text) > LONGEST_TEXT:
        raise Mistake(f"the text has {len(text):,} characters, and {LONGEST_TEXT:,} can be said at once")
    if number := _LONG_NUMBER.search(text):
        digits = len(number[0])
        raise Mistake(
            f"the text has a number of {digits:,} digits, which are said one by one for {digits / 150:.0f} minutes; "
            "part them by spaces if that is meant"
        )
    found: list[Segment] = []
    strangers: dict[str, None] = {}
    for part in split(text, language, longest):
        try:
            said = phonemize(part, language)
            found.append(Segment(said.text_spoken, said.phones))
        except Unspeakable as refusal:
            if refusal.reason == "unknown_symbol":
                strangers |= dict.fromkeys(_printable(word) for word in str(refusal).split())
    if strangers:
        named = " ".join(list(strangers)[:_NAMED]) + (" …" if len(strangers) > _NAMED else "")
        raise Mistake(f"the text cannot be said whole: there are no phones of {language} for {named}")
    if not found:
        raise Mistake(f"there is nothing to say in {text.strip()[:40]!r}")
    return found


def split(text: str, language: str = "en-us", longest: int = LONGEST) -> list[str]:
    """A text said out, in parts of so many characters at most."""
    say = verbalize if language.partition("-")[0] == "en" else tidy
    return [part for paragraph in _PARAGRAPH.split(text) for part in _halved(say(paragraph), longest) if part]


def ids(phones: Sequence[str], symbols: Sequence[str]) -> NDArray[np.uint16]:
    """Places `[P]` of phones in a checkpoint's own table of symbols.

    Raises:
        Mistake: the table lacks one.
    """
    place = {symbol: i for i, symbol in enumerate(symbols)}
    if lacking := sorted({phone for phone in phones if phone not in place}):
        raise Mistake(f"the checkpoint knows no phone {lacking[0]!r}: its table of symbols lacks it")
    return np.array([place[phone] for phone in phones], np.uint16)


def _printable(word: str) -> str:
    """A word as a terminal may show it: a control character by its number."""
    return "".join(letter if letter.isprintable() else f"U+{ord(letter):04X}" for letter in word)


def _halved(text: str, longest: int) -> list[str]:
    text = text.strip()
    if len(text) <= longest:
        return [text]
    middle = _middle(text)
    return _halved(text[:middle], longest) + _halved(text[middle:], longest)


def _middle(text: str) -> int:
    """The best place to cut near the middle; in the middle of a word only where there is no other."""
    half = len(text) / 2
    for end in _ENDS:
        places = [found.end() for found in end.finditer(text)]
        central = [place for place in places if half / 2 <= place <= half * 3 / 2]
        if central:
            return min(central, key=lambda place: abs(place - half))
    return len(text) // 2
