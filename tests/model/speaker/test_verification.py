"""The voice encoder: what the package `resemblyzer` 0.1.4 made of the same sounds, to a machine's rounding."""

import numpy as np
import pytest

from model.speaker.verification import RATE, VoiceEncoder, level, without_pauses
from tests.speech import sentences

# the six largest of a voice's 256 dimensions, and their values, by the package's own `embed_utterance`
THEIRS = {
    "a sentence": ([243, 213, 148, 240, 62, 20], [0.2514, 0.2152, 0.21336, 0.19387, 0.19022, 0.18705]),
    "a second of speech": ([246, 20, 173, 2, 251, 254], [0.24665, 0.23351, 0.22384, 0.22194, 0.21977, 0.19608]),
    "a tone in noise": ([15, 9, 57, 48, 242, 78], [0.24131, 0.20134, 0.19775, 0.19101, 0.1763, 0.17464]),
}


@pytest.fixture(scope="module")
def sounds():
    first, second = (speech for _, speech in sentences(2, RATE))
    phase = np.cumsum(120 + 40 * np.sin(np.arange(3 * RATE) / 5_000)) / RATE
    noise = np.random.default_rng(0).standard_normal(3 * RATE)
    tone = (0.1 * np.sin(2 * np.pi * phase) + 0.02 * noise).astype(np.float32)
    return {"a sentence": first, "a second of speech": second[:RATE], "a tone in noise": tone}


@pytest.mark.parametrize("name", THEIRS)
def test_a_voice_is_what_the_package_makes_of_it(sounds, name):
    voice = VoiceEncoder().embed(sounds[name])
    places, values = THEIRS[name]
    assert voice.shape == (256,)
    assert np.linalg.norm(voice) == pytest.approx(1, abs=1e-5)
    assert np.argsort(-voice)[:6].tolist() == places
    assert voice[places] == pytest.approx(values, abs=1e-4)


def test_pauses_are_cut_where_the_package_cuts_them_and_quiet_speech_is_raised(sounds):
    sentence = sounds["a sentence"]
    speech = np.concatenate([sentence, np.zeros(24_000, np.float32), sentence]).astype(np.float32) * 0.05
    raised = level(speech)
    assert np.sqrt(np.mean(raised.astype(np.float64) ** 2)) == pytest.approx(10 ** (-30 / 20), rel=1e-4)
    kept = without_pauses(raised)
    assert 2 * len(sentence) * 0.8 < len(kept) < len(speech) - 15_000
    assert len(kept) % 480 == 0
