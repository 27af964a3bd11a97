"""Judges: Whisper's words against the text, and Resemblyzer's speaker embeddings.

The paper's two automatic metrics (Wang et al. 2023, arXiv:2301.02111, section 5.1): word error rate and speaker
similarity.
"""

import re
import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.audio import audio_files

Voice = NDArray[np.float32]  # [256], of length 1

RATE = 16_000  # Hz, what both judges hear

_ENDLESS = re.compile(r"(?:\d,?){4000,}")  # a number that is no number to Python
_SHORTEST = RATE // 10  # samples: no voice can be told from less


def load_normalizer() -> Callable[[str], str]:
    """What makes two texts the same that are said the same: Whisper's own (arXiv:2212.04356, appendix C).

    Python makes no number of more than 4,300 digits, and Whisper's then fails: their digits are taken one by one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file with its spellings open
        from whisper.normalizers import EnglishTextNormalizer

        normalizer: Callable[[str], str] = EnglishTextNormalizer()
    return lambda text: normalizer(_ENDLESS.sub(lambda digits: " ".join(digits[0].replace(",", "")), text))


def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Words too many, too few or other than they should be, and how many there should be."""
    import jiwer

    found = jiwer.process_words(reference, hypothesis)
    errors = found.substitutions + found.deletions + found.insertions
    return errors, found.hits + found.substitutions + found.deletions


def voice_judge() -> str:
    """The speaker verifier by engine, release and weights: `resemblyzer/0.1.4@1a2b3c4d`."""
    package = find_spec("resemblyzer")  # found, not imported: a plan has no need of torch and librosa
    assert package is not None
    assert package.origin is not None
    weights = Path(package.origin).parent / "pretrained.pt"
    return f"resemblyzer/{version('resemblyzer')}@{audio_files.sha256(weights)[:8]}"


def load_voice_encoder(device: str) -> Any:
    """Resemblyzer's encoder (Wan et al. 2018, arXiv:1710.10467), from the weights in its wheel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports a part of SciPy by its old name
        from resemblyzer import VoiceEncoder
    return VoiceEncoder(device, verbose=False)


def embed(encoder: Any, speech: NDArray[np.float32]) -> Voice | None:
    """The voice in speech at 16 kHz, without its pauses; null in silence.

    Where the detector of pauses takes all for one, as it does with noise, all is judged: a sample without a voice
    should be unlike its prompt rather than missing.
    """
    from resemblyzer import normalize_volume, preprocess_wav
    from resemblyzer.hparams import audio_norm_target_dBFS

    if len(speech) < _SHORTEST or not speech.any():
        return None
    voiced = preprocess_wav(speech)
    if len(voiced) < _SHORTEST:
        voiced = normalize_volume(speech, audio_norm_target_dBFS, increase_only=True)
    return np.asarray(encoder.embed_utterance(voiced), np.float32)
