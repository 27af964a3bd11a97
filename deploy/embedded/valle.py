"""Ships a pair: `python -m deploy.embedded.valle AR NAR`, the folders of two checkpoints, in half precision.

A codec's decoder may go on learning after its codes are fixed. So the pair is stamped with the codec that ships,
where that one's encoder and codebooks are those of the codec (`--trained-on`) that made the codes it was trained on.
"""

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from model.codec.encodec import EMBEDDED, identity
from model.codec.weights import read
from model.valle import checkpoint
from tasks.evaluation import checkpoint_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the pair that ships.")
    parser.add_argument("halves", type=Path, nargs=2, help="such as ROOT/checkpoints/FINGERPRINT/ar and .../nar")
    parser.add_argument("--trained-on", type=Path, default=EMBEDDED, help="the codec whose codes it was trained on")
    parser.add_argument("--ships-with", type=Path, default=EMBEDDED)
    parser.add_argument("--folder", type=Path, default=checkpoint_pairs.folder(checkpoint_pairs.EMBEDDED))
    options = parser.parse_args()
    if codes_digest(options.trained_on) != codes_digest(options.ships_with):
        raise SystemExit(f"{options.ships_with} makes other codes than {options.trained_on}")
    for half, folder in zip(checkpoint_pairs.HALVES, options.halves, strict=True):
        model = checkpoint.load(folder)
        if not checkpoint_pairs.same_codec(model.settings.codec, identity(options.trained_on)):
            raise SystemExit(f"{folder} speaks codes of {model.settings.codec}, not those of {options.trained_on}")
        model.settings = replace(model.settings, codec=identity(_name(options.ships_with)))
        if not model.settings.languages:  # one that changes nothing, so that it can say which language it speaks
            model.settings = replace(model.settings, languages=("en",))
            model.language_embedding = nn.Embedding(1, model.settings.size.width)
            nn.init.zeros_(model.language_embedding.weight)
        print(half, checkpoint.save(options.folder / half, model.half()))


def codes_digest(codec: Path) -> str:
    """What names the codes that a codec makes: its weights less its decoder's."""
    state, _ = read(codec)
    digest = hashlib.sha256()
    for name in sorted(state):
        if not name.startswith("decoder."):
            digest.update(name.encode() + state[name].to(torch.float32).numpy().tobytes())
    return digest.hexdigest()


def _name(codec: Path) -> str | Path:
    """`embedded`, where the file is that one: an identity says which name it was asked by."""
    return "embedded" if codec == EMBEDDED else codec


if __name__ == "__main__":
    main()
