"""Whisper by CTranslate2, the engine that faster-whisper drives, called directly.

Faster-whisper's own batched pipeline takes the first temperature only and applies none of
Whisper's thresholds, so what loops in a batch stays. Here the batch is CTranslate2's `generate`, and the second tries
are those of `model/asr/engine.py`, so both engines give the same evidence.

CTranslate2 seeds its random numbers once for each thread and never again (OpenNMT/CTranslate2 issue 1757), and all rows
of a batch draw from the same ones. So second tries are openai-whisper's decoder's, over what CTranslate2 has encoded;
it is loaded when the first is due, and kept. And CTranslate2's kernels round with the size of the batch: texts of an
utterance are the same beside other neighbours, evidence is to about 1e-5, which is measured, not promised.

Weights are openai-whisper's, converted in a moment as they are loaded, so a name means its publisher's own digest.
Source: CTranslate2's `converters/transformers.py` for the layout; faster-whisper's `generate_with_fallback`.

B batch, T encoder positions, D width.
"""

import itertools
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ctranslate2
import numpy as np
import torch
import whisper
from ctranslate2.converters.utils import fuse_linear
from ctranslate2.specs import common_spec, whisper_spec
from torch import nn
from whisper.model import MultiHeadAttention, ResidualAttentionBlock, Whisper
from whisper.timing import WordTiming
from whisper.tokenizer import Tokenizer, get_tokenizer

from model.asr.ctranslate2_format import load as load_converted
from model.asr.engine import FASTER, MAX_SAMPLES, Decoding, Waveform, Word
from model.asr.openai_engine import OpenAI, words_of
from model.asr.weights import converted, load_whisper

MAX_LENGTH = 448  # positions of the decoder; half of them may be text, as in openai-whisper
HOP, FRAMES_PER_SECOND = 160, 100  # samples of one mel frame; mel frames

Features = np.ndarray[Any, np.dtype[np.floating]]  # [B, T, D]


def load_faster(model: str, device: str) -> "Faster":
    """A Whisper of any name of `model.asr.recognition.load_asr`, or a folder in CTranslate2's format.

    Raises:
        ValueError: the folder holds no such model.
    """
    if path := converted(model):
        return Faster(path, device)
    folder = TemporaryDirectory(prefix="valle-whisper-")
    convert(load_whisper(model), Path(folder.name))
    return Faster(Path(folder.name), device, folder)


class Faster:
    """Whisper in CTranslate2; an `Engine`."""

    name = FASTER

    def __init__(self, path: Path, device: str, made: "TemporaryDirectory[str] | None" = None) -> None:
        self.path, self.made = path, made  # what was made is removed with this object
        self.device, _, index = device.partition(":")
        self.index = int(index or 0)
        self.model = self._load()

    @cached_property
    def second(self) -> OpenAI:
        """openai-whisper's decoder of the same weights, for second tries; it hears what has been encoded here."""
        model = load_converted(self.path, self.device if self.device == "cpu" else f"{self.device}:{self.index}")
        engine = OpenAI(model)
        engine.model.encoder = nn.Module()  # its weights go, and no other is asked for
        return engine

    def encode(self, waveforms: Sequence[Waveform]) -> Features:
        """Each waveform padded to 30 s and encoded."""
        mels = [whisper.log_mel_spectrogram(whisper.pad_or_trim(w, MAX_SAMPLES), self.model.n_mels) for w in waveforms]
        return np.array(self.model.encode(_view(np.stack(mels)), to_cpu=True))

    def decode(self, windows: Features, language: str | None) -> list[Decoding]:
        """The likeliest token at each step, the whole batch at once."""
        guesses: list[dict[str, float]] = [{} for _ in windows]
        if self.model.is_multilingual:
            found = self.model.detect_language(_view(windows))
            guesses = [{token.strip("<|>"): prob for token, prob in row} for row in found]
        wanted = language if self.model.is_multilingual else "en"
        languages = [wanted or max(guess, key=lambda code: guess[code]) for guess in guesses]
        return self._decode(windows, languages, guesses)

    def pick(self, places: Sequence[tuple[Features, int]]) -> Features:
        """Single windows of several batches, as a batch of their own."""
        return np.stack([windows[i] for windows, i in places])

    def sample(
        self, windows: Features, rows: Sequence[int], languages: Sequence[str], temperature: float, seeds: Sequence[int]
    ) -> list[Decoding]:
        """Some windows together, their tokens drawn by openai-whisper's decoder: see the module's docstring."""
        kind = torch.float16 if self.second.fp16 else torch.float32
        features = torch.from_numpy(windows[list(rows)]).to(self.second.model.device, kind)
        return self.second.draw(features, languages, temperature, seeds)

    def align(self, windows: Features, i: int, decoding: Decoding, num_samples: int) -> tuple[Word, ...]:
        """By dynamic time warping of the cross-attention, as faster-whisper's `word_timestamps`."""
        tokenizer, tokens = self._tokenizer(decoding.language), list(decoding.tokens)
        words, parts = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
        if not tokens:
            return ()
        found = self.model.align(
            _view(windows[i : i + 1]), list(tokenizer.sot_sequence), [tokens], max(2, num_samples // HOP)
        )[0]
        begins: dict[int, float] = {}  # seconds at which each token begins
        for token, position in found.alignments:
            begins.setdefault(token, 2 * position / FRAMES_PER_SECOND)
        edges = [0, *itertools.accumulate(map(len, parts[:-1]))]
        timings = [
            WordTiming(word, part, begins[a], begins[b], float(np.mean(found.text_token_probs[a:b])))
            for word, part, a, b in zip(words, parts, edges, edges[1:], strict=False)
        ]
        return words_of(timings, num_samples)

    def _load(self) -> Any:
        kind = "float32" if self.device == "cpu" else "float16"
        try:
            return ctranslate2.models.Whisper(str(self.path), self.device, device_index=self.index, compute_type=kind)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{self.path} cannot be loaded as a Whisper of CTranslate2's: {error}") from error

    def _tokenizer(self, language: str) -> Tokenizer:
        multilingual = self.model.is_multilingual
        num_languages = (100 if self.model.n_mels == 128 else 99) if multilingual else 99  # v3 added Cantonese
        return get_tokenizer(multilingual, num_languages=num_languages, language=language, task="transcribe")

    def _decode(
        self,
        windows: Features,
        languages: list[str],
        guesses: list[dict[str, float]],
    ) -> list[Decoding]:
        tokenizers = [self._tokenizer(language) for language in languages]
        results = self.model.generate(
            _view(windows),
            [list(tokenizer.sot_sequence_including_notimestamps) for tokenizer in tokenizers],
            beam_size=1,
            length_penalty=0,  # so that a score is the sum of its tokens' logarithms, also of no tokens
            max_length=MAX_LENGTH,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=_unspoken(tokenizers[0]),
        )
        return [
            Decoding(
                text=tokenizer.decode(result.sequences_ids[0]).strip(),
                tokens=tuple(result.sequences_ids[0]),
                language=language,
                language_prob=guess.get(language),
                avg_logprob=result.scores[0] / (len(result.sequences_ids[0]) + 1),
                no_speech_prob=result.no_speech_prob,
                temperature=0.0,
            )
            for result, tokenizer, language, guess in zip(results, tokenizers, languages, guesses, strict=True)
        ]


def convert(model: Whisper, folder: Path) -> None:
    """openai-whisper's model in CTranslate2's format, in half precision, as OpenAI publishes it."""
    dims = model.dims
    spec = whisper_spec.WhisperSpec(dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head)
    encoder, decoder = model.encoder, model.decoder
    for theirs, ours in ((spec.encoder.conv1, encoder.conv1), (spec.encoder.conv2, encoder.conv2)):
        theirs.weight, theirs.bias = _array(ours.weight), _array(ours.bias)
    spec.encoder.position_encodings.encodings = _array(encoder.positional_embedding)
    spec.decoder.position_encodings.encodings = _array(decoder.positional_embedding)
    spec.decoder.embeddings.weight = spec.decoder.projection.weight = _array(decoder.token_embedding.weight)
    _norm(spec.encoder.layer_norm, encoder.ln_post)
    _norm(spec.decoder.layer_norm, decoder.ln)
    for half, blocks in ((spec.encoder, encoder.blocks), (spec.decoder, decoder.blocks)):
        for layer, block in zip(half.layer, blocks, strict=True):
            _layer(layer, block)
    tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages, language="en")
    spec.config.suppress_ids = _unspoken(tokenizer)
    spec.config.suppress_ids_begin = [*tokenizer.encode(" "), tokenizer.eot]
    spec.config.lang_ids = list(tokenizer.all_language_tokens)
    spec.config.alignment_heads = model.alignment_heads.indices().T.tolist()
    spec.register_vocabulary(_vocabulary(tokenizer, dims.n_vocab))
    spec.validate()
    spec.optimize(quantization="float16")
    spec.save(str(folder))


def _layer(spec: Any, block: ResidualAttentionBlock) -> None:
    _attention(spec.self_attention, block.attn, block.attn_ln, [("query", "key", "value")])
    if block.cross_attn is not None:
        _attention(spec.attention, block.cross_attn, block.cross_attn_ln, [("query",), ("key", "value")])
    _norm(spec.ffn.layer_norm, block.mlp_ln)
    _linear(spec.ffn.linear_0, block.mlp[0])
    _linear(spec.ffn.linear_1, block.mlp[2])


def _attention(spec: Any, layer: MultiHeadAttention, norm: nn.LayerNorm, fused: list[tuple[str, ...]]) -> None:
    _norm(spec.layer_norm, norm)
    for i, names in enumerate(fused):
        parts = [common_spec.LinearSpec() for _ in names]
        for part, name in zip(parts, names, strict=True):
            _linear(part, getattr(layer, name))
        fuse_linear(spec.linear[i], parts)
    _linear(spec.linear[-1], layer.out)


def _linear(spec: Any, layer: nn.Linear) -> None:
    spec.weight = _array(layer.weight)
    if layer.bias is not None:
        spec.bias = _array(layer.bias)


def _norm(spec: Any, layer: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _array(layer.weight), _array(layer.bias)


def _array(tensor: Any) -> np.ndarray[Any, Any]:
    return np.asarray(tensor.detach().float().cpu().numpy())


def _view(array: np.ndarray[Any, Any]) -> Any:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array))


def _unspoken(tokenizer: Tokenizer) -> list[int]:
    """Tokens that are never said, as openai-whisper's `suppress_tokens="-1"`."""
    special = (tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm)
    return sorted({*tokenizer.non_speech_tokens, *special, tokenizer.no_speech})


def _vocabulary(tokenizer: Tokenizer, num_rows: int) -> list[str]:
    """A name for each row; only those of the special tokens are read by CTranslate2."""
    names = [f"#{i}" for i in range(num_rows)]
    for name, i in tokenizer.special_tokens.items():
        names[i] = name
    return names
