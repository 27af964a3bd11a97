"""Whisper by openai-whisper, whose every row of a batch is computed as if it were alone.

A matrix kernel rounds a row differently as the number of rows beside it changes, so a batch of
sixteen and a batch of one differ in their last bits, and now and then in a word. On a CPU the decoder's matrices are
therefore given rows by eights, always, filled up where there are fewer: a row's place among the eight and its
neighbours change nothing, and the weights are still read once for eight. An encoder's window is 1,500 rows already
and goes by itself, which is as fast. On a GPU all goes together, and equals single work only nearly.

A second one: a batch of spectrograms made in one call is not the batch of the spectrograms: openai-whisper clips to
80 dB below the loudest sample of the whole batch. So each window has its own here.
Source: openai-whisper's `decoding.py`, whose seam for another forward pass, `Inference`, is used here.

B batch, P tokens, T encoder positions (1500 in 30 s), D width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
import whisper
from torch import Tensor, nn
from torch.distributions import Categorical
from whisper.decoding import DecodingOptions, DecodingResult, DecodingTask, GreedyDecoder
from whisper.model import MultiHeadAttention, Whisper
from whisper.timing import WordTiming, find_alignment, merge_punctuations
from whisper.tokenizer import Tokenizer, get_tokenizer

from model.asr.engine import MAX_SAMPLES, OPENAI, SAMPLE_RATE, Decoding, Waveform, Word
from model.cpu import onednn, threads
from model.gpu.full_precision import keep_fp32

TILE = 8  # rows that a matrix kernel is given at once, on a CPU
OPENING, CLOSING = (
    "\"'“¿([{-",
    "\"'.。,，!！?？:：”)]}、",
)  # punctuation that belongs to the next word, to the one before

Heads = tuple[Tensor, Tensor]  # keys and values, [B, heads, positions, D / heads]


@dataclass(frozen=True)
class Windows:
    """A batch, encoded."""

    mels: Tensor  # [B, mels, 3000]
    features: Tensor  # [B, T, D]


class OpenAI:
    """Whisper in PyTorch; an `Engine`."""

    name = OPENAI

    def __init__(self, model: Whisper) -> None:
        keep_fp32()
        self.model = model
        self.fp16 = model.device.type == "cuda"
        if self.fp16:  # else each matrix is cast anew at each step
            for layer in model.modules():
                if isinstance(layer, nn.Linear | nn.Conv1d | nn.Embedding):
                    layer.half()
        if model.device.type == "cpu":
            for block in model.encoder.blocks:
                block.attn.qkv_attention = partial(_attention, block.attn)
        onednn.hasten(model.encoder)
        for block in model.decoder.blocks:  # what it hears has 1,500 rows, too
            onednn.hasten(block.cross_attn.key)
            onednn.hasten(block.cross_attn.value)

    @torch.no_grad()
    def encode(self, waveforms: Sequence[Waveform]) -> Windows:
        """Each waveform padded to 30 s and encoded."""
        mels = torch.stack(
            [
                whisper.log_mel_spectrogram(whisper.pad_or_trim(waveform, MAX_SAMPLES), self.model.dims.n_mels)
                for waveform in waveforms
            ]
        ).to(self.model.device)
        if self.fp16:
            return Windows(mels, self.model.encoder(mels.half()))
        return Windows(mels, torch.cat([self.model.encoder(mel[None]) for mel in mels]))

    def decode(self, windows: Windows, language: str | None) -> list[Decoding]:
        """The likeliest token at each step, the whole batch at once."""
        return self._decode(windows.features, language, 0.0)

    def pick(self, places: Sequence[tuple[Windows, int]]) -> Windows:
        """Single windows of several batches, as a batch of their own."""
        return Windows(*(torch.stack([getattr(w, part)[i] for w, i in places]) for part in ("mels", "features")))

    def sample(
        self, windows: Windows, rows: Sequence[int], languages: Sequence[str], temperature: float, seeds: Sequence[int]
    ) -> list[Decoding]:
        """Some windows together, the tokens of each drawn from random numbers of its own."""
        return self.draw(windows.features[list(rows)], languages, temperature, seeds)

    def draw(
        self, features: Tensor, languages: Sequence[str], temperature: float, seeds: Sequence[int]
    ) -> list[Decoding]:
        """What is drawn of features `[B, T, D]`, whoever has encoded them."""
        found: dict[int, Decoding] = {}
        for language in dict.fromkeys(languages):  # a batch begins with the same tokens
            rows = [i for i, other in enumerate(languages) if other == language]
            drawn = self._decode(features[rows], language, temperature, [seeds[i] for i in rows])
            found |= dict(zip(rows, drawn, strict=True))
        return [found[i] for i in range(len(found))]

    def align(self, windows: Windows, i: int, decoding: Decoding, num_samples: int) -> tuple[Word, ...]:
        """By dynamic time warping of the cross-attention, as `transcribe(word_timestamps=True)`."""
        tokenizer = self._tokenizer(decoding.language)
        mel = windows.mels[i].half() if self.fp16 else windows.mels[i]
        num_frames = max(2, num_samples // whisper.audio.HOP_LENGTH)
        with threads.kept():
            timings = find_alignment(self.model, tokenizer, list(decoding.tokens), mel, num_frames)
        return words_of(timings, num_samples)

    def _tokenizer(self, language: str) -> Tokenizer:
        multilingual = self.model.is_multilingual
        return get_tokenizer(multilingual, num_languages=self.model.num_languages, language=language, task="transcribe")

    @torch.no_grad()
    def _decode(
        self, features: Tensor, language: str | None, temperature: float, seeds: Sequence[int] = ()
    ) -> list[Decoding]:
        wanted = language if self.model.is_multilingual else "en"
        options = DecodingOptions(language=wanted, temperature=temperature, without_timestamps=True, fp16=self.fp16)
        task = DecodingTask(self.model, options)
        if temperature:
            task.decoder = SeededDecoder(temperature, task.tokenizer.eot, seeds, features.device)
        steady = SteadyDecoder(self.model, task.tokenizer, features)
        task.model = task.inference = steady
        if self.model.is_multilingual and wanted and not temperature:  # else the task asks for it
            steady.detect_language(features, task.tokenizer)
        results: list[DecodingResult] = task.run(features)
        guesses = steady.guesses or [{} for _ in results]
        return [_decoding(result, guess) for result, guess in zip(results, guesses, strict=True)]


def _attention(layer: MultiHeadAttention, q: Tensor, k: Tensor, v: Tensor, _mask: None = None) -> tuple[Tensor, None]:
    """The encoder's own `qkv_attention`, which sees all, by oneDNN, in little more than half the time."""
    mixed = onednn.attention(_by_heads(q, layer), _by_heads(k, layer), _by_heads(v, layer))
    return mixed.transpose(1, 2).flatten(2), None


def _decoding(result: DecodingResult, guess: dict[str, float]) -> Decoding:
    return Decoding(
        text=result.text.strip(),
        tokens=tuple(result.tokens),
        language=result.language,
        language_prob=guess.get(result.language),
        avg_logprob=result.avg_logprob,
        no_speech_prob=result.no_speech_prob,
        temperature=result.temperature,
    )


def words_of(timings: list[WordTiming], num_samples: int) -> tuple[Word, ...]:
    """The words with their punctuation, all within the speech."""
    merge_punctuations(timings, OPENING, CLOSING)
    end = num_samples / SAMPLE_RATE
    within = [(timing, *(min(round(float(edge), 2), end) for edge in (timing.start, timing.end))) for timing in timings]
    return tuple(
        Word(word, begins, ends, float(timing.probability))
        for timing, begins, ends in within
        if (word := timing.word.strip())
    )


class SeededDecoder(GreedyDecoder):  # type: ignore[misc]  # openai-whisper has no types
    """Draws the next token of each row from random numbers of its own: those that it would have alone."""

    def __init__(self, temperature: float, eot: int, seeds: Sequence[int], device: torch.device) -> None:
        super().__init__(0.0, eot)
        self.heat = temperature
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> tuple[Tensor, bool]:
        """As openai-whisper's own, which takes the likeliest token: of these logits, the one that is drawn."""
        going = tokens[:, -1] != self.eot
        drawn = torch.full((len(tokens), 1), self.eot, device=tokens.device)
        for row in going.nonzero()[:, 0].tolist():
            drawn[row] = self._draw(logits[row], self.generators[row])
        logprobs = F.log_softmax(logits.float(), dim=-1)
        sum_logprobs += logprobs.gather(1, drawn)[:, 0] * going
        return torch.cat([tokens, drawn], dim=-1), bool((drawn == self.eot).all())

    def _draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """A token `[1]` of logits `[V]`, as `Categorical.sample` draws it."""
        return torch.multinomial(Categorical(logits=logits / self.heat).probs, 1, True, generator=generator)


class SteadyDecoder:
    """`TextDecoder` of a batch, each row as if it were alone; rows that have ended cost next to nothing.

    It stands in for the model and for the `Inference` of a `DecodingTask`.
    """

    def __init__(self, model: Whisper, tokenizer: Tokenizer, features: Tensor) -> None:
        self.decoder, self.dims, self.tokenizer = model.decoder, model.dims, tokenizer
        self.num_rows = len(features)
        self.heard = [self._heard(block.cross_attn, features) for block in model.decoder.blocks]
        self.said: list[Heads] = []
        self.live = torch.arange(self.num_rows, device=features.device)  # rows that are still computed
        self.guesses: list[dict[str, float]] | None = None

    def detect_language(self, _features: Tensor, tokenizer: Tokenizer) -> tuple[Tensor, list[dict[str, float]]]:
        """openai-whisper's own detection, over what is heard already: the likeliest token, all probabilities."""
        start = torch.full((self.num_rows, 1), tokenizer.sot, device=self.live.device)
        tokens, codes = torch.tensor(tokenizer.all_language_tokens), tokenizer.all_language_codes
        probs = self.logits(start, _features)[:, 0].cpu()[:, tokens].softmax(-1)  # [B, languages]
        self.cleanup_caching()
        self.guesses = [dict(zip(codes, row.tolist(), strict=True)) for row in probs]
        return tokens[probs.argmax(-1)], self.guesses

    def logits(self, tokens: Tensor, _features: Tensor) -> Tensor:
        """Of the tokens that are new, `[B, P, V]`; of a row that has ended, zeros."""
        past = self.said[0][0].shape[2] if self.said else 0
        going = (tokens[:, -1] != self.tokenizer.eot).nonzero()[:, 0]
        if 2 * len(going) <= len(self.live):
            self._keep(torch.isin(self.live, going))
        new = tokens[self.live, past:]
        x = self.decoder.token_embedding(new) + self.decoder.positional_embedding[past : past + new.shape[1]]
        x = x.to(self.heard[0][0].dtype)
        for i, block in enumerate(self.decoder.blocks):
            x = x + self._listen_back(i, block.attn, block.attn_ln(x))
            x = x + self._attend(block.cross_attn, block.cross_attn_ln(x), self.heard[i])
            x = x + steadily(block.mlp[2], F.gelu(steadily(block.mlp[0], block.mlp_ln(x))))
        logits: Tensor = x.new_zeros(self.num_rows, new.shape[1], self.dims.n_vocab, dtype=torch.float32)
        logits[self.live] = steadily(self.decoder.token_embedding, self.decoder.ln(x)).float()
        return logits

    def cleanup_caching(self) -> None:
        """Forgets what was said, and which rows have ended."""
        self.said = []

    def _keep(self, rows: Tensor) -> None:
        """Only these of the rows that are still computed."""
        self.live = self.live[rows]
        self.said = [(keys[rows], values[rows]) for keys, values in self.said]
        self.heard = [(keys[rows], values[rows]) for keys, values in self.heard]

    def _heard(self, layer: MultiHeadAttention, features: Tensor) -> Heads:
        """Keys and values of the speech, window by window: 1,500 rows each time."""
        windows = torch.split(features, 1) if features.device.type == "cpu" else (features,)
        keys, values = (torch.cat([part(window) for window in windows]) for part in (layer.key, layer.value))
        return _by_heads(keys, layer), _by_heads(values, layer)

    def _listen_back(self, i: int, layer: MultiHeadAttention, x: Tensor) -> Tensor:
        """Self-attention over all that was said, the new tokens included."""
        new = [_by_heads(steadily(part, x), layer) for part in (layer.key, layer.value)]
        if i < len(self.said):
            new = [torch.cat([old, more], 2) for old, more in zip(self.said[i], new, strict=True)]
            self.said[i] = new[0], new[1]
        else:
            self.said.append((new[0], new[1]))
        return self._attend(layer, x, self.said[i], causal=x.shape[1] > 1)

    def _attend(self, layer: MultiHeadAttention, x: Tensor, heads: Heads, causal: bool = False) -> Tensor:
        query = _by_heads(steadily(layer.query, x), layer)
        out = F.scaled_dot_product_attention(query, *heads, is_causal=causal)
        return steadily(layer.out, out.transpose(1, 2).flatten(2))


def steadily(layer: nn.Linear | nn.Embedding, x: Tensor) -> Tensor:
    """`x [B, P, D]` through a matrix; on a CPU in tiles of equal size, so that no row depends on another."""
    weight = layer.weight.to(x.dtype)
    bias = layer.bias.to(x.dtype) if isinstance(layer, nn.Linear) and layer.bias is not None else None
    if x.device.type != "cpu":
        return F.linear(x, weight, bias)
    rows = x.flatten(0, 1)
    tiles = torch.split(F.pad(rows, (0, 0, 0, -len(rows) % TILE)), TILE)
    return torch.cat([F.linear(tile, weight, bias) for tile in tiles])[: len(rows)].view(*x.shape[:2], -1)


def _by_heads(x: Tensor, layer: MultiHeadAttention) -> Tensor:
    """`[B, P, D]` as `[B, heads, P, D / heads]`."""
    return x.view(*x.shape[:2], layer.n_head, -1).transpose(1, 2)
