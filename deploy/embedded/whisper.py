"""Trains the embedded Whisper on espeak-ng speech: `python -m deploy.embedded.whisper`.

The surprising fact: cross-entropy alone does not find the alignment in an hour on one core; a
character CTC loss on the encoder beside it does in minutes. A second one: only the vocabulary's
rows are trained. The other fifty thousand tokens share one row, counted as often in the softmax as they
are many, so the probabilities are those of the full vocabulary, and the checkpoint deflates to what it knows.
Source: Radford et al. 2022 (arXiv:2212.04356); joint CTC and attention, Kim et al. 2017 (arXiv:1609.06773).

B batch, F mel frames (100 a second), T encoder positions (50 a second), P tokens, V trained rows.
"""

import argparse
import functools
import io
import itertools
import json
import math
import os
import random
import time
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import jiwer
import numpy as np
import soxr
import torch
import torch.nn.functional as F
import whisper
from numpy.typing import NDArray
from torch import Tensor, nn
from whisper.model import ModelDimensions, Whisper
from whisper.normalizers import EnglishTextNormalizer
from whisper.tokenizer import Tokenizer, get_tokenizer

from deploy.embedded.speech import HELD_OUT_VOICES, TRAIN_VOICES, VOCABULARY, sentences, speak

SAMPLE_RATE = whisper.audio.SAMPLE_RATE  # Hz
FRAMES_PER_SECOND = whisper.audio.FRAMES_PER_SECOND
POSITIONS = 1500  # of the encoder, 30 s
CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"  # what CTC spells with; 0 is its blank
WIDTH, HEADS, ENCODER_LAYERS, DECODER_LAYERS = 192, 3, 4, 2
ENGLISH_ONLY = 51_864  # rows of every English-only Whisper


@dataclass(frozen=True)
class Phase:
    """One stretch of the training."""

    name: str
    steps: int
    batch: int
    seconds: tuple[float, float]  # speech and the silence after it, drawn per batch
    rate: tuple[float, float]  # learning rate at its first and last step
    padded: bool  # windows of 30 s, as `decode` makes them; else cut, at a random place of the 30 s


PHASES = (
    Phase("short", 4000, 16, (4.0, 8.0), (2e-3, 8e-4), padded=False),
    Phase("long", 1400, 8, (6.0, 22.0), (8e-4, 4e-4), padded=False),
    Phase("padded", 600, 8, (4.0, 26.0), (4e-4, 2e-5), padded=True),
)
WARM_UP = 300  # steps
CTC_WEIGHT = 0.5


class Bank:
    """Spoken sentences, each used a few times: speaking costs as much as a training step."""

    def __init__(self, seed: int, size: int = 1500) -> None:
        self._pick = random.Random(seed)
        self._texts = sentences(seed)
        self._size = size
        self._spoken: list[tuple[str, NDArray[np.float32]]] = []

    def refresh(self, count: int) -> None:
        """Speaks `count` more and forgets the oldest."""
        for text in itertools.islice(self._texts, count):
            said = self._fragment(text) if self._pick.random() < 0.2 else text
            voice = self._pick.choice(TRAIN_VOICES)
            voice = replace(voice, pitch=self._pick.randint(20, 80), rate=self._pick.randint(130, 195))
            pace = self._pick.uniform(0.93, 1.07)  # moves the formants, for voices that are not here
            self._spoken.append((said, speak(said, voice, round(SAMPLE_RATE * pace))))
        self._spoken = self._spoken[-self._size :]

    def _fragment(self, text: str) -> str:
        """Some words from within, half the time in any order, so that hearing counts and grammar does not."""
        words = text.rstrip(".?").replace(",", "").split()[1:]
        start = self._pick.randrange(max(1, len(words) - 3))
        words = words[start : start + self._pick.randint(2, 8)]
        if self._pick.random() < 0.5:
            self._pick.shuffle(words)
        return " ".join(words)

    def window(self, seconds: float) -> tuple[str, NDArray[np.float32]]:
        """Text and waveform of at most `seconds`: sentences with pauses between them, or no speech at all."""
        if self._pick.random() < 0.04:
            return "", np.zeros(round(self._pick.uniform(0.5, seconds) * SAMPLE_RATE), np.float32)
        room = seconds * self._pick.choice([0.5, 0.75, 1.0, 1.0])
        pieces = [_silence(self._pick.uniform(0.0, 0.3))]
        said: list[str] = []
        for _ in range(64):
            text, speech = self._pick.choice(self._spoken)
            used = sum(map(len, pieces)) + len(speech)
            if used > (room if said else seconds) * SAMPLE_RATE:
                if said:
                    break
                continue
            pieces += [speech, _silence(self._pick.uniform(0.1, 0.8))]
            said.append(text)
        return " ".join(said), np.concatenate(pieces)[: round(seconds * SAMPLE_RATE)]


def _silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def disturb(waveform: NDArray[np.float32], pick: np.random.Generator) -> NDArray[np.float32]:
    """The waveform as other microphones and codecs give it: gain, noise, a narrower band."""
    num_samples = len(waveform)
    if pick.random() < 0.5:
        level = 10 ** (-pick.uniform(15, 50) / 20) * (np.std(waveform) + 1e-3)
        waveform = waveform + (level * pick.standard_normal(num_samples)).astype(np.float32)
    if pick.random() < 0.3:
        cut = pick.uniform(3000, 7500)  # Hz
        waveform = soxr.resample(soxr.resample(waveform, SAMPLE_RATE, 2 * cut), 2 * cut, SAMPLE_RATE)
        waveform = np.pad(waveform, (0, max(0, num_samples - len(waveform))))[:num_samples]
    return (waveform * 10 ** (-pick.uniform(0, 20) / 20)).astype(np.float32)


def smear(mel: Tensor, pick: np.random.Generator) -> Tensor:
    """A log-mel spectrogram `[80, F]` blurred as a small codec blurs it, with stripes left out."""
    if pick.random() < 0.3:
        mel = F.avg_pool2d(mel[None], (3, 3), 1, 1, count_include_pad=False)[0] * 0.5 + mel * 0.5
    if pick.random() < 0.3:
        mel = mel + pick.uniform(0.02, 0.12) * torch.from_numpy(pick.standard_normal(mel.shape, np.float32))
    mel = mel.clone()
    floor = mel.min()
    for _ in range(pick.integers(0, 3)):
        start, width = pick.integers(0, 74), pick.integers(1, 7)
        mel[start : start + width] = floor
    for _ in range(pick.integers(0, 3)):
        start, width = pick.integers(0, mel.shape[1]), pick.integers(1, 8)
        mel[:, start : start + width] = floor
    return mel


@functools.cache
def english() -> Tokenizer:
    """Whisper's English-only tokenizer."""
    return get_tokenizer(multilingual=False)


@functools.cache
def rows() -> dict[int, int]:
    """Token id to trained row: specials, punctuation, and each word in lower case and with a capital."""
    tokens = english()
    known = {tokens.eot, tokens.sot, tokens.no_timestamps, tokens.no_speech}
    for said in [",", ".", "?"] + [f" {form}" for word in VOCABULARY for form in (word, word.capitalize())]:
        known.update(tokens.encode(said))
    return {token: row for row, token in enumerate(sorted(known))}


def token_rows(text: str) -> tuple[list[int], list[int]]:
    """What the decoder reads and what it should answer, in trained rows; no text answers `no speech`."""
    tokens, row = english(), rows()
    said = [row[token] for token in tokens.encode(f" {text}")] if text else []
    start = row[tokens.no_timestamps] if text else row[tokens.no_speech]
    return [row[tokens.sot], row[tokens.no_timestamps], *said], [start, *said, row[tokens.eot]]


@dataclass(frozen=True)
class Batch:
    """What one step reads."""

    mel: Tensor  # [B, 80, F]
    read: Tensor  # [B, P] trained rows
    answer: Tensor  # [B, P] trained rows, -100 where there is none
    letters: list[Tensor]  # for CTC


def make_batch(bank: Bank, phase: Phase, pick: np.random.Generator) -> Batch:
    """Fresh windows, disturbed, of one length."""
    seconds = pick.uniform(*phase.seconds)
    window = POSITIONS / 50 if phase.padded else seconds
    num_samples = 2 * round(window * FRAMES_PER_SECOND / 2) * whisper.audio.HOP_LENGTH
    mels, read, answer, letters = [], [], [], []
    for _ in range(phase.batch):
        text, waveform = bank.window(pick.uniform(*phase.seconds) if phase.padded else seconds)
        heard = whisper.pad_or_trim(torch.from_numpy(disturb(waveform, pick)), num_samples)
        mels.append(smear(whisper.log_mel_spectrogram(heard), pick))
        inputs, targets = token_rows(text)
        read.append(torch.tensor(inputs))
        answer.append(torch.tensor(targets))
        letters.append(torch.tensor([1 + CHARACTERS.index(c) for c in text.lower() if c in CHARACTERS]))
    pad = functools.partial(nn.utils.rnn.pad_sequence, batch_first=True)
    return Batch(torch.stack(mels), pad(read), pad(answer, padding_value=-100), letters)


def new_model() -> Whisper:
    """A fresh Whisper whose vocabulary is the trained rows and, last, the row of all other tokens."""
    dims = ModelDimensions(
        80, POSITIONS, WIDTH, HEADS, ENCODER_LAYERS, len(rows()) + 1, 448, WIDTH, HEADS, DECODER_LAYERS
    )
    model = Whisper(dims)
    decoder = model.decoder
    nn.init.normal_(decoder.positional_embedding, std=0.02)
    nn.init.normal_(decoder.token_embedding.weight, std=WIDTH**-0.5)
    with torch.no_grad():  # the untrained tokens start out improbable: their row against the last bias
        decoder.ln.bias.fill_(0.25)
        decoder.token_embedding.weight[-1] = -0.5
    return model


def encode(model: Whisper, mel: Tensor, offset: int) -> Tensor:
    """`AudioEncoder.forward` on a window `[B, 80, F]` that begins at any position of the 30 s: `[B, T, D]`."""
    encoder = model.encoder
    x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
    x = x + encoder.positional_embedding[offset : offset + x.shape[1]]
    for block in encoder.blocks:
        x = block(x)
    return encoder.ln_post(x)


def losses(model: Whisper, spell: nn.Linear, batch: Batch, offset: int) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the tokens and CTC of the letters, each per symbol."""
    with torch.autocast("cpu", torch.bfloat16):
        features = encode(model, batch.mel, offset)
        logits = model.decoder(batch.read, features)
        spelled = spell(features)
    logits = logits.float()
    others = torch.zeros(logits.shape[-1])
    others[-1] = math.log(ENGLISH_ONLY - len(rows()))
    tokens = F.cross_entropy((logits + others).flatten(0, 1), batch.answer.flatten())
    lengths = torch.tensor([len(letters) for letters in batch.letters])
    positions = torch.full_like(lengths, features.shape[1])
    by_time = spelled.float().log_softmax(-1).transpose(0, 1)
    letters = F.ctc_loss(by_time, torch.cat(batch.letters), positions, lengths, reduction="sum", zero_infinity=True)
    return tokens, letters / lengths.sum()


def export(model: Whisper, path: Path) -> None:
    """A checkpoint as openai-whisper saves it, in fp16 and deflated, whole or not at all.

    `torch.load` reads a deflated archive as it reads a stored one; the rows of the untrained
    tokens are one row many times and take no room.
    """
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    trained = state["decoder.token_embedding.weight"]
    full = trained[-1].repeat(ENGLISH_ONLY, 1)
    full[list(rows())] = trained[:-1]
    state["decoder.token_embedding.weight"] = full
    plain = io.BytesIO()
    torch.save({"dims": {**asdict(model.dims), "n_vocab": ENGLISH_ONLY}, "model_state_dict": state}, plain)
    part = path.with_suffix(".part")
    with zipfile.ZipFile(plain) as stored, zipfile.ZipFile(part, "w") as deflated:
        for name in stored.namelist():
            deflated.writestr(zipfile.ZipInfo(name), stored.read(name), zipfile.ZIP_DEFLATED, 9)
    os.replace(part, path)


def held_out(count: int, seed: int = 1) -> list[tuple[str, NDArray[np.float32]]]:
    """Utterances of 5 to 20 s: unseen sentences, unseen voices, pauses of 0.2 to 0.8 s."""
    pick, texts = random.Random(seed), sentences(seed, held_out=True)
    utterances = []
    for i in range(count):
        voice, said, pieces = HELD_OUT_VOICES[i % len(HELD_OUT_VOICES)], [], [_silence(0.1)]
        seconds = pick.uniform(4.0, 14.0)  # and the sentence that passes it
        while sum(map(len, pieces)) < seconds * SAMPLE_RATE:
            said.append(next(texts))
            pieces += [speak(said[-1], voice, SAMPLE_RATE), _silence(pick.uniform(0.2, 0.8))]
        utterances.append((" ".join(said), np.concatenate(pieces)))
    return utterances


def word_error_rate(path: Path, utterances: list[tuple[str, NDArray[np.float32]]]) -> float:
    """The checkpoint's, loaded and decoded as any other Whisper, in windows of 30 s."""
    model, normal = whisper.load_model(str(path), device="cpu"), EnglishTextNormalizer()
    options = whisper.DecodingOptions(language="en", without_timestamps=True, fp16=False)
    heard = []
    for i in range(0, len(utterances), 8):
        mels = [whisper.log_mel_spectrogram(whisper.pad_or_trim(w)) for _, w in utterances[i : i + 8]]
        heard += [result.text for result in model.decode(torch.stack(mels), options)]
    return float(jiwer.wer([normal(text) for text, _ in utterances], [normal(text) for text in heard]))


def rate_at(phase: Phase, step: int, total: int) -> float:
    """Learning rate at a step of a phase: a half cosine, after a warm-up at the very beginning."""
    first, last = phase.rate
    fall = last + (first - last) * 0.5 * (1 + math.cos(math.pi * step / phase.steps))
    return fall * min(1.0, (total + 1) / WARM_UP)


class Trainer:
    """Model, CTC head, optimizer and step, saved together, so that a killed training goes on."""

    def __init__(self, work: Path, output: Path) -> None:
        torch.manual_seed(0)
        self.model, self.spell = new_model(), nn.Linear(WIDTH, len(CHARACTERS) + 1)
        self.parameters = [*self.model.parameters(), *self.spell.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        self.step = 0
        self.state, self.output, self.log = work / "state.pt", output, output.with_suffix(".jsonl")
        if self.state.exists():
            saved = torch.load(self.state)
            for part in ("model", "spell", "optimizer"):
                getattr(self, part).load_state_dict(saved[part])
            self.step = saved["step"]
        self.bank = Bank(seed=1000 + self.step)
        self.bank.refresh(300)
        self.pick = np.random.default_rng(self.step)

    def save(self) -> None:
        """The whole state, by rename, and the checkpoint that others load."""
        parts = {part: getattr(self, part).state_dict() for part in ("model", "spell", "optimizer")}
        part = self.state.with_suffix(".part")
        torch.save({**parts, "step": self.step}, part)
        os.replace(part, self.state)
        export(self.model, self.output)

    def advance(self, phase: Phase, step: int) -> tuple[float, float]:
        """One step; returns both losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(phase, step, self.step)
        self.bank.refresh(max(1, round(phase.batch * sum(phase.seconds) / 2 / 3.5 / 4)))  # each is used about 4 times
        batch = make_batch(self.bank, phase, self.pick)
        free = POSITIONS - batch.mel.shape[2] // 2
        offset = int(self.pick.integers(0, free + 1)) if self.pick.random() < 0.5 else 0
        tokens, letters = losses(self.model, self.spell, batch, offset)
        self.optimizer.zero_grad()
        (tokens + CTC_WEIGHT * letters).backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        return tokens.item(), letters.item()

    def run(self) -> None:
        """All phases, from wherever the state stands; a line of the log every 100 steps."""
        judged, began, seen = held_out(32), time.monotonic(), []
        ends = list(itertools.accumulate(phase.steps for phase in PHASES))
        for phase, end in zip(PHASES, ends, strict=True):
            while self.step < end:
                seen.append(self.advance(phase, self.step - (end - phase.steps)))
                if self.step % 100 and self.step != end:
                    continue
                line = {"phase": phase.name, "step": self.step, "minutes": round((time.monotonic() - began) / 60, 1)}
                line |= dict(zip(("loss", "ctc"), np.mean(seen, axis=0).round(4).tolist(), strict=True))
                seen.clear()
                if self.step % 500 == 0 or self.step == end:
                    self.save()
                    line["held_out_wer"] = round(word_error_rate(self.output, judged), 4)
                with self.log.open("a") as log:
                    log.write(json.dumps(line) + "\n")
                print(line, flush=True)


def main() -> None:
    """Trains, or goes on training."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--output", type=Path, default=Path("model/embedded/whisper.pt"))
    options.add_argument("--work", type=Path, default=Path(".work/whisper"))
    chosen = options.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    Trainer(chosen.work, chosen.output).run()


if __name__ == "__main__":
    main()
