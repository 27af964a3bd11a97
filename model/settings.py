"""What names a half of VALL-E: its sizes, the symbols it reads, the codec whose codes it speaks.

The settings lie beside the weights, symbol table and codec included, because
weights without either are noise: a phone's id means nothing without the table.
Source: VALL-E (arXiv:2301.02111), section 5.1, for the size `paper`.
"""

from dataclasses import dataclass
from typing import Literal

Half = Literal["ar", "nar"]

NUM_CODEBOOKS = 8  # Q
CODEBOOK_SIZE = 1024  # entries per codebook
FRAME_RATE = 75  # frames per second
PROMPT_FRAMES = 3 * FRAME_RATE  # 3 s, the paper's prompt


@dataclass(frozen=True)
class Size:
    """How large a transformer is."""

    num_layers: int
    num_heads: int
    width: int  # D
    ffn_width: int  # inner width of the feed-forward layers
    dropout: float  # probability, on the input and on every residual branch

    def __post_init__(self) -> None:
        if self.width % (2 * self.num_heads):
            raise ValueError(f"width {self.width} must divide by twice the {self.num_heads} heads")


SIZES = {
    "tiny": Size(num_layers=4, num_heads=4, width=192, ffn_width=768, dropout=0.0),
    "small": Size(num_layers=8, num_heads=8, width=512, ffn_width=2048, dropout=0.1),
    "paper": Size(num_layers=12, num_heads=16, width=1024, ffn_width=4096, dropout=0.1),
}


@dataclass(frozen=True)
class Settings:
    """One half of VALL-E, all that is needed to build it and to read and speak with it."""

    half: Half
    size: Size
    symbols: tuple[str, ...]  # the phone symbol table: phone id -> symbol
    codec: str  # identity of the codec that made the codes, such as the sha256 of its weights

    @property
    def phone_eos(self) -> int:
        """The id after the last symbol, which ends the phones."""
        return len(self.symbols)

    @property
    def code_eos(self) -> int:
        """The id after the last code, which ends the speech."""
        return CODEBOOK_SIZE
