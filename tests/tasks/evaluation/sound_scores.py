"""Scores of an evaluation in which all is as it should be, and ways to sabotage it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.evaluation.controls import SHUFFLED, SILENCE, SIMILARITY, SIMILARITY_SILENCE, WER
from tasks.evaluation.systems import RESYNTHESIS, TRUTH, VALLE

Row = dict[str, Any]
WORDS, WHISPER, VOICE = 20, "whisper@1", "resemblyzer@1"


def sound(num_speakers: int = 10, per_speaker: int = 4) -> list[Row]:
    """True speech is heard nearly without errors, the codec costs a little, and a model much."""
    draw = np.random.default_rng(0)
    rows: list[Row] = []
    for speaker in range(num_speakers):
        for place in range(per_speaker):
            name = f"s{speaker}/u{place}"
            for system, rate, alike in ((TRUTH, 0.03, 0.9), (RESYNTHESIS, 0.06, 0.75), (VALLE, 0.2, 0.6)):
                one = {
                    "sample_id": f"{system}/{name}/0",
                    "system": system,
                    "speaker_id": f"s{speaker}",
                    "evaluation_set": "1",
                }
                rows.append(one | heard(WER, int(draw.binomial(WORDS, rate))))
                rows.append(one | like(SIMILARITY, alike + draw.normal(0, 0.02)))
                if system == TRUTH:
                    rows += [
                        one | heard(SHUFFLED, 18),
                        one | heard(SILENCE, WORDS),
                        one | like(SIMILARITY_SILENCE, 0.4),
                    ]
    return rows


def heard(metric: str, errors: int) -> Row:
    return {"metric": metric, "judge": WHISPER, "errors": errors, "words": WORDS, "value": errors / WORDS}


def like(metric: str, value: float) -> Row:
    return {"metric": metric, "judge": VOICE, "errors": None, "words": None, "value": float(value)}


def changed(rows: list[Row], system: str, metric: str, value: Callable[[Row], Row]) -> list[Row]:
    """Some rows with another value."""
    return [row | value(row) if (row["system"], row["metric"]) == (system, metric) else row for row in rows]


SABOTAGE: dict[str, Callable[[list[Row]], list[Row]]] = {
    "known-truth: true speech has a WER of 25.0%": lambda rows: changed(rows, TRUTH, WER, lambda _: heard(WER, 5)),
    "resynthesis: a WER of 0.0% behind the codec": lambda rows: changed(
        rows, RESYNTHESIS, WER, lambda _: heard(WER, 0)
    ),
    "resynthesis: a similarity of 0.950 behind": lambda rows: changed(
        rows, RESYNTHESIS, SIMILARITY, lambda _: like(SIMILARITY, 0.95)
    ),
    "shuffled: a WER of": lambda rows: changed(rows, TRUTH, SHUFFLED, lambda _: heard(SHUFFLED, 0)),
    "silence: it has a WER of 50.0%": lambda rows: changed(rows, TRUTH, SILENCE, lambda _: heard(SILENCE, 10)),
    "silence: it is as like to a prompt (0.950)": lambda rows: changed(
        rows, TRUTH, SIMILARITY_SILENCE, lambda _: like(SIMILARITY_SILENCE, 0.95)
    ),
}
