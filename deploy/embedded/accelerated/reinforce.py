"""Teaches an AR by how it is heard: `python -m deploy.embedded.accelerated.reinforce FOLDER OUT`.

What a half learns from speech is the next code behind true ones. Here it speaks by itself, as it will: texts of FOLDER
in voices of FOLDER (what `lines` writes and `speak` says), each several times; the NAR and the codec make speech of it,
Whisper writes down what it hears, and what was heard better than the other tries of the same text is made likelier,
what was heard worse less likely. A reward is of words, of how likely Whisper thinks the text, and of how near the voice
is to the prompt's, so that it does not learn to be clear in one voice for all. It stays near the half that it began as
by the divergence of all its choices from that one's.

So its WER by that very Whisper is what it was taught, and says less than before: ask another ear as well.
OUT is a pair: OUT/ar the moving average that was heard best on held-out voices, OUT/nar the NAR as it was. OUT/last is
the average of the end, and OUT/log.jsonl says how it went.

Source: policy gradients with the mean of the other tries as the baseline (Williams 1992; Kool et al. 2019, "Buy 4
REINFORCE samples"; Shao et al. 2024, arXiv:2402.03300, for the group and the divergence).

Shapes: B rows, N samples.
"""

import argparse
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deploy.embedded.accelerated import lines
from deploy.embedded.accelerated.hearing import Listener, low
from deploy.embedded.accelerated.rollouts import Asked, Rollout, Spoken, chances, divergence, likelihood, roll_out
from model.asr.weights import load_whisper
from model.codec.encodec import HOP, Codec, load_codec
from model.training.optimizer import Average, adamw
from model.valle import checkpoint
from model.valle.batch import Batch, Example, collate
from model.valle.decoding import fill
from model.valle.nar import NAR
from model.valle.sampling import PHONE_BY_PHONE, Sampling
from model.valle.settings import NUM_CODEBOOKS
from model.valle.synthesis import load_pair
from tasks.evaluation import checkpoint_pairs

_EXPLORING = Sampling(temperature=1.0, top_p=0.8, window=0)
_PROMPT_FRAMES = range(100, 331)  # that an utterance has which serves as a prompt
_TEXT_PHONES = range(8, 81)  # of what is said
_WORDS, _NATS, _VOICE = 1.0, 0.2, 1.0  # what each part of a reward counts
_ROWS = 128  # that pass a model at once, which bounds memory
_VALID_ROWS = 240
_WARM_UP = 5  # rounds


def main() -> None:
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    Run(_options()).to_the_end()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Teaches an AR by how it is heard.")
    parser.add_argument("folder", type=Path, help="where deploy.embedded.accelerated.speak leaves codes")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pair", default=checkpoint_pairs.EMBEDDED, help="a folder with ar/ and nar/ to begin with")
    parser.add_argument("--codec", default="embedded")
    parser.add_argument("--whisper", default="embedded", help="a name or a folder in CTranslate2's format")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--texts", type=int, default=64, help="of a round")
    parser.add_argument("--tries", type=int, default=8, help="of each text")
    parser.add_argument("--steps", type=int, default=2, help="that a round's texts are shared out to")
    parser.add_argument("--rate", type=float, default=1e-4, help="AdamW's, at its height")
    parser.add_argument("--near", type=float, default=0.04, help="what a nat of divergence costs")
    parser.add_argument("--every", type=int, default=15, help="rounds between validations")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def heard(folder: Path, held_out: bool) -> tuple[list[Spoken], list[tuple[NDArray[np.uint16], str]]]:
    """Prompts, and the phones of texts with their words."""
    script, prompts = lines.read(folder), []
    for path in sorted((folder / "codes").glob("*.npz")):
        for place, codes in lines.codes(path):
            line = script.lines[place]
            if line.held_out == held_out and codes.shape[1] in _PROMPT_FRAMES:
                prompts.append(Spoken(np.array(line.phones, np.uint16), codes))
    said = [line for line in script.lines if line.held_out == held_out and len(line.phones) in _TEXT_PHONES]
    if not prompts or not said:
        raise SystemExit(f"{folder} holds no {'held-out ' if held_out else ''}utterances of 1.3 to 4.4 s")
    return prompts, [(np.array(line.phones, np.uint16), line.text) for line in said]


class Voice:
    """What makes speech of an AR's codes, and hears it."""

    def __init__(self, nar: NAR, codec: Codec, listener: Listener, device: torch.device) -> None:
        self._nar, self._codec, self._listener, self._device = nar, codec, listener, device

    @torch.inference_mode()
    def judge(self, rollout: Rollout, asked: list[Asked]) -> tuple[Tensor, Tensor, Tensor]:
        """The share of words wrong `[B]`, nats a token, and the similarity to the prompt's voice."""
        found = []
        for first in range(0, len(asked), _ROWS):
            some, here = asked[first : first + _ROWS], rollout.rows(slice(first, first + _ROWS))
            wav, lengths = self._speech(here, some)
            wrong, nats, voices = self._listener.hear(wav, lengths, [one.text for one in some])
            found.append((wrong, nats, (voices * self._prompts(some)).sum(1)))
        wrongs, nats_of_all, alike = zip(*found, strict=True)
        return torch.cat(wrongs), torch.cat(nats_of_all), torch.cat(alike)

    def _speech(self, rollout: Rollout, asked: list[Asked]) -> tuple[Tensor, Tensor]:
        """New speech `[B, N]` and its lengths."""
        codes = rollout.codes[:, None].repeat(1, NUM_CODEBOOKS, 1)
        for row, one in enumerate(asked):
            length = int(rollout.prompt_lengths[row])
            codes[row, :, :length] = torch.from_numpy(one.prompt.codes[:, -length:].astype(np.int64)).to(codes.device)
        batch = Batch(rollout.phones, rollout.phone_lengths, codes, rollout.lengths, torch.zeros_like(rollout.lengths))
        languages = batch.languages if self._nar.settings.languages else None
        known = rollout.prompt_lengths
        filled = fill(self._nar, batch, known, known, languages, self._codec.codebooks)
        new = rollout.lengths - known
        places = (known[:, None] + torch.arange(int(new.max()), device=new.device)).clamp(max=filled.shape[2] - 1)
        said = filled.gather(2, places[:, None].expand(-1, NUM_CODEBOOKS, -1))
        return self._codec.decode(said)[:, 0], new * HOP

    def _prompts(self, asked: list[Asked]) -> Tensor:
        """The voices of prompts `[B, 256]`."""
        known = {id(one.prompt): one.prompt for one in asked}
        batch = collate([Example(prompt.phones, prompt.codes) for prompt in known.values()]).to(self._device)
        heard_low, lengths = low(self._codec.decode(batch.codes)[:, 0], batch.code_lengths * HOP)
        voices = dict(zip(known, self._listener.voices(heard_low, lengths), strict=True))
        return torch.stack([voices[id(one.prompt)] for one in asked])


class Run:
    """A training from its beginning to its end."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        folder = checkpoint_pairs.folder(options.pair)
        pair = load_pair(folder / "ar", folder / "nar", str(self.device))
        self.ar, self.nar = pair.ar, pair.nar
        self.before = load_pair(folder / "ar", folder / "nar", str(self.device)).ar
        for name, parameter in self.ar.named_parameters():
            parameter.requires_grad_(name != "heard_as")
        codec = load_codec(options.codec, device=str(self.device))
        self.voice = Voice(self.nar, codec, Listener(load_whisper(options.whisper), self.device), self.device)
        self.prompts, self.texts = heard(options.folder, held_out=False)
        self.valid = self._valid(*heard(options.folder, held_out=True))
        self.optimizer = adamw(self.ar, options.rate, (0.9, 0.95), weight_decay=0.0)
        self.average, self.pick = Average(self.ar, 0.9), np.random.default_rng(options.seed)
        self.begun, self.best, self.number = time.time(), float("inf"), 0
        checkpoint.save(options.out / "nar", self.nar)

    def _valid(self, prompts: list[Spoken], texts: list[tuple[NDArray[np.uint16], str]]) -> list[Asked]:
        order = np.random.default_rng(0).permutation(len(texts))  # else an utterance would be asked for its own text
        return [Asked(prompts[at % len(prompts)], *texts[order[at % len(texts)]]) for at in range(_VALID_ROWS)]

    def to_the_end(self) -> None:
        """Rounds until the time is over."""
        self._validate()
        for asked in self._rounds():
            line = self._learn(asked)
            self._tell(line)
            if self.number % self.options.every == 0:
                self._validate()
        self._validate()
        with self.average.shown():
            checkpoint.save(self.options.out / "last", self.ar)

    def _rounds(self) -> Iterator[list[Asked]]:
        while self._done() < 1:
            prompts = self.pick.integers(len(self.prompts), size=self.options.texts)
            texts = self.pick.integers(len(self.texts), size=self.options.texts)
            asked = [Asked(self.prompts[p], *self.texts[t]) for p, t in zip(prompts, texts, strict=True)]
            yield [one for one in asked for _ in range(self.options.tries)]

    def _done(self) -> float:
        minutes: float = self.options.minutes
        return (time.time() - self.begun) / (60 * minutes)

    def _learn(self, asked: list[Asked]) -> dict[str, Any]:
        """One round: speaks, is heard, and takes a step."""
        rollout = roll_out(self.ar, asked, _EXPLORING, self.device, self.options.seed + self.number)
        wrong, nats, alike = self.voice.judge(rollout, asked)
        reward = _VOICE * alike - _WORDS * wrong.clamp(max=1) - _NATS * nats.clamp(max=5)
        tries = reward.view(-1, self.options.tries)
        better = (tries - tries.mean(1, keepdim=True)).flatten()
        better = better / (better.square().mean().sqrt() + 1e-6)
        size = len(asked) // self.options.steps
        parts_of = [slice(at, at + size) for at in range(0, len(asked), size)]
        steps = [self._step(rollout.rows(some), better[some]) for some in parts_of]
        self.number += 1
        parts = {"wrong": wrong, "nats": nats, "alike": alike, "reward": reward, "spread": tries.std(1)}
        parts |= {
            "apart": torch.tensor([apart for apart, _ in steps]),
            "norm": torch.stack([norm for _, norm in steps]),
        }
        return {name: round(float(part.mean()), 4) for name, part in parts.items()}

    def _step(self, rollout: Rollout, better: Tensor) -> tuple[float, Tensor]:
        """Makes what was better likelier; gives the divergence, nats a frame, and the gradient's length."""
        group, num_new, apart = self.ar.settings.group, int((rollout.lengths - rollout.prompt_lengths).sum()), 0.0
        for first in range(0, len(better), _ROWS):
            here = rollout.rows(slice(first, first + _ROWS))
            with torch.no_grad():
                before = chances(self.before, here)
            now = chances(self.ar, here)
            gain = (likelihood(now, here, _EXPLORING, group) * better[first : first + _ROWS]).sum()
            far = divergence(now, before, group)
            torch.autograd.backward((self.options.near * far - gain) / num_new)
            apart += float(far.detach()) / num_new
        norm = nn.utils.clip_grad_norm_(self.ar.parameters(), 1.0)
        height = min(1.0, (self.number + 1) / _WARM_UP, 1.0 - 0.95 * max(0.0, 2 * self._done() - 1))
        for settings in self.optimizer.param_groups:
            settings["lr"] = self.options.rate * height
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.follow(self.number)
        return apart, norm.detach()

    def _validate(self) -> None:
        """How the average is heard by held-out voices, sampled as it ships; keeps it where none was heard better."""
        with self.average.shown():
            rollout = roll_out(self.ar, self.valid, PHONE_BY_PHONE, self.device, 0)
            wrong, nats, alike = self.voice.judge(rollout, self.valid)
            words = torch.tensor([len(one.text.split()) for one in self.valid], device=self.device)
            wer = float((wrong * words).sum() / words.sum())
            if wer < self.best:
                self.best = wer
                checkpoint.save(self.options.out / "ar", self.ar)
        self._tell(
            {"valid": round(wer, 4), "nats": round(float(nats.mean()), 3), "alike": round(float(alike.mean()), 4)}
        )

    def _tell(self, line: dict[str, Any]) -> None:
        line = {"round": self.number, "seconds": round(time.time() - self.begun)} | line
        logging.getLogger("reinforce").info("%s", json.dumps(line))
        with (self.options.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
