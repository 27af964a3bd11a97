"""Speaks lines and keeps their codes: `python -m deploy.embedded.accelerated.speak FOLDER --kokoro kokoro.npz`.

FOLDER is what `deploy.embedded.accelerated.lines` wrote. Lines of as many tokens are a group, which is spoken in
batches of about as many frames, so that nothing is masked and each row is stretched by a hundredth or so. The codes of
a group are FOLDER/codes/GROUP.npz, and for the first groups of each process FOLDER/audio/GROUP.npy is their speech, for
`deploy.embedded.codec`. A file is whole or absent, so run it again, in as many processes (`--rank` of `--world`) as the
device has room for, and it goes on.

Shapes: B batch, N samples, T frames of codes.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from deploy.embedded.accelerated import batched_kokoro, lines
from deploy.embedded.accelerated.batched_kokoro import Kokoro
from deploy.embedded.accelerated.lines import Script
from deploy.embedded.accelerated.resampling import resample
from model.codec.encodec import EMBEDDED, HOP, SAMPLE_RATE, build
from model.codec.quantizer import Quantizer
from model.codec.weights import CODEBOOKS, read

_GROUP = 128  # lines at most whose text is read together
_BATCH, _BATCH_SECONDS = 32, 160.0  # lines, and seconds of speech, at most that are spoken together
_LONGEST = 1_100  # frames of 25 ms
_QUIET, _PADDING = 0.01, 2_400  # what is not heard; samples kept on either side of what is
_SHORTEST = 15  # frames of codes, 0.2 s


class Spoken(NamedTuple):
    """A line as it was said."""

    line: int
    wav: Tensor  # [N] at 24 kHz
    codes: NDArray[np.uint16]  # [Q, T]


def main() -> None:
    parser = argparse.ArgumentParser(description="Speaks lines; run again to go on.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kokoro", type=Path, required=True, help="weights by deploy.embedded.accelerated.weights")
    parser.add_argument("--codec", type=Path, default=EMBEDDED)
    parser.add_argument("--rank", type=int, default=0, help="tells processes apart")
    parser.add_argument("--world", type=int, default=1, help="of how many processes")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to go on")
    parser.add_argument(
        "--waves", type=int, default=4, help="groups of each process whose speech is kept, 8 minutes each"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32
    script = lines.read(options.folder)
    speaker = Speaker(script, Kokoro(batched_kokoro.read(options.kokoro), device), options.codec, device)
    begun, seconds = time.time(), 0.0
    mine = list(enumerate(groups(script)))[options.rank :: options.world]
    for place, (number, group) in enumerate(mine):
        if time.time() > begun + 60 * options.minutes:
            break
        if not (options.folder / "codes" / f"{number:05d}.npz").exists():
            seconds += speaker.keep(options.folder, number, group, place < options.waves)
            pace = seconds / (time.time() - begun)
            print(f"{place + 1} of {len(mine)} groups, {seconds / 3600:.2f} h, {pace:.0f} s a second", flush=True)


def groups(script: Script) -> list[NDArray[np.int64]]:
    """The places of lines of as many tokens, the groups in any order."""
    pick, by_length = np.random.default_rng(1), dict[int, list[int]]()
    for place, line in enumerate(script.lines):
        by_length.setdefault(len(line.tokens), []).append(place)
    found = []
    for places in by_length.values():
        shuffled = pick.permutation(places)
        found += [shuffled[first : first + _GROUP] for first in range(0, len(shuffled), _GROUP)]
    return [found[place] for place in pick.permutation(len(found))]


class Speaker:
    """Kokoro and a codec's encoder on one device."""

    def __init__(self, script: Script, kokoro: Kokoro, codec: Path, device: torch.device) -> None:
        self._script, self._kokoro, self._device = script, kokoro, device
        self._tables = torch.from_numpy(np.stack(list(script.tables.values()))).to(device, torch.float32)
        self._timbre = self._mixtures([dict(voice.timbre) for voice in script.voices])
        self._prosody = self._mixtures([dict(voice.prosody) for voice in script.voices])
        state, shape = read(codec)
        model = build(shape)
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
        model = model.to(device)
        self._encoder, self._quantizer = model.encoder, Quantizer(model.quantizer, CODEBOOKS)

    def _mixtures(self, voices: Sequence[dict[str, float]]) -> Tensor:
        """The share of each table in each voice."""
        return torch.tensor([[shares.get(name, 0.0) for name in self._script.tables] for shares in voices]).to(
            self._device
        )

    def keep(self, folder: Path, number: int, group: NDArray[np.int64], with_waves: bool) -> float:
        """Speaks a group and writes its files; gives the seconds of speech."""
        with torch.inference_mode():
            said = list(self.say(group))
        waves = [spoken.wav.clamp(-1, 1) for spoken in said if not self._script.lines[spoken.line].held_out]
        if with_waves and waves:
            pcm = (torch.cat(waves) * 32767).round().to(torch.int16).cpu().numpy()
            _write(folder / "audio" / f"{number:05d}.npy", pcm)
        _write(
            folder / "codes" / f"{number:05d}.npz",
            lines=np.array([spoken.line for spoken in said], np.int64),
            lengths=np.array([spoken.codes.shape[1] for spoken in said], np.int64),
            codes=np.concatenate([np.zeros((CODEBOOKS, 0), np.uint16), *(spoken.codes for spoken in said)], axis=1),
        )
        if len(said) < len(group):
            print(f"group {number}: {len(group) - len(said)} lines were not heard, or for less than 0.2 s")
        return sum(len(spoken.wav) for spoken in said) / SAMPLE_RATE

    def say(self, group: NDArray[np.int64]) -> Iterator[Spoken]:
        """Lines of as many tokens; one of which nothing is heard is left out."""
        said, device = [self._script.lines[place] for place in group], self._device
        tokens = torch.tensor([line.tokens for line in said], device=device)
        voices = torch.tensor([line.voice for line in said], device=device)
        speeds = torch.tensor([line.speed for line in said], device=device)
        tables = self._tables[:, min(tokens.shape[1] - 2, self._tables.shape[1] - 1)]  # [tables, 256]
        timbre, prosody = self._timbre[voices] @ tables[:, :128], self._prosody[voices] @ tables[:, 128:]
        state, durations = self._kokoro.text(tokens, torch.cat([timbre, prosody], 1))
        wanted = (durations.clamp(min=1) / speeds[:, None]).sum(1)
        order, frames = wanted.argsort().cpu().numpy(), wanted.double().cpu().numpy()
        size = max(1, min(_BATCH, int(_BATCH_SECONDS * SAMPLE_RATE / batched_kokoro.HOP / np.median(frames))))
        for rows in (order[first : first + size] for first in range(0, len(order), size)):
            total = int(np.clip(round(float(np.median(frames[rows]))), tokens.shape[1], _LONGEST))
            here = torch.from_numpy(rows).to(device)
            each = batched_kokoro.spread(durations[here], speeds[here], total)
            yield from self._encoded(self._kokoro.speech(state[here], each, total), group[rows])

    def _encoded(self, wav: Tensor, places: NDArray[np.int64]) -> Iterator[Spoken]:
        """Speech `[B, N]` of lines, cut to what is heard, played at its voice's pace, and its codes."""
        bounds = _bounds(wav)
        factors = [self._script.voices[self._script.lines[place].voice].factor for place in places]
        for factor in sorted(set(factors)):
            rows = [row for row, (begin, end) in enumerate(bounds) if factors[row] == factor and end > begin]
            if not rows:
                continue
            cut = pad_sequence([wav[row, slice(*bounds[row])] for row in rows], batch_first=True)
            lengths = [-(-(bounds[row][1] - bounds[row][0]) * 24 // factor) for row in rows]
            played = cut if factor == 24 else resample(cut, factor, 24)[:, : max(lengths)]
            filled = F.pad(played, (0, HOP + -max(lengths) % HOP))
            codes = self._quantizer.encode(self._encoder(filled[:, None].clamp(-1, 1))).cpu().numpy().astype(np.uint16)
            for place, speech, said, length in zip(places[rows], played, codes, lengths, strict=True):
                num_frames = -(-length // HOP)
                if num_frames >= _SHORTEST:
                    yield Spoken(int(place), speech[:length], said[:, :num_frames])


def _bounds(wav: Tensor) -> list[tuple[int, int]]:
    """Where in each row of `[B, N]` speech begins and ends, with a tenth of a second around; (0, 0) for none."""
    loud, size = (wav.abs() > _QUIET).float(), wav.shape[1]
    begins = (loud.argmax(1) - _PADDING).clamp(min=0)
    ends = (size - 1 - loud.flip(1).argmax(1) + _PADDING).clamp(max=size)
    found: list[tuple[int, int]] = (torch.stack([begins, ends], 1) * loud.any(1)[:, None]).tolist()
    return found


def _write(path: Path, array: NDArray[np.int16] | None = None, **arrays: NDArray[np.generic]) -> None:
    """A file of one array or several that appears whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".draft")
    with open(draft, "wb") as file:
        if array is None:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        else:
            np.save(file, array)
    draft.replace(path)


if __name__ == "__main__":
    main()
