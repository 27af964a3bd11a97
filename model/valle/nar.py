"""The non-autoregressive half: all frames of one codebook at once, from the codebooks below it.

The speech is one line of time, and the prompt a stretch of it: frames of the
prompt carry the sum of all eight codebooks, every other frame the sum of the
first i - 1. At synthesis the stretch is the prefix. A prompt that lay beside
a copy of itself would teach copying; so loss and time know it once.
Source: VALL-E (arXiv:2301.02111), section 4.2.2.

What a frame's residual is, its neighbours tell best, and attention takes long to find
them. With a stem, convolutions over the frames come before the transformer, as
SoundStorm has them within its layers (Borsos et al. 2023, arXiv:2305.09636, section 3.2).

A monotonic half is told, frame by frame, which phone is said: what the first codebook and the phones come to by
`model.valle.alignment`. Attention over little speech never finds that by itself.

Shapes: B batch, P phones, Q = 8 codebooks, T frames, D width, V = 1024 codes. Stages i are 2..8.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.valle import alignment, monotonic
from model.valle.ar import IGNORED
from model.valle.settings import CODEBOOK_SIZE, NUM_CODEBOOKS, PROMPT_FRAMES, PromptMode, Settings, StageMode
from model.valle.transformer import Transformer, placed, spoken_in, within

STAGES = range(2, NUM_CODEBOOKS + 1)
STEM_FRAMES = 5  # that a convolution of the stem sees


@dataclass(frozen=True)
class Task:
    """What each row of a batch is asked: the codebook to say, and the stretch that is its prompt."""

    stages: Tensor  # int [B], 2..8
    prompt_starts: Tensor  # int [B], frames
    prompt_lengths: Tensor  # int [B], frames

    def in_prompt(self, num_frames: int) -> Tensor:
        """Which frames belong to the prompt: bool `[B, T]`."""
        frames = torch.arange(num_frames, device=self.stages.device)
        starts = self.prompt_starts[:, None]
        return (frames >= starts) & (frames < starts + self.prompt_lengths[:, None])


class Stem(nn.Module):
    """Convolutions over frames, each behind a norm and beside a residual; padding is silence to them."""

    def __init__(self, width: int, num_layers: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_layers))
        layers = [nn.Conv1d(width, width, STEM_FRAMES, padding="same") for _ in range(num_layers)]
        for layer in layers:
            assert layer.bias is not None
            nn.init.normal_(layer.weight, std=(STEM_FRAMES * width) ** -0.5)
            nn.init.zeros_(layer.bias)
        self.convolutions = nn.ModuleList(layers)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """`[B, T, D]`, of which the frames `[B, T]` are no padding, to `[B, T, D]`."""
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            near = convolution((norm(x) * inside.unsqueeze(-1)).transpose(1, 2)).transpose(1, 2)
            x = x + functional.gelu(near)
        return x


class NAR(nn.Module):
    """Says codebook i of every frame."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width = settings.size.width
        self.settings = settings
        self.phone_embedding = nn.Embedding(len(settings.symbols), width)
        self.stage_embedding = nn.Embedding(len(STAGES), width)
        self.code_embeddings = nn.Parameter(torch.empty(NUM_CODEBOOKS, CODEBOOK_SIZE, width))
        self.stem = Stem(width, settings.stem) if settings.stem else None
        self.transformer = Transformer(settings.size, conditioned=True)
        self.heads = None if settings.tied else nn.Parameter(torch.empty(len(STAGES), CODEBOOK_SIZE, width))
        self.language_embedding = nn.Embedding(len(settings.languages), width) if settings.languages else None
        if settings.monotonic:
            self.pointer_in = nn.Linear(4 * width, width)
            nn.init.zeros_(self.pointer_in.weight)  # so that a half which begins to be told speaks as before
            nn.init.zeros_(self.pointer_in.bias)
            table = torch.zeros(len(settings.symbols), CODEBOOK_SIZE)  # filled before training, and never learnt
            self.heard_as = nn.Parameter(table, requires_grad=False)
            self._symbols = alignment.Symbols.of(settings.symbols)
        nn.init.normal_(self.phone_embedding.weight, std=width**-0.5)
        nn.init.normal_(self.code_embeddings, std=width**-0.5)
        if self.heads is not None:
            nn.init.normal_(self.heads, std=width**-0.5)
        if self.language_embedding is not None:
            nn.init.normal_(self.language_embedding.weight, std=width**-0.5)

    def forward(
        self,
        phones: Tensor,
        phone_lengths: Tensor,
        codes: Tensor,
        code_lengths: Tensor,
        task: Task,
        languages: Tensor | None = None,
        pointed: Tensor | None = None,
    ) -> Tensor:
        """Phones `[B, P]` and codes `[B, Q, T]`, padded, to logits `[B, T, V]` of codebook `task.stages[b]` in row b.

        Of frames outside the prompt, codebook i and those above it are not read. A row alone has no padding, and
        needs no mask. `languages` `[B]` are places in the settings' table; `pointed` is what `follow` gives, for a
        monotonic half.
        """
        num_phones, num_frames = phones.shape[1], codes.shape[2]
        positions = torch.arange(max(num_phones, num_frames), device=codes.device)
        phone_positions = positions[:num_phones] * self.settings.phone_stride
        read_phones = self._embed(self.phone_embedding(phones), phone_positions, languages)
        inside = within(code_lengths, num_frames)
        said = self._sum_codes(codes, task)
        scale = self.settings.size.width**0.5
        if pointed is not None:
            told = monotonic.embed(pointed, self.phone_embedding, self.settings.phone_stride)
            said = said + self.pointer_in(told) / scale
        if self.stem is not None:
            said = self.stem(said * scale, inside) / scale
        read_codes = self._embed(said, positions[:num_frames], languages)
        visible = torch.cat([within(phone_lengths, num_phones), inside], dim=1)
        is_whole = len(phones) == 1 and not phones.is_cuda and bool(visible.all())  # a GPU would have to be waited for
        hidden = self.transformer(
            torch.cat([read_phones, read_codes], dim=1),
            None if is_whole else visible[:, None, None, :],
            condition=self.stage_embedding(task.stages - STAGES[0]),
        )
        # [B, V, D]: the head of stage i is the embedding of codebook i
        heads = self.code_embeddings[task.stages - 1] if self.heads is None else self.heads[task.stages - STAGES[0]]
        return torch.bmm(hidden[:, num_phones:], heads.transpose(1, 2))

    def follow(self, phones: Tensor, phone_lengths: Tensor, codes: Tensor, code_lengths: Tensor) -> Tensor | None:
        """For a monotonic half, which phones the frames of codes `[B, Q, T]` say, `[B, T, 4]`; else nothing."""
        if not self.settings.monotonic:
            return None
        states = alignment.states(phones, phone_lengths, self._symbols)
        said = monotonic.follow_frames(self.heard_as, states, codes[:, 0], code_lengths)
        told = monotonic.features(states, said)
        told[..., :3] = told[..., :3].masked_fill(told[..., :3] == self._symbols.end, self._symbols.boundary)
        return told

    def _embed(self, content: Tensor, positions: Tensor, languages: Tensor | None) -> Tensor:
        """Embeddings `[B, S, D]`, with their positions and the row's language."""
        if self.language_embedding is not None:
            content = content + spoken_in(self.language_embedding, languages, self.settings)
        return placed(content, positions)

    def _sum_codes(self, codes: Tensor, task: Task) -> Tensor:
        in_prompt = task.in_prompt(codes.shape[2])
        total = torch.zeros((), device=codes.device, dtype=self.code_embeddings.dtype)
        for q in range(NUM_CODEBOOKS):
            is_read = in_prompt | (q + 1 < task.stages)[:, None]
            total = total + functional.embedding(codes[:, q], self.code_embeddings[q]) * is_read.unsqueeze(-1)
        return total


def draw(
    code_lengths: Tensor,
    generator: torch.Generator,
    prompt: PromptMode = "random",
    stage_mode: StageMode = "evenly",
) -> Task:
    """A stage and a prompt for each row of frame counts `[B]`.

    Stages are as likely as each other, or, `early`, as the share of what is left that each can say: stage i has one in
    i - 1.

    The prompt is a stretch of 3 s, or of half the row where that is less: a random one, the prefix, or none at all
    (`Settings.prompt`). A row's draw depends on its own length and its place alone, never on its batch mates.
    """
    num_rows = len(code_lengths)
    if stage_mode == "evenly":
        stages = torch.randint(STAGES.start, STAGES.stop, (num_rows,), generator=generator)
    else:
        chances = torch.tensor([1 / (stage - 1) for stage in STAGES])
        stages = STAGES.start + chances.multinomial(num_rows, replacement=True, generator=generator)
    share = torch.rand(num_rows, generator=generator, dtype=torch.float64).to(code_lengths.device)
    prompt_lengths = (code_lengths // 2).clamp(max=0 if prompt == "none" else PROMPT_FRAMES)
    prompt_starts = (share * (code_lengths - prompt_lengths + 1)).long() * (prompt == "random")
    return Task(stages.to(code_lengths.device), prompt_starts, prompt_lengths)


def targets(codes: Tensor, code_lengths: Tensor, task: Task) -> Tensor:
    """What the logits of codes `[B, Q, T]` should say: `[B, T]`, `IGNORED` in the prompt and the padding."""
    rows = torch.arange(len(codes), device=codes.device)
    asked = within(code_lengths, codes.shape[2]) & ~task.in_prompt(codes.shape[2])
    return codes[rows, task.stages - 1].masked_fill(~asked, IGNORED)
