"""The benches of transcripts and phones work, at a tiny size."""

from pathlib import Path

import numpy as np
import torch

from bench.phones import measure
from bench.transcripts import reciting
from model.asr import recognition


def test_the_reciting_whisper_says_its_text_with_confidence_and_ends(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    engine = recognition.load_asr(reciting(tmp_path, num_tokens=12))
    (heard,) = recognition.transcribe(engine, [np.full(recognition.SAMPLE_RATE, 0.01, np.float32)])
    assert heard.num_tokens == 12
    assert heard.temperature == 0
    assert heard.avg_logprob > -0.1


def test_phones_are_measured_both_ways() -> None:
    figures = measure(20, rounds=1)
    assert len(figures) == 3
    assert all(figure > 0 for figure in figures.values())
