"""What names a half of VALL-E: its sizes, the symbols it reads, the codec whose codes it speaks.

The settings lie beside the weights, symbol table and codec included, because
weights without either are noise: a phone's id means nothing without the table.
What the defaults say is the paper to the letter; each option names where it comes
from. Source: VALL-E (arXiv:2301.02111), section 5.1, for the size `paper`.
"""

from dataclasses import dataclass
from typing import Literal

Half = Literal["ar", "nar"]
PromptMode = Literal["random", "prefix", "none"]
StageMode = Literal["evenly", "early"]
Choice = Literal["likeliest", "expected"]

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
    "embedded": Size(num_layers=6, num_heads=4, width=192, ffn_width=768, dropout=0.1),
    "small": Size(num_layers=8, num_heads=8, width=512, ffn_width=2048, dropout=0.1),
    "paper": Size(num_layers=12, num_heads=16, width=1024, ffn_width=4096, dropout=0.1),
}


GROUPS = (1, 2, 4)  # codes that the AR may say in one step
CHOICES: tuple[Choice, ...] = ("likeliest", "expected")
STAGE_MODES: tuple[StageMode, ...] = ("evenly", "early")
PROMPT_MODES: tuple[PromptMode, ...] = ("random", "prefix", "none")


@dataclass(frozen=True)
class Settings:
    """One half of VALL-E, all that is needed to build it and to read and speak with it.

    Raises:
        ValueError: an option has a value that means nothing.
    """

    half: Half
    size: Size
    symbols: tuple[str, ...]  # the phone symbol table: phone id -> symbol
    codec: str  # identity of the codec that made the codes, such as the sha256 of its weights
    tied: bool = True  # the codes' embeddings are the output projections too (VALL-E, section 4.2); false: heads apart
    prompt: PromptMode = "random"  # of the NAR in training: 3 s anywhere (VALL-E, section 4.2.2), at the front, or none
    group: int = 1  # G: codes that the AR says in one step (VALL-E 2, arXiv:2406.05370, grouped codes)
    phone_frames: float = (
        0.0  # that a phone lasts, to put phones on the speech's clock; 0 counts them by ones, as the paper
    )
    languages: tuple[str, ...] = ()  # each with an embedding, added to phones and codes (VALL-E X, arXiv:2303.03926)
    choice: Choice = "likeliest"  # of the NAR in speaking; expected: the code nearest to the mean of what it thinks of
    stages: StageMode = "evenly"  # of the NAR in training: each as often, or the second codebook most often
    stem: int = 0  # layers of convolution that the NAR's frames go through first (SoundStorm, arXiv:2305.09636)
    monotonic: bool = False  # the half is told which phone is said when, and an AR says so (VALL-E R, arXiv:2406.07855)
    chained: bool = False  # each code of a group sees the one before it (RQ-Transformer, arXiv:2203.01941)

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ValueError(f"group is {self.group}, and must be one of {', '.join(map(str, GROUPS))}")
        if self.prompt not in PROMPT_MODES:
            raise ValueError(f"prompt is {self.prompt!r}, and must be one of {', '.join(PROMPT_MODES)}")
        if self.stages not in STAGE_MODES:
            raise ValueError(f"stages is {self.stages!r}, and must be one of {', '.join(STAGE_MODES)}")
        if self.choice not in CHOICES:
            raise ValueError(f"choice is {self.choice!r}, and must be one of {', '.join(CHOICES)}")
        if self.chained and self.group == 1:
            raise ValueError("chained is for groups of codes, and group is 1")
        if self.stem < 0:
            raise ValueError(f"stem is {self.stem}, and must be 0 or a number of layers")
        if not 0 <= self.phone_frames <= FRAME_RATE:
            raise ValueError(f"phone_frames is {self.phone_frames:g}, and must lie between 0 and {FRAME_RATE}")
        if len(set(self.languages)) < len(self.languages):
            raise ValueError(f"languages name one twice: {', '.join(self.languages)}")

    @property
    def phone_stride(self) -> float:
        """How far apart two phones lie, in slots of the speech.

        Where a phone's place is near the place of its own speech, attention begins as a diagonal and need not find it
        (Ping et al. 2017, Deep Voice 3, arXiv:1710.07654, section 3.4: position rates).
        """
        return self.phone_frames / self.group if self.phone_frames else 1.0

    @property
    def phone_eos(self) -> int:
        """The id after the last symbol, which ends the phones."""
        return len(self.symbols)

    @property
    def code_eos(self) -> int:
        """The id after the last code, which ends the speech."""
        return CODEBOOK_SIZE

    def language_id(self, language: str | None) -> int:
        """The place of a language in the table; 0 for none where the half knows none.

        Raises:
            ValueError: the half does not know the language, or is not told one and knows some.
        """
        if language is None and not self.languages:
            return 0
        if language not in self.languages:
            known = f"one of {', '.join(self.languages)}" if self.languages else "left out, for this half knows none"
            raise ValueError(f"the language is {language!r}, and must be {known}")
        return self.languages.index(language)
