"""Voices as x-vectors: WavLM (Chen et al. 2022, arXiv:2110.13900), and what else `transformers` has with such a head.

The judges of similarity in VALL-E's paper and in the field (WavLM-TDNN, `wavlm_large_finetune`) are of this kind; on
the hub there is `microsoft/wavlm-base-plus-sv`. Two of them are two judges, and their figures are not comparable.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.gpu.full_precision import keep_fp32
from model.published.model_folder import library, load


class SpeakerVerifier:
    """A model with its x-vector head, from a folder."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Raises ValueError where the folder holds no such model."""
        keep_fp32()
        transformers = library()
        try:
            self.model = load(transformers.AutoModelForAudioXVector, folder).to(device, torch.float32).eval()
            self.features = transformers.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{folder} holds no verifier of speakers: {' '.join(str(error).split())[:200]}") from error

    @torch.inference_mode()
    def embed(self, speech: NDArray[np.float32]) -> NDArray[np.float32]:
        """The voice `[D]`, of length 1, of speech `[num_samples]` at 16 kHz."""
        inputs = self.features(speech, sampling_rate=16_000, return_tensors="pt")
        voice = self.model(inputs["input_values"].to(self.model.device)).embeddings[0]
        found: NDArray[np.float32] = torch.nn.functional.normalize(voice, dim=0).cpu().numpy()
        return found
