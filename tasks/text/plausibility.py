"""Plausibility: what is odd about a text, by itself and against the seconds in which it is said.

A recogniser that loses the speech does not fall silent. It loops, or it writes what stood under
its training videos ("Thank you for watching"), fluently and with a high probability, so neither shows in
`avg_logprob`. A text of the corpus's own can be as wrong for training: LibriVox's readers all say the same sentences
before and after each chapter, and one text can belong to other audio.

A doubt is a flag and no verdict: nothing is dropped for it here. A recipe that wants to drops in `examples.where`:
`("loops", "not list_contains(transcripts.flags, 'repeats')")`.

Sources: share of different words and length of a word, NeMo Speech Data Processor's `DetectWhisperHallucination`;
40 characters a second, NeMo Curator; phrases, Barański et al. 2025 (arXiv:2501.11378) and openai/whisper's
discussion 928; LibriVox's own disclaimer.
"""

import re

MAX_CHARS_PER_SECOND = 40.0  # about 400 words a minute; readers of LibriSpeech say 6 to 20
MIN_CHARS_PER_SECOND = 4.0  # about 40 words a minute: most of the speech is not in the text
MIN_SECONDS_FOR_SLOW = 2.0  # in less, one short word between pauses is no doubt
MAX_WORD_CHARS = 24  # a longer one is a loop without spaces, or an address
MAX_SAME_SHARE = 0.4  # different words over all words, at most this: few
MIN_TIMES, MIN_REPEATED_WORDS = 3, 4  # "never, never, never" is rhetoric; four times, or a phrase thrice, is a loop
MAX_TOKENS = 224  # of one window of Whisper: a text this long was cut off and has no end

UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "my"})  # ISO 639-1: no spaces between words, so none to count

WHOLE_PHRASES = frozenset({"you", "thank you", "thank you very much", "thanks", "bye", "bye bye"})
"""What Whisper writes for noise; known by being all of a text, since people say it, too."""

PHRASES = re.compile(
    r"\b(thanks? (?:you )?(?:so much |very much )?for (?:watching|listening|viewing)"
    r"|(?:please |like and |don t forget to )+subscribe|subscribe to (?:my|our|the) channel"
    r"|see you in the next video"
    r"|subtitles? (?:by|created by|provided by)|captions? (?:by|provided by)|transcri(?:ption|pts?) (?:by|provided by)"
    r"|amara org|otter ai|castingwords|opensubtitles|mooji org)\b"
)
"""What stood under the videos that Whisper learnt from, wherever in a text."""

BOILERPLATE = re.compile(
    r"\b(libri ?vox|recordings? (?:is|are) in the public domain"
    r"|for more information or to (?:find out how to )?volunteer"
    r"|(?:recorded|recording|read for you) by [a-z]+|end of (?:chapter|section|part|book) (?:[a-z]+|\d+))\b"
)
"""What LibriVox's readers say around the book: https://wiki.librivox.org/index.php/How_To_LibriVox"""


def hallucination_flags(
    text: str, seconds: float, *, language: str | None = "en", num_tokens: int | None = None
) -> list[str]:
    """What is odd about a text, in a fixed order; empty where nothing is.

    `repeats`       a phrase of n words stands k times in a row, with k >= 3 and n * k >= 4
    `few_words`     at most 0.4 of its words are different ones
    `long_word`     a word of 25 characters or more
    `too_fast`      more than 40 characters a second
    `too_slow`      fewer than 4 characters a second, over 2 s or more
    `known_phrase`  what Whisper writes for noise
    `boilerplate`   what LibriVox's readers say around the book
    `unfinished`    Whisper's 224 tokens were used up before the text had an end

    Args:
        text: as heard, or as the corpus has it.
        seconds: of the speech.
        language: ISO 639-1; words and pace are not judged where it writes no spaces.
        num_tokens: of the decoding, where there was one.
    """
    words = plain(text).split()
    pace = chars_per_second(text, seconds)
    spaced = language not in UNSPACED
    found = {
        "repeats": spaced and repeats(words),
        "few_words": spaced and bool(words) and len(set(words)) / len(words) <= MAX_SAME_SHARE,
        "long_word": spaced and any(len(word) > MAX_WORD_CHARS for word in words),
        "too_fast": spaced and pace is not None and pace > MAX_CHARS_PER_SECOND,
        "too_slow": spaced and pace is not None and seconds >= MIN_SECONDS_FOR_SLOW and pace < MIN_CHARS_PER_SECOND,
        "known_phrase": " ".join(words) in WHOLE_PHRASES or PHRASES.search(" ".join(words)) is not None,
        "boilerplate": BOILERPLATE.search(" ".join(words)) is not None,
        "unfinished": num_tokens is not None and num_tokens >= MAX_TOKENS,
    }
    return [name for name, is_so in found.items() if is_so]


def plain(text: str) -> str:
    """Its words in small letters, a space between two; an apostrophe is a space, a full stop in an address, too."""
    return " ".join(re.findall(r"\w+", text.lower()))


def chars_per_second(text: str, seconds: float) -> float | None:
    """Characters with their spaces and punctuation over the seconds; null of no seconds."""
    return len(text.strip()) / seconds if seconds > 0 else None


def repeats(words: list[str]) -> bool:
    """Whether a phrase of n words stands k times in a row, with k >= 3 and n * k >= 4.

    A run of m places where a word equals the one n places on is a phrase of n words that goes on for m + n words.
    """
    for size in range(1, len(words) // MIN_TIMES + 1):
        needed = max(MIN_TIMES * size, MIN_REPEATED_WORDS)
        run = 0
        for here, there in zip(words, words[size:], strict=False):
            run = run + 1 if here == there else 0
            if run + size >= needed:
                return True
    return False
