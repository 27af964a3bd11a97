"""Phonemization: text normalized, then spoken by espeak-ng's rules, in IPA.

Phonemizer does not give one output for one input where it preserves punctuation. An empty
text vanishes, "It cost $3.50." becomes two, and every text after it belongs to the wrong audio. So text is split
at punctuation here, each clause is phonemized alone, and the punctuation is put back by us. espeak-ng also says
something for whatever it is given ("chinese letter", "grinning face"); such texts are refused and not learned.

Source: phonemizer 3.4 (Bernard and Titeux 2021) over espeak-ng 1.52.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from tasks.text import symbols
from tasks.text.normalization import tidy, verbalize
from tasks.text.symbols import BOUNDARY, PUNCTUATION, SYMBOL_IDS
from warehouse.errors import Mistake

ENGLISH = "en-us"
OWN = "auto"  # each text in a language of its own

_MARK = re.compile(f"([{re.escape(PUNCTUATION)}])")

_ESPEAK = {"en": ENGLISH, "fr": "fr-fr", "pt": "pt-br"}  # ISO 639-1, where espeak-ng's name is another

_PART = re.compile(f"[{symbols.STRESSES}]|[^_{symbols.STRESSES}]+")  # espeak-ng puts _ between phones

_SILENT = frozenset((BOUNDARY, *PUNCTUATION))


@dataclass(frozen=True)
class Spoken:
    """A text as it is spoken."""

    text_spoken: str
    phones: tuple[str, ...]  # symbols: phones, stress before the phone it is on, word boundaries, punctuation
    phone_ids: tuple[int, ...]  # their places in `tasks.text.symbols.SYMBOLS`


class Unspeakable(ValueError):
    """A text that cannot be said whole; `reason` is a code for `dropped`, the message its detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def phonemize(text: str, language: str = ENGLISH) -> Spoken:
    """A text as it is spoken: said out (where it is English), then in phones.

    Raises:
        Unspeakable: `not_speakable` where there is nothing to say, `unknown_symbol` where a part of it has no
            symbol; the message names that part, for nothing is left out in silence.
        Mistake: espeak-ng has no such language.
    """
    english = language.partition("-")[0] == "en"
    said = verbalize(text) if english else tidy(text)
    _refuse_strangers(character for character in said if not _speakable(character, english))
    phones = _phones(said, language)
    if _SILENT.issuperset(phones):
        raise Unspeakable("not_speakable", f"nothing to say in {text!r}")
    _refuse_strangers(phone for phone in phones if phone not in SYMBOL_IDS)
    return Spoken(said, tuple(phones), tuple(SYMBOL_IDS[phone] for phone in phones))


def _refuse_strangers(strangers: Iterable[str]) -> None:
    """A text with any part that has no symbol is refused whole, and each such part is named once."""
    if named := sorted(set(strangers)):
        raise Unspeakable("unknown_symbol", " ".join(named))


@lru_cache(maxsize=4096)
def _speakable(character: str, english: bool) -> bool:
    """Whether espeak-ng says this character as a reader of the language would."""
    if character in _SILENT or character in "'-":
        return True
    if unicodedata.category(character)[0] not in "LM":
        return not english and character.isdecimal()
    return not english or unicodedata.name(character, "").startswith(("LATIN", "COMBINING"))


def _phones(said: str, language: str) -> list[str]:
    """Phones of a tidy text, with its punctuation where it stood and one boundary between words."""
    phones: list[str] = []
    for piece in _MARK.split(said):
        if piece in PUNCTUATION:
            phones.extend(piece)
            continue
        if piece.startswith(" ") and phones:
            phones.append(BOUNDARY)
        clause = _clause(piece.strip(), language)
        if not clause and any(map(str.isalpha, piece)):
            raise Unspeakable("unknown_symbol", piece.strip())
        phones.extend(clause)
        if clause and piece.endswith(" "):
            phones.append(BOUNDARY)
    return phones[:-1] if phones[-1:] == [BOUNDARY] else phones


def _clause(text: str, language: str) -> list[str]:
    """Phones of a clause without punctuation; words that espeak-ng runs together stay together."""
    from phonemizer.separator import Separator

    answers = backend(language).phonemize([text], separator=Separator(phone="_", word=" "), strip=True)
    assert len(answers) == 1, f"phonemizer gave {len(answers)} answers to {text!r}"
    phones: list[str] = []
    for word in answers[0].split():
        phones.append(BOUNDARY)
        for part in _PART.findall(word):
            phones.extend((part,) if part in SYMBOL_IDS else part)
    return phones[1:]


def espeak_name(language: str, own: str | None) -> str:
    """espeak-ng's name of the language that a text is said in: the one of `phones.language`, or for `auto` its own.

    Args:
        language: as espeak-ng names it, or `auto`.
        own: of the text, ISO 639-1; null where it is not known, which is taken for English.
    """
    return language if language != OWN else _ESPEAK.get(own or "en", own or ENGLISH)


@cache
def backend(language: str) -> Any:
    """espeak-ng for a language, once per process: each one costs 5 MB that are never given back."""
    import logging

    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    from tasks.text import espeak

    EspeakWrapper.set_library(espeak.library_path())
    EspeakWrapper.set_data_path(espeak.data_path())
    quiet = logging.getLogger("phonemizer.quiet")
    quiet.setLevel(logging.ERROR)  # it warns of every foreign word; their phones are kept all the same
    try:
        return EspeakBackend(language, with_stress=True, language_switch="remove-flags", logger=quiet)
    except RuntimeError as error:
        raise Mistake(f"phones.language: {error}") from error
