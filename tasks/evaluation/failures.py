"""Failures of a model that speaks, each a word that is defined here and measured by what a judge of words has heard.

    empty      the model said nothing, or the judge hears no word in it
    endless    the model was stopped before it ended
    repeated   two words or more are said again right behind themselves, more often than in the text: a phrase of n
               words k times in a row, with n (k - 1) >= 2
    skipped    three words or more of the text in a row are not there, nor others in their place; of a shorter text, all
    leaked     three words of the prompt in a row are heard that do not stand so in the text; of a shorter prompt, all

Words are what the normalizer of `tasks.evaluation.judges` makes of a text, so each class is the judge's as much as the
speech's: true speech stands before the same judge, and its rows tell how often the judge alone fails. "Robust" in
papers means few of these (Song et al. 2024, ELLA-V, arXiv:2401.07333, section 5, counts repeated and skipped ones).
"""

from collections.abc import Iterator, Sequence

EMPTY, ENDLESS, REPEATED, SKIPPED, LEAKED = "empty", "endless", "repeated", "skipped", "leaked"
CLASSES = (EMPTY, ENDLESS, REPEATED, SKIPPED, LEAKED)

_AGAIN = 2  # words, said again
_IN_A_ROW = 3  # words, missing or of the prompt


def failures(text: str, heard: str, *, prompt: str | None = None, ended: bool = True) -> list[str]:
    """Which of `CLASSES` a sample falls under; none where it is as it should be.

    Args:
        text: what should be heard, normalized.
        heard: what the judge hears, normalized likewise.
        prompt: the words of the prompt, where they are not to be heard; null where they are, or are not known.
        ended: whether the model came to an end of its own.
    """
    wanted, there, before = text.split(), heard.split(), (prompt or "").split()
    found = {
        EMPTY: not there,
        ENDLESS: not ended,
        REPEATED: _most_said_again(there) >= _AGAIN + _most_said_again(wanted),
        SKIPPED: bool(there and wanted) and _longest_gap(wanted, there) >= min(_IN_A_ROW, len(wanted)),
        LEAKED: bool(_runs(before) & _runs(there, len(before)) - _runs(wanted, len(before))),
    }
    return [name for name in CLASSES if found[name]]


def _most_said_again(words: Sequence[str]) -> int:
    """The most words in a row that only say again what is right before them."""
    return max((size * (times - 1) for size, times in _repetitions(words)), default=0)


def _repetitions(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """For each place and length of a phrase, how often it stands there in a row."""
    for size in range(1, len(words) // 2 + 1):
        for start in range(len(words) - 2 * size + 1):
            times = 1
            while words[start + times * size : start + (times + 1) * size] == words[start : start + size]:
                times += 1
            if times > 1:
                yield size, times


def _longest_gap(wanted: Sequence[str], there: Sequence[str]) -> int:
    """The most words in a row that are missing in an alignment by Levenshtein."""
    import jiwer

    [aligned] = jiwer.process_words(" ".join(wanted), " ".join(there)).alignments
    return max((one.ref_end_idx - one.ref_start_idx for one in aligned if one.type == "delete"), default=0)


def _runs(words: Sequence[str], most: int | None = None) -> set[tuple[str, ...]]:
    """Each three words in a row; of fewer, or with a smaller `most`, so many."""
    size = min(_IN_A_ROW, len(words) if most is None else most)
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)} if size else set()
