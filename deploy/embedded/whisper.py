"""Trains the embedded Whisper on espeak-ng speech: `python -m deploy.embedded.whisper`.

The surprising fact: what an encoder with sinusoidal positions learns last is to listen to its neighbourhood, and
it can be given that at the start (`listen_nearby`): ten hours of speech then taught it more than fifty without.
A second one: only the vocabulary's rows are trained. The other fifty thousand tokens share one row, counted in
the softmax as often as they are many, so the probabilities are those of the full vocabulary, and the deflated
checkpoint is as large as what it knows.
Source: Radford et al. 2022 (arXiv:2212.04356); joint CTC and attention, Kim et al. 2017 (arXiv:1609.06773).

B batch, F mel frames (100 a second), T encoder positions (50 a second), P tokens, V trained rows.
"""

import argparse
import io
import itertools
import json
import math
import os
import time
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import jiwer
import numpy as np
import soxr
import torch
import torch.nn.functional as F
import whisper
from numpy.typing import NDArray
from torch import Tensor, nn
from whisper.model import ModelDimensions, MultiHeadAttention, Whisper
from whisper.normalizers import EnglishTextNormalizer

from deploy.embedded.windows import CHARACTERS, SAMPLE_RATE, Bank, Batch, held_out, make_batch, rows, word_classes

POSITIONS = 1500  # of the encoder, 30 s
WIDTH, HEADS, ENCODER_LAYERS, DECODER_LAYERS = 192, 3, 4, 2
REACH = (3, 6, 12, 24)  # positions of 20 ms, layer by layer
ENGLISH_ONLY = 51_864  # rows of every English-only Whisper


@dataclass(frozen=True)
class Phase:
    """One stretch of the training."""

    name: str
    steps: int
    batch: int
    seconds: tuple[float, float]  # of a window: speech and the silence after it
    rate: tuple[float, float]  # learning rate at its first and last step
    letters: float = 0.3  # weight of the CTC loss


PHASES = (
    Phase("short", 3500, 8, (3.0, 6.0), (1.5e-3, 7e-4)),
    Phase("long", 1600, 8, (5.0, 20.0), (7e-4, 5e-5), letters=0.0),
    Phase("again", 600, 8, (4.0, 18.0), (6e-4, 2e-5), letters=0.0),
    Phase("last", 350, 8, (6.0, 20.0), (5e-4, 2e-5), letters=0.0),
)
WARM_UP = 150  # steps
LISTENING = 0.5  # weight of listening to the right word


class Heads(nn.Module):
    """What only training needs: the letters for CTC, and the word that each position belongs to."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Linear(WIDTH, len(CHARACTERS) + 1)
        self.words = nn.Linear(WIDTH, len(word_classes()) + 1)


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
        for block, reach in zip(model.encoder.blocks, REACH, strict=True):
            listen_nearby(block.attn, reach)
    return model


def listen_nearby(layer: MultiHeadAttention, reach: int) -> None:
    """Starts the heads listening `reach` positions before, here, and `reach` after.

    Sinusoids make it a rotation: with q = (sin wt, cos wt) and k = (sin w(s - d), cos w(s - d)), the sum over
    frequencies w of q.k is greatest at s = t + d, wherever t is.
    """
    width = layer.query.in_features
    size = width // layer.n_head
    pairs = torch.arange(size // 2)
    frequencies = torch.exp(-math.log(10_000) / (width // 2 - 1) * pairs)  # the highest of `whisper.model.sinusoids`
    sine, cosine = pairs, pairs + width // 2  # where the embedding holds them
    layer.query.weight.mul_(0.3)
    layer.key.weight.mul_(0.3)
    for head, shift in enumerate((-reach, 0, reach)):
        first, second = head * size + pairs, head * size + size // 2 + pairs
        turn = frequencies * shift
        layer.query.weight[first, sine] += 1.2
        layer.query.weight[second, cosine] += 1.2
        layer.key.weight[first, sine] += 1.2 * turn.cos()
        layer.key.weight[first, cosine] -= 1.2 * turn.sin()
        layer.key.weight[second, cosine] += 1.2 * turn.cos()
        layer.key.weight[second, sine] += 1.2 * turn.sin()


def attend(layer: MultiHeadAttention, x: Tensor, xa: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`MultiHeadAttention.forward`, with its weights `[B, heads, P, T]`; in bf16 faster than torch's fused one."""
    q, k, v = (
        project(y).unflatten(-1, (layer.n_head, -1)).transpose(1, 2)
        for project, y in ((layer.query, x), (layer.key, xa), (layer.value, xa))
    )
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    weights = (scores if mask is None else scores + mask.to(scores.dtype)).softmax(-1)
    return layer.out((weights @ v).transpose(1, 2).flatten(2)), weights


def encode(model: Whisper, mel: Tensor, offset: int) -> Tensor:
    """`AudioEncoder.forward` on a window `[B, 80, F]` that begins at any position of the 30 s: `[B, T, D]`."""
    encoder = model.encoder
    x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
    x = x + encoder.positional_embedding[offset : offset + x.shape[1]]
    for block in encoder.blocks:
        x = x + attend(block.attn, normed := block.attn_ln(x), normed)[0]
        x = x + block.mlp(block.mlp_ln(x))
    return encoder.ln_post(x)


def decode(model: Whisper, read: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """`TextDecoder.forward`: logits `[B, P, V]`, and where the first head of each layer listens `[layers, B, P, T]`."""
    decoder, num_tokens = model.decoder, read.shape[1]
    mask = decoder.mask[:num_tokens, :num_tokens]
    x = decoder.token_embedding(read) + decoder.positional_embedding[:num_tokens]
    listens = []
    for block in decoder.blocks:
        x = x + attend(block.attn, normed := block.attn_ln(x), normed, mask)[0]
        heard, weights = attend(block.cross_attn, block.cross_attn_ln(x), features)
        x = x + heard
        x = x + block.mlp(block.mlp_ln(x))
        listens.append(weights[:, 0])
    return decoder.ln(x) @ decoder.token_embedding.weight.T, torch.stack(listens)


@dataclass(frozen=True)
class Losses:
    """Of one batch, in nats."""

    tokens: Tensor  # cross-entropy per token
    letters: Tensor  # CTC per letter
    words: Tensor  # cross-entropy per position: which word is being said
    listening: Tensor  # minus log of the attention that falls on the word of the token


def losses(model: Whisper, heads: Heads, batch: Batch, offset: int, phase: Phase) -> Losses:
    """All losses; CTC only where the phase asks for it."""
    with torch.autocast("cpu", torch.bfloat16):
        features = encode(model, batch.mel, offset)
        logits, listens = decode(model, batch.read, features)
        spelled, named = heads.letters(features), heads.words(features)
    others = torch.zeros(logits.shape[-1])
    others[-1] = math.log(ENGLISH_ONLY - len(rows()))
    tokens = F.cross_entropy((logits.float() + others).flatten(0, 1), batch.answer.flatten())
    return Losses(
        tokens,
        letters_loss(spelled.float(), batch.letters) if phase.letters else torch.zeros(()),
        words_loss(named.float(), batch.words),
        listening_loss(listens.float(), batch.heard),
    )


def letters_loss(spelled: Tensor, letters: list[Tensor]) -> Tensor:
    """CTC of `[B, T, letters]`, per letter."""
    lengths = torch.tensor([len(each) for each in letters])
    positions = torch.full_like(lengths, spelled.shape[1])
    by_time = spelled.log_softmax(-1).transpose(0, 1)
    total = F.ctc_loss(by_time, torch.cat(letters), positions, lengths, reduction="sum", zero_infinity=True)
    return total / lengths.sum()


def words_loss(named: Tensor, words: Tensor) -> Tensor:
    """Cross-entropy of `[B, T, words]`; positions between words count a tenth."""
    weight = torch.ones(named.shape[-1])
    weight[0] = 0.1
    return F.cross_entropy(named.flatten(0, 1), words.flatten(), weight)


def listening_loss(listens: Tensor, heard: Tensor) -> Tensor:
    """How little of `[layers, B, P, T]` falls on the word, over the tokens that have one."""
    spoken = heard.any(-1)  # [B, P]
    on_the_word = (listens * heard).sum(-1)[:, spoken]
    return -(on_the_word + 1e-4).log().mean()


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


def word_error_rate(path: Path, utterances: list[tuple[str, NDArray[np.float32]]]) -> float:
    """The checkpoint's, loaded and decoded as any other Whisper, in windows of 30 s."""
    model, normal = whisper.load_model(str(path), device="cpu"), EnglishTextNormalizer()
    options = whisper.DecodingOptions(language="en", without_timestamps=True, fp16=False)
    heard = []
    for i in range(0, len(utterances), 8):
        mels = [whisper.log_mel_spectrogram(whisper.pad_or_trim(w)) for _, w in utterances[i : i + 8]]
        heard += [result.text for result in model.decode(torch.stack(mels), options)]
    return float(jiwer.wer([normal(text) for text, _ in utterances], [normal(text) for text in heard]))


def as_recorded(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """The waveform unchanged."""
    return waveform


def by_telephone(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Nothing above 4 kHz."""
    return soxr.resample(soxr.resample(waveform, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE).astype(np.float32)


def in_noise(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """White noise, 20 dB below the speech."""
    noise = np.random.default_rng(0).standard_normal(len(waveform), np.float32)
    return waveform + 0.1 * np.std(waveform) * noise


def measure(path: Path, count: int) -> dict[str, float]:
    """Word error rates on utterances that no choice was made by, as recorded and worse."""
    utterances = held_out(count, seed=2)
    return {
        change.__name__: word_error_rate(path, [(text, change(waveform)) for text, waveform in utterances])
        for change in (as_recorded, by_telephone, in_noise)
    }


def rate_at(phase: Phase, step: int, total: int) -> float:
    """Learning rate at a step of a phase: a half cosine, after a warm-up at the very beginning."""
    first, last = phase.rate
    fall = last + (first - last) * 0.5 * (1 + math.cos(math.pi * step / phase.steps))
    return fall * min(1.0, (total + 1) / WARM_UP)


class Trainer:
    """Model, heads, optimizer and step, saved together, so that a killed training goes on."""

    def __init__(self, work: Path, output: Path) -> None:
        torch.manual_seed(0)
        self.model, self.heads = new_model(), Heads()
        self.parameters = [*self.model.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        self.step = 0
        self.state, self.output, self.log = work / "state.pt", output, output.with_suffix(".jsonl")
        if self.state.exists():
            saved = torch.load(self.state)
            for part in ("model", "heads", "optimizer"):
                getattr(self, part).load_state_dict(saved[part])
            self.step = saved["step"]
        self.bank = Bank(seed=1000 + self.step)
        self.bank.refresh(300)
        self.pick = np.random.default_rng(self.step)

    def save(self) -> None:
        """The whole state, by rename, and the checkpoint that others load."""
        parts = {part: getattr(self, part).state_dict() for part in ("model", "heads", "optimizer")}
        part = self.state.with_suffix(".part")
        torch.save({**parts, "step": self.step}, part)
        os.replace(part, self.state)
        export(self.model, self.output)

    def advance(self, phase: Phase, step: int) -> dict[str, float]:
        """One step; returns its losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(phase, step, self.step)
        self.bank.refresh(max(1, round(phase.batch * sum(phase.seconds) / 2 / 3.5 / 4)))  # each is used about 4 times
        batch = make_batch(self.bank, phase.batch, phase.seconds, self.pick)
        free = POSITIONS - batch.mel.shape[2] // 2
        offset = int(self.pick.integers(0, free + 1)) if self.pick.random() < 0.5 else 0
        each = losses(self.model, self.heads, batch, offset, phase)
        self.optimizer.zero_grad()
        (each.tokens + each.words + phase.letters * each.letters + LISTENING * each.listening).backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        return {field.name: getattr(each, field.name).item() for field in fields(each)}

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
                line |= {name: round(float(np.mean([each[name] for each in seen])), 4) for name in seen[0]}
                seen.clear()
                if self.step % 500 == 0 or self.step == end:
                    self.save()
                    line["held_out_wer"] = round(word_error_rate(self.output, judged), 4)
                with self.log.open("a") as log:
                    log.write(json.dumps(line) + "\n")
                print(line, flush=True)


def main() -> None:
    """Trains, or goes on training, or measures."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--output", type=Path, default=Path("model/embedded/whisper.pt"))
    options.add_argument("--work", type=Path, default=Path(".work/whisper"))
    options.add_argument("--measure", type=int, metavar="N", help="no training: error rates of N held-out utterances")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    if chosen.measure:
        print(json.dumps(measure(chosen.output, chosen.measure)))
        return
    chosen.work.mkdir(parents=True, exist_ok=True)
    Trainer(chosen.work, chosen.output).run()


if __name__ == "__main__":
    main()
