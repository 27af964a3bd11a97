"""An EnCodec as its authors publish it, with made-up weights, and what their package makes of speech with it.

The package is no requirement (it asks for torchaudio), so what it made is kept in `published.npz`. Where `encodec`
0.1.1 is installed, `python -m tests.model.codec.published` makes that file anew.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.codec.encodec import Shape, build
from tests.speech import sentences

MADE = Path(__file__).with_suffix(".npz")


def state() -> dict[str, Tensor]:
    """A state dict under the published names: each convolution's weight as a length and a direction."""
    draw = np.random.RandomState(0)  # whose numbers are the same for good
    found: dict[str, Tensor] = {}
    for name, like in build(Shape()).state_dict().items():
        values = torch.from_numpy(draw.standard_normal(like.shape).astype(np.float32))
        if name.endswith(("conv.weight", "convtr.weight")):
            lengths = torch.linalg.vector_norm(values, dim=(1, 2), keepdim=True)
            inputs = values[0].numel() if name.endswith("conv.weight") else values.shape[0] * values.shape[2] // 2
            found[f"{name}_g"], found[f"{name}_v"] = lengths * (1.3 / inputs) ** 0.5, values
        else:
            found[name] = values * (0.3 if "codebook" in name else 0.05)
    return found


def speech() -> Tensor:
    """A second and a third of it at 24 kHz, `[1, 1, 32000]`: a hundred frames."""
    [(_, said)] = sentences(1, 24_000)
    return torch.from_numpy(said[24_000:56_000])[None, None]


def main() -> None:
    """Write what the package makes: latents `[1, 128, 100]`, codes `[1, 8, 100]`, and speech from the codes."""
    import encodec.model

    theirs = encodec.model.EncodecModel.encodec_model_24khz(pretrained=False)
    theirs.load_state_dict(state())
    theirs.set_target_bandwidth(6.0)
    with torch.inference_mode():
        ((codes, _),) = theirs.encode(speech())
        waveform = theirs.decode([(codes, None)])
        latents = theirs.encoder(speech())
    np.savez_compressed(
        MADE, latents=latents.numpy(), codes=codes.numpy().astype(np.uint16), waveform=waveform[..., ::8].numpy()
    )


if __name__ == "__main__":
    main()
