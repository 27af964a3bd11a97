"""The symbols that phones are written with, in an order that never changes.

A symbol's place is its id, and trained weights know symbols by id alone: add new ones at the end, move none.
Espeak-ng writes some sounds as several letters ("tʃ", "ɑːɹ", "n̩"). The ones of English are
symbols of their own; every other one is written with the symbols of its letters.

Source: the chart of the International Phonetic Alphabet (2020), and what espeak-ng 1.52 says for English.
"""

from hashlib import sha256

PAD = "<pad>"  # id 0
BOUNDARY = " "  # between words
PUNCTUATION = ',.?!;:—…"()'
STRESSES = "ˈˌ"  # primary and secondary, before the phone they stress

_VOWELS = "iyɨʉɯuɪʏʊeøɘɵɤoəɛœɜɞʌɔæɐaɶɑɒᵻɚɝ"
_CONSONANTS = "pbtdʈɖcɟkɡqɢʔmɱnɳɲŋɴʙrʀⱱɾɽɸβfvθðszʃʒʂʐçʝxɣχʁħʕhɦɬɮʋɹɻjɰlɭʎʟwɥʍɕʑɧɫɓɗʄɠʛʘǀǃǂǁ"
_MODIFIERS = "ːˑʲʰʷˤˠʼ˞\u0303\u0329\u032f\u032a\u030a\u0325"  # the last: nasal, syllabic, short, dental, voiceless
_ENGLISH = (
    "iː uː ɑː ɔː ɜː aː oː eɪ aɪ ɔɪ aʊ oʊ əʊ iə eə ɪə ʊə aɪə aɪɚ aʊə aʊɚ "
    "ɑːɹ ɔːɹ oːɹ ɪɹ ɛɹ ʊɹ əl n\u0329 m\u0329 l\u0329 tʃ dʒ"
)

SYMBOLS: tuple[str, ...] = (
    PAD, BOUNDARY, *PUNCTUATION, *STRESSES, *_VOWELS, *_CONSONANTS, *_MODIFIERS, *_ENGLISH.split(),
)  # fmt: skip
SYMBOL_IDS: dict[str, int] = {symbol: place for place, symbol in enumerate(SYMBOLS)}


def digest() -> str:
    """Eight hex digits that name the table."""
    return sha256("\n".join(SYMBOLS).encode()).hexdigest()[:8]
