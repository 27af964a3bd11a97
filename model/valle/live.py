"""Speech that is heard while it is being made.

The AR says a chunk of frames and a few more, the NAR fills the chunk, a streaming
decoder makes it sound, and so on. The first sound therefore needs `chunk_frames +
look_ahead` steps of the AR, seven passes of the NAR over that many frames and the
prompt, and the decoding of `chunk_frames` (seven at least, which EnCodec's reflected
beginning waits for). In seconds: `(chunk_frames + look_ahead) * step + 7 * pass + decode`.

It is an approximation in one thing alone. The NAR attends to every frame of an
utterance; here a chunk sees the prompt, all that was said before (whose codes stand as
they were heard), itself, and `look_ahead` frames of the first codebook, and nothing
after. No frame is a different question for that. A frame of the
past carries the codebooks below the stage, as it would in the whole utterance, so with a
look-ahead as long as the speech the codes are those of `generate`, exactly. The AR is no
approximation at any chunk.

Shapes: T frames, T' frames of the prompt.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.valle.batch import Example, collate
from model.valle.decoding import Codes, Request, fill, limit, speak, to_end
from model.valle.nar import NAR
from model.valle.sampling import Sampling
from model.valle.settings import NUM_CODEBOOKS
from model.valle.synthesis import Pair


@dataclass(frozen=True)
class Chunking:
    """How speech is cut as it is made."""

    chunk_frames: int = 25  # a third of a second, made at once
    look_ahead: int = 10  # frames of the first codebook behind a chunk that its other codebooks are filled from

    def __post_init__(self) -> None:
        if self.chunk_frames < 1 or self.look_ahead < 0:
            raise ValueError("a chunk has one frame at least, and no negative look-ahead")

    def ready(self, left: int, ended: bool) -> int:
        """How many of `left` frames that are not filled yet can be filled now; all where the end is in sight."""
        if left <= self.chunk_frames + self.look_ahead and ended:
            return left
        return self.chunk_frames if left >= self.chunk_frames + self.look_ahead else 0


class Decoder(Protocol):
    """A codec that is given codes as they come, such as `model.codec.encodec.Codec.decoder_stream()`."""

    def push(self, codes: Tensor) -> Tensor:
        """Codes `[1, 8, T]` to as much of the waveform `[1, 1, N]` as they settle."""
        ...

    def finish(self) -> Tensor:
        """The rest of the waveform `[1, 1, N]`."""
        ...


def stream(
    pair: Pair, request: Request, decoder: Decoder, sampling: Sampling | None = None, chunking: Chunking | None = None
) -> Iterator[NDArray[np.float32]]:
    """The new speech of a request, in pieces `[N]` as they are made; nothing where nothing is said.

    A decoder that was first pushed the prompt's codes goes on from it without a seam.
    """
    any_codes = False
    for codes in stream_codes(pair, request, sampling, chunking):
        any_codes = True
        yield _samples(decoder.push(torch.from_numpy(codes.astype(np.int64))[None]))
    if any_codes:
        yield _samples(decoder.finish())


def stream_codes(
    pair: Pair, request: Request, sampling: Sampling | None = None, chunking: Chunking | None = None
) -> Iterator[Codes]:
    """The new frames of a request, in chunks `[8, T]` as they are made."""
    cut = chunking or Chunking()
    first, filled = np.zeros(0, np.uint16), np.zeros((NUM_CODEBOOKS, 0), np.uint16)
    spoken, ended = speak(pair.ar, [request], sampling or pair.sampling), limit(request) == 0
    while not ended:
        with torch.inference_mode():  # around the work, and not around what the caller does between the chunks
            step = next(spoken)
        first, ended = to_end(np.concatenate([first, step.codes[0]]), limit(request))
        while size := cut.ready(len(first) - filled.shape[1], ended):
            chunk = fill_chunk(pair.nar, request, filled, first, size, pair.codebooks)
            filled = np.concatenate([filled, chunk], axis=1)
            yield chunk


@torch.inference_mode()
def fill_chunk(
    nar: NAR, request: Request, filled: Codes, first: Codes, size: int, codebooks: Tensor | None = None
) -> Codes:
    """The next `size` frames `[8, size]`, behind those filled `[8, T]`, from all first codes `[T]` known by now."""
    device, num_prompt = nar.code_embeddings.device, request.prompt_codes.shape[1]
    new = np.repeat(first[None, filled.shape[1] :], NUM_CODEBOOKS, axis=0)
    whole = Example(request.phones, np.concatenate([request.prompt_codes, filled, new], axis=1))
    prompt, known = (torch.tensor([n], device=device) for n in (num_prompt, num_prompt + filled.shape[1]))
    languages = torch.tensor([nar.settings.language_id(request.language)], device=device)
    known_languages = languages if nar.settings.languages else None
    codes = fill(nar, collate([whole]).to(device), prompt, known, known_languages, codebooks)
    begin = num_prompt + filled.shape[1]
    return codes[0, :, begin : begin + size].cpu().numpy().astype(np.uint16)


def _samples(waveform: Tensor) -> NDArray[np.float32]:
    return np.asarray(waveform.reshape(-1).float().cpu().numpy(), np.float32)
