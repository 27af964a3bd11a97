"""Judges: Whisper's words against the text, and Resemblyzer's speaker embeddings.

The paper's two automatic metrics (Wang et al. 2023, arXiv:2301.02111, section 5.1): word error rate and speaker
similarity.
"""

import re
import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.speaker.weights import identity

if TYPE_CHECKING:
    from model.speaker.verification import VoiceEncoder

Voice = NDArray[np.float32]  # [256], of length 1

RATE = 16_000  # Hz, what both judges hear

_ENDLESS = re.compile(r"(?:\d,?){4000,}")  # a number that is no number to Python
_SHORTEST = RATE // 10  # samples: no voice can be told from less


def silence() -> NDArray[np.float32]:
    """Three seconds in which nobody speaks, at 16 kHz, 60 dB below full scale: what judges are checked with."""
    return (1e-3 * np.random.default_rng(0).standard_normal(3 * RATE)).astype(np.float32)


def load_normalizer() -> Callable[[str], str]:
    """What makes two texts the same that are said the same: Whisper's own (arXiv:2212.04356, appendix C).

    Python makes no number of more than 4,300 digits, and Whisper's then fails: their digits are taken one by one.
    Loaded by itself: with the package around it come torch and numba, three seconds where only words are compared.
    """
    whisper = find_spec("whisper")
    path = Path(str(whisper and whisper.origin)).with_name("normalizers") / "__init__.py"
    loader = SourceFileLoader("whisper_normalizers", str(path))
    normalizers = sys.modules[loader.name] = module_from_spec(ModuleSpec(loader.name, loader, is_package=True))
    normalizers.__path__ = [str(path.parent)]
    loader.exec_module(normalizers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file with its spellings open
        normalizer: Callable[[str], str] = normalizers.EnglishTextNormalizer()
    return lambda text: normalizer(_ENDLESS.sub(lambda digits: " ".join(digits[0].replace(",", "")), text))


def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Words too many, too few or other than they should be, and how many there should be."""
    import jiwer

    found = jiwer.process_words(reference, hypothesis)
    errors = found.substitutions + found.deletions + found.insertions
    return errors, found.hits + found.substitutions + found.deletions


def voice_judge() -> str:
    """The speaker verifier by engine, release and weights: `resemblyzer/0.1.4@1a2b3c4d`."""
    return identity()


def load_voice_encoder(device: str) -> "VoiceEncoder":
    """Resemblyzer's encoder (Wan et al. 2018, arXiv:1710.10467), from the weights that ship."""
    from model.speaker.verification import VoiceEncoder

    return VoiceEncoder(device)


def embed(encoder: "VoiceEncoder", speech: NDArray[np.float32]) -> Voice | None:
    """The voice in speech at 16 kHz, without its pauses; null in silence.

    Where the detector of pauses takes all for one, as it does with noise, all is judged: a sample without a voice
    should be unlike its prompt rather than missing.
    """
    from model.speaker.verification import level, without_pauses

    if len(speech) < _SHORTEST or not speech.any():
        return None
    loud = level(speech)
    voiced = without_pauses(loud)
    return encoder.embed(voiced if len(voiced) >= _SHORTEST else loud)
