"""What the embedded Whisper is trained and judged on: windows of espeak-ng speech, disturbed, and their tokens.

The surprising fact: a fifth of the windows hold words torn out of their sentences, half of these in any order.
A judge that knew the grammar by heart would hear whole sentences where a synthesizer swallowed half.
espeak-ng says at which sample each word begins, so every frame and every token knows its word.
Source: espeak-ng's `speak_lib.h` (events); SpecAugment, Park et al. 2019 (arXiv:1904.08779), for the stripes.

B batch, F mel frames (100 a second), T encoder positions (50 a second), P tokens.
"""

import ctypes
import functools
import itertools
import random
import re
from dataclasses import dataclass, replace

import numpy as np
import soxr
import torch
import torch.nn.functional as F
import whisper
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from whisper.tokenizer import Tokenizer, get_tokenizer

from deploy.embedded.speech import HELD_OUT_VOICES, TRAIN_VOICES, VOCABULARY, sentences, speak
from tasks import espeak

SAMPLE_RATE = whisper.audio.SAMPLE_RATE  # Hz
HOP = whisper.audio.HOP_LENGTH  # samples of a mel frame
POSITIONS_PER_SECOND = 50
CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"  # what CTC spells with; 0 is its blank


Span = tuple[float, float]  # seconds from the start of the waveform; of a word


@dataclass(frozen=True)
class Speech:
    """Something said, with the time of each of its words."""

    text: str
    waveform: NDArray[np.float32]  # at 16 kHz
    spans: list[Span]  # one for each of `text.split()`


class _Event(ctypes.Structure):
    """`espeak_EVENT`."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # of the first character, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_LAST, _WORD, _END = 0, 1, 5  # espeak_EVENT_TYPE: end of the list, a word begins, a clause ends
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def speak_words(text: str, voice: espeak.Voice, pace: float) -> Speech:
    """Text in ASCII spoken by a voice, `pace` times as long and as much lower, with the times of its words."""
    espeak.synthesize("a", voice)  # chooses the voice, which then stays chosen
    library = ctypes.cdll.LoadLibrary(espeak.library_path())
    pieces: list[NDArray[np.int16]] = []
    begins: dict[int, int] = {}  # a word's first character -> its first sample
    marks: list[int] = []

    @_Callback
    def collect(samples, count, events) -> int:  # type: ignore[no-untyped-def]
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        for event in itertools.takewhile(lambda event: event.type != _LAST, events):
            if event.type == _WORD:
                begins.setdefault(event.text_position - 1, event.sample)
            if event.type in (_WORD, _END):
                marks.append(event.sample)
        return 0

    library.espeak_SetSynthCallback(collect)
    library.espeak_Synth(text.encode(), len(text) + 1, 0, 0, 0, 1, None, None)
    library.espeak_Synchronize()
    library.espeak_SetSynthCallback(_Callback())
    spoken = np.concatenate(pieces).astype(np.float32) / 32768.0
    waveform = soxr.resample(spoken, espeak.SAMPLE_RATE, SAMPLE_RATE * pace)
    scale = pace / espeak.SAMPLE_RATE
    return Speech(text, waveform, [(a * scale, b * scale) for a, b in _spans(text, begins, [*marks, len(spoken)])])


def _spans(text: str, begins: dict[int, int], marks: list[int]) -> list[tuple[float, float]]:
    """First sample and end of each word; words that espeak-ng runs together (`of the`) share evenly."""
    places = [match.start() for match in re.finditer(r"\S+", text)]
    starts = [max((at for at in begins if at <= place), default=0) for place in places]
    spans: list[tuple[float, float]] = []
    for start, together in itertools.groupby(starts):
        first, count = begins.get(start, 0), len(list(together))
        step = (min((mark for mark in marks if mark > first), default=first) - first) / count
        spans += [(first + k * step, first + (k + 1) * step) for k in range(count)]
    return spans


class Bank:
    """Spoken sentences, each used a few times: speaking costs as much as a training step."""

    def __init__(self, seed: int, size: int = 1500) -> None:
        self._pick = random.Random(seed)
        self._texts = sentences(seed)
        self._size = size
        self._spoken: list[Speech] = []

    def refresh(self, count: int) -> None:
        """Speaks `count` more and forgets the oldest."""
        for text in itertools.islice(self._texts, count):
            said = self._fragment(text) if self._pick.random() < 0.2 else text
            voice = self._pick.choice(TRAIN_VOICES)
            voice = replace(voice, pitch=self._pick.randint(20, 80), rate=self._pick.randint(130, 195))
            pace = self._pick.uniform(0.93, 1.07)  # moves the formants, for voices that are not here
            self._spoken.append(speak_words(said, voice, pace))
        self._spoken = self._spoken[-self._size :]

    def _fragment(self, text: str) -> str:
        """Some words from within, half the time in any order, so that hearing counts and grammar does not."""
        words = text.rstrip(".?").replace(",", "").split()[1:]
        start = self._pick.randrange(max(1, len(words) - 3))
        words = words[start : start + self._pick.randint(2, 8)]
        if self._pick.random() < 0.5:
            self._pick.shuffle(words)
        return " ".join(words)

    def window(self, seconds: float) -> Speech:
        """At most `seconds` of sentences with pauses between them, or, now and then, of silence."""
        if self._pick.random() < 0.04:
            return Speech("", _silence(self._pick.uniform(0.5, seconds)), [])
        room = seconds * self._pick.choice([0.5, 0.75, 1.0, 1.0])
        pieces = [_silence(self._pick.uniform(0.0, 0.3))]
        said: list[str] = []
        spans: list[Span] = []
        for _ in range(64):
            speech = self._pick.choice(self._spoken)
            before = sum(map(len, pieces))
            if before + len(speech.waveform) > (room if said else seconds) * SAMPLE_RATE:
                if said:
                    break
                continue
            pieces += [speech.waveform, _silence(self._pick.uniform(0.1, 0.8))]
            said.append(speech.text)
            spans += [(a + before / SAMPLE_RATE, b + before / SAMPLE_RATE) for a, b in speech.spans]
        return Speech(" ".join(said), np.concatenate(pieces)[: round(seconds * SAMPLE_RATE)], spans)


def _silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def disturb(waveform: NDArray[np.float32], pick: np.random.Generator) -> NDArray[np.float32]:
    """The waveform as other microphones and codecs give it: gain, noise, a narrower band."""
    num_samples = len(waveform)
    if pick.random() < 0.3:
        level = 10 ** (-pick.uniform(15, 50) / 20) * (np.std(waveform) + 1e-3)
        waveform = waveform + (level * pick.standard_normal(num_samples)).astype(np.float32)
    if pick.random() < 0.15:
        cut = pick.uniform(3000, 7500)  # Hz
        waveform = soxr.resample(soxr.resample(waveform, SAMPLE_RATE, 2 * cut), 2 * cut, SAMPLE_RATE)
        waveform = np.pad(waveform, (0, max(0, num_samples - len(waveform))))[:num_samples]
    return (waveform * 10 ** (-pick.uniform(0, 20) / 20)).astype(np.float32)


def smear(mel: Tensor, pick: np.random.Generator) -> Tensor:
    """A log-mel spectrogram `[80, F]` blurred as a small codec blurs it, with stripes left out."""
    if pick.random() < 0.2:
        mel = F.avg_pool2d(mel[None], (3, 3), 1, 1, count_include_pad=False)[0] * 0.5 + mel * 0.5
    if pick.random() < 0.2:
        mel = mel + pick.uniform(0.02, 0.12) * torch.from_numpy(pick.standard_normal(mel.shape, np.float32))
    mel = mel.clone()
    floor = mel.min()
    for _ in range(pick.integers(0, 2)):
        start, width = pick.integers(0, 74), pick.integers(1, 7)
        mel[start : start + width] = floor
    for _ in range(pick.integers(0, 2)):
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


@functools.cache
def word_classes() -> dict[str, int]:
    """A number for each word of the vocabulary; 0 is no word."""
    return {word: i + 1 for i, word in enumerate(sorted(VOCABULARY))}


@dataclass(frozen=True)
class Batch:
    """What one step reads."""

    mel: Tensor  # [B, 80, F]
    read: Tensor  # [B, P] trained rows
    answer: Tensor  # [B, P] trained rows, -100 where there is none
    heard: Tensor  # [B, P, T] of bool: where the word of an answer is said; nowhere for the signs beside words
    words: Tensor  # [B, T] word classes
    letters: list[Tensor]  # for CTC


def make_batch(bank: Bank, size: int, seconds: tuple[float, float], pick: np.random.Generator) -> Batch:
    """Fresh windows, disturbed, of one length from the range `seconds`."""
    window = pick.uniform(*seconds)
    positions = round(window * POSITIONS_PER_SECOND)
    columns: list[list[Tensor]] = [[] for _ in range(6)]
    for _ in range(size):
        speech = bank.window(window)
        waveform = whisper.pad_or_trim(torch.from_numpy(disturb(speech.waveform, pick)), positions * 2 * HOP)
        mel = smear(whisper.log_mel_spectrogram(waveform), pick)
        letters = torch.tensor([1 + CHARACTERS.index(c) for c in speech.text.lower() if c in CHARACTERS])
        for column, value in zip(columns, [mel, *targets(speech, positions), letters], strict=True):
            column.append(value)
    mel, read, answer, heard, words, letters = columns
    pad = functools.partial(pad_sequence, batch_first=True)
    return Batch(torch.stack(mel), pad(read), pad(answer, padding_value=-100), pad(heard), torch.stack(words), letters)


def targets(speech: Speech, positions: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`read`, `answer`, `heard` and `words` of one window; no text answers `no speech`."""
    tokens, row, classes = english(), rows(), word_classes()
    said: list[int] = []
    heard = [torch.zeros(positions, dtype=torch.bool)]
    words = torch.zeros(positions, dtype=torch.long)
    for word, (start, end) in zip(speech.text.split(), speech.spans, strict=True):
        first, last = round(start * POSITIONS_PER_SECOND), max(round(end * POSITIONS_PER_SECOND), 1)
        words[first:last] = classes[word.strip(",.?").lower()]
        near = torch.zeros(positions, dtype=torch.bool)
        near[max(0, first - 3) : last + 3] = True
        pieces = [row[token] for token in tokens.encode(f" {word}")]
        said += pieces
        heard += [near] * len(pieces)
    heard.append(heard[0])
    start_row = row[tokens.no_timestamps] if said else row[tokens.no_speech]
    read = torch.tensor([row[tokens.sot], row[tokens.no_timestamps], *said])
    return read, torch.tensor([start_row, *said, row[tokens.eot]]), torch.stack(heard), words


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
