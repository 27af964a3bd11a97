"""Controls: what must hold of any evaluation, whatever model it is of, or its figures say nothing.

    known-truth   a judge of words finds no more errors in true speech than it is known to find in such speech
    resynthesis   speech that went through the codec is not better than the speech that went in
    shuffled      the words of true speech fit another sample's text worse than its own
    silence       silence is neither taken for the text nor for the voice of a prompt

Each is looked at over all samples of an evaluation set, for each judge apart. Where chance plays a part, a control is
broken only beyond the 95 % interval of the bootstrap (Efron and Tibshirani 1993, chapter 13) over speakers, or over
utterances where there are fewer than eight speakers; fewer than eight utterances can say nothing about these.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.systems import RESYNTHESIS, TRUTH

Row = dict[str, Any]
Sums = NDArray[np.float64]  # [2], of amounts and of what they are counted by

WER, SIMILARITY = "wer", "speaker_similarity"
SHUFFLED, SILENCE, SIMILARITY_SILENCE = "wer_shuffled", "wer_silence", "speaker_similarity_silence"
METRICS = (WER, SIMILARITY, SHUFFLED, SILENCE, SIMILARITY_SILENCE)
COLUMNS = ("sample_id", "system", "speaker_id", "metric", "value", "errors", "words", "judge", "evaluation_set")

OF_OTHERS = 0.15  # of a judge that nobody knows
# WER of Whispers in LibriSpeech's test-other. `tiny.en` and `base.en` are from their model cards (huggingface.co),
# a little over the paper's; `base` as the discussion of its card quotes the paper (Radford et al. 2022,
# arXiv:2212.04356, appendix D). The others are the paper's by heart, not held against it: only a control needs them.
KNOWN = {
    "embedded": 0.149,  # a tiny.en
    "tiny.en": 0.149,
    "tiny": 0.169,
    "base.en": 0.128,
    "base": 0.124,
    "small.en": 0.074,
    "small": 0.076,
    "medium.en": 0.063,
    "medium": 0.059,
    "large-v1": 0.056,
    "large-v2": 0.052,
    "large-v3": 0.052,  # no worse than the one before
    "large-v3-turbo": 0.063,  # said to be between medium and large-v2
}

FEWEST = 8  # that are drawn from
_REPLICATES = 2_000
_NOTHING = 0.9  # the least WER of silence: it says nothing, so that all words of a text are missing


def broken(rows: Iterable[Row], truth_wer: float, known: Mapping[str, float] | None = None) -> Iterator[str]:
    """What is broken, each in a sentence that names the control.

    Args:
        rows: kept ones of `scores`, with `COLUMNS`.
        truth_wer: what a judge may find in true speech, as a fraction.
        known: likewise, of judges that more is known of.
    """
    found: dict[tuple[str, str], dict[tuple[str, str], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row["evaluation_set"] or "", row["judge"]][row["system"], row["metric"]].append(row)
    for (_, judge), by_metric in sorted(found.items()):
        for said in (*_words(by_metric, (known or {}).get(judge, truth_wer)), *_voices(by_metric)):
            yield f"{said}, by {judge}"


def _words(found: dict[tuple[str, str], list[Row]], most: float) -> Iterator[str]:
    true, shuffled, silent = (found.get((TRUTH, metric), []) for metric in (WER, SHUFFLED, SILENCE))
    if not true:
        return
    low, _ = _interval(true, [])
    if low > most:
        yield f"known-truth: true speech has a WER of {_ratio(true):.1%}, and {most:.1%} is known"
    again = found.get((RESYNTHESIS, WER), [])
    if again and _interval(again, true)[1] < 0:
        yield f"resynthesis: a WER of {_ratio(again):.1%} behind the codec, and {_ratio(true):.1%} before it"
    if shuffled and (_ratio(shuffled) <= _ratio(true) or -np.inf < _interval(shuffled, true)[0] <= 0):
        yield f"shuffled: a WER of {_ratio(shuffled):.1%} against others' texts, and {_ratio(true):.1%} against its own"
    if silent and _ratio(silent) < _NOTHING:
        yield f"silence: it has a WER of {_ratio(silent):.1%}, as if it said something"


def _voices(found: dict[tuple[str, str], list[Row]]) -> Iterator[str]:
    true, again = found.get((TRUTH, SIMILARITY), []), found.get((RESYNTHESIS, SIMILARITY), [])
    if true and again and _interval(again, true)[0] > 0:
        yield f"resynthesis: a similarity of {_ratio(again):.3f} behind the codec, and {_ratio(true):.3f} before it"
    silent = found.get((TRUTH, SIMILARITY_SILENCE), [])
    if true and silent and _ratio(silent) >= _ratio(true):
        yield f"silence: it is as like to a prompt ({_ratio(silent):.3f}) as true speech is ({_ratio(true):.3f})"


def _ratio(rows: list[Row]) -> float:
    """A rate pooled over words, or a mean."""
    amount, weight = np.sum([_counted(row) for row in rows], axis=0)
    return float(amount / weight) if weight else float("nan")


def _counted(row: Row) -> tuple[float, float]:
    return (row["errors"], row["words"]) if row["words"] is not None else (row["value"], 1.0)


def _interval(rows: list[Row], less: list[Row]) -> tuple[float, float]:
    """Bounds of a rate, or of how much it is above another's; without any where too few were heard."""
    speakers = {row["speaker_id"] for row in rows}
    by = "speaker_id" if None not in speakers and len(speakers) >= FEWEST else "utterance"
    one, other = _summed(rows, by), _summed(less, by)
    if less:
        shared = one.keys() & other.keys()
        one, other = ({name: sums[name] for name in sorted(shared)} for sums in (one, other))
    if len(one) < FEWEST:
        return -np.inf, np.inf
    draws = np.random.default_rng(0).integers(0, len(one), (_REPLICATES, len(one)))
    drawn = _drawn(one, draws) - (_drawn(other, draws) if less else 0.0)
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return -np.inf, np.inf
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def _summed(rows: list[Row], by: str) -> dict[str, Sums]:
    """What is counted of each speaker, or of each utterance by whatever system and seed."""
    sums: dict[str, Sums] = {}
    for row in sorted(rows, key=lambda row: str(row["sample_id"])):
        name = row["speaker_id"] if by == "speaker_id" else "/".join(row["sample_id"].split("/")[1:-1])
        sums[name] = sums.get(name, np.zeros(2)) + np.array(_counted(row), np.float64)
    return sums


def _drawn(sums: dict[str, Sums], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """The ratio in each replicate `[replicates]`, of places drawn `[replicates, clusters]`."""
    amounts = np.stack(list(sums.values()))[draws].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: NDArray[np.float64] = amounts[:, 0] / amounts[:, 1]
    return ratio
