"""Resynthesis: speech as EnCodec's codes, and codes as speech again, one utterance at a time."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from model.codec.encodec import Codec


def decode(codec: "Codec", codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Codes `[8, T]` as speech at 24 kHz; alone, so that no neighbour changes it."""
    import torch

    with torch.inference_mode():
        waveform = codec.decode(torch.from_numpy(codes.astype(np.int64)).unsqueeze(0))
    return np.asarray(waveform.reshape(-1).float().cpu().numpy(), np.float32)


def encode(codec: "Codec", waveform: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Speech at 24 kHz `[num_samples]` as codes `[8, T]`; alone, too.

    Raises:
        ValueError: there are no samples.
    """
    import torch

    with torch.inference_mode():
        codes = codec.encode([torch.from_numpy(waveform)])[0]
    return np.asarray(codes.cpu().numpy(), np.uint16)
