"""Words by connectionist temporal classification: HuBERT, and whatever else `transformers` has with such a head.

The judge of VALL-E's paper is HuBERT-Large, fine-tuned on LibriSpeech's 960 hours, without a language model (Hsu et al.
2021, arXiv:2106.07447; Wang et al. 2023, arXiv:2301.02111, section 5.1): on the hub, `facebook/hubert-large-ls960-ft`.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.gpu.full_precision import keep_fp32
from model.published.model_folder import library, load

_SHORTEST = 400  # samples: what the convolutions of these models need for one frame


class CtcRecognizer:
    """A model and its letters, from a folder."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Raises ValueError where the folder holds no such model."""
        keep_fp32()
        transformers = library()
        try:
            self.model = load(transformers.AutoModelForCTC, folder).to(device, torch.float32).eval()
            self.letters = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.features = transformers.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{folder} holds no recognizer by CTC: {' '.join(str(error).split())[:200]}") from error

    @torch.inference_mode()
    def transcribe(self, waveforms: Sequence[NDArray[np.float32]]) -> list[str]:
        """The likeliest letters of each waveform `[num_samples]` at 16 kHz, alone: no neighbour changes them."""
        return [self._heard(waveform) if len(waveform) >= _SHORTEST else "" for waveform in waveforms]

    def _heard(self, waveform: NDArray[np.float32]) -> str:
        inputs = self.features(waveform, sampling_rate=16_000, return_tensors="pt")
        logits = self.model(inputs["input_values"].to(self.model.device)).logits  # [1, T, V]
        likeliest = [place for place, _ in groupby(logits[0].argmax(-1).tolist())]
        return self.spelt(likeliest)

    def spelt(self, places: Iterable[int]) -> str:
        """The text of letters that stand once for their frames; blanks, which part equal letters, are left out."""
        between = self.letters.convert_tokens_to_ids(self.letters.word_delimiter_token)
        silent = set(self.letters.all_special_ids) - {between}
        letters = self.letters.convert_ids_to_tokens([place for place in places if place not in silent])
        return " ".join("".join(letters).replace(self.letters.word_delimiter_token, " ").split())
