"""Which voice encoder: the weights that ship, and their identity, for which torch is not loaded."""

import hashlib
from functools import cache
from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "embedded" / "resemblyzer.safetensors"
RELEASE = "0.1.4"  # of the package that the weights are from


@cache
def identity() -> str:
    """The speaker verifier by engine, release and weights: `resemblyzer/0.1.4@1a2b3c4d`."""
    return f"resemblyzer/{RELEASE}@{hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:8]}"
