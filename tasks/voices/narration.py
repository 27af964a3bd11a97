"""Narration: segments of text, spoken in the voice of a prompt.

Each segment follows the same prompt, so one voice says them all, and each has random numbers of its own, so what a
segment becomes depends neither on the others nor on how many are said together. A model that
says nothing, or never ends, is not an error. Such a segment is what the model has to say, and is told as such.
Streamed, a segment comes in chunks of a third of a second, each of which the NAR fills with little of what follows in
sight (`model.valle.live`); so the same seed sounds a little different.

The best of several tries is the one with the fewest words that Whisper mishears, then the one whose voice is nearest
to the prompt's (VALL-E 2, arXiv:2406.05370, section 4.1.3). Shapes: P phones, T frames.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.audio.resynthesis import decode
from tasks.text.splitting import Segment, ids
from tasks.text.symbols import BOUNDARY
from tasks.voices.audio_prompt import Prompt
from tasks.voices.utterance_prompt import Codes
from warehouse.errors import Mistake
from warehouse.tables import HOP, SAMPLE_RATE

if TYPE_CHECKING:
    from model.codec.encodec import Codec
    from model.valle.synthesis import Generated, Pair, Request

AT_ONCE = 8  # segments that are said together: of memory and speed only
_RATE = 16_000  # Hz, what the judges hear
_LONGEST = 30 * _RATE  # samples that Whisper hears
_FADE = SAMPLE_RATE // 200  # samples: over 5 ms a cut waveform does not click
_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class SpeechChunk:
    """A segment of one rendition, or a chunk of one that is streamed."""

    rendition: int  # which of the seeds
    place: int  # which of the segments
    waveform: NDArray[np.float32]  # [num_samples] at 24 kHz, with the pause behind it
    is_empty: bool  # the model said nothing to the segment
    is_endless: bool  # the model met its limit before it ended
    seconds_to_make: float  # wall clock; its share of what was said together

    @property
    def seconds(self) -> float:
        """Of speech."""
        return len(self.waveform) / SAMPLE_RATE


class Narrator:
    """A model with a prompt before it."""

    def __init__(self, pair: "Pair", codec: "Codec", prompt: Prompt, language: str, mark_strength: float = 0.0) -> None:
        """Raises Mistake where the model knows no such language, or not all phones of the prompt."""
        from model.valle.mark import mark

        languages, spoken = pair.ar.settings.languages, language.partition("-")[0]  # espeak-ng's name, and ISO 639-1
        if languages and spoken not in languages:
            raise Mistake(f"the checkpoint speaks {', '.join(languages)}, and not {spoken}")
        self.pair, self.codec, self.prompt = pair, codec, prompt
        self._language = spoken if languages else None
        marked = mark(codec.codebooks[0], mark_strength) if mark_strength else None
        self._sampling = replace(pair.sampling, mark=marked)
        self._before = ids((*prompt.phones, BOUNDARY), pair.symbols)

    def say(
        self, segments: Sequence[Segment], seeds: Sequence[int], judge: "Judge | None" = None
    ) -> Iterator[SpeechChunk]:
        """Every segment for every seed, one rendition after the other; with a judge, each the best of its tries.

        Raises:
            Mistake: the model knows a phone too few.
        """
        requests = [self._request(segment, seed, place) for seed in seeds for place, segment in enumerate(segments)]
        for first in range(0, len(requests), 1 if judge else AT_ONCE):
            together = requests[first : first + (1 if judge else AT_ONCE)]
            started = time.perf_counter()
            generated = self._generate(together, segments[first % len(segments)].text, judge)
            waveforms = [_NOTHING if said.empty else decode(self.codec, said.codes) for said in generated]
            share = (time.perf_counter() - started) / len(together)
            for number, (said, waveform) in enumerate(zip(generated, waveforms, strict=True), first):
                rendition, place = divmod(number, len(segments))
                waveform = _joined(waveform, segments, place)
                yield SpeechChunk(rendition, place, waveform, said.empty, said.endless, share)

    def stream(self, segments: Sequence[Segment], seed: int) -> Iterator[SpeechChunk]:
        """Every segment in chunks, as they are made; the last chunk of a segment is silence, and tells how it went.

        Raises:
            Mistake: the model knows a phone too few.
        """
        from model.valle.live import stream
        from model.valle.synthesis import limit

        for place, request in enumerate(
            [self._request(segment, seed, place) for place, segment in enumerate(segments)]
        ):
            num_samples, started = 0, time.perf_counter()
            for chunk in stream(self.pair, request, self.codec.decoder_stream(), self._sampling):
                num_samples += len(chunk)
                yield SpeechChunk(0, place, chunk, False, False, time.perf_counter() - started)
                started = time.perf_counter()
            pause = np.zeros(round(_pause(segments, place) * SAMPLE_RATE) if num_samples else 0, np.float32)
            is_endless = num_samples > 0 and num_samples >= limit(request) * HOP
            yield SpeechChunk(0, place, pause, num_samples == 0, is_endless, time.perf_counter() - started)

    def _generate(self, together: "list[Request]", text: str, judge: "Judge | None") -> "list[Generated]":
        from model.valle.synthesis import best_of, generate

        if judge is None:
            return generate(self.pair, together, self._sampling, num_rows=AT_ONCE)

        def score(_: "Request", said: "Generated") -> tuple[float, float]:
            return judge.score(text, said.codes)

        return best_of(self.pair, together, judge.num_tries, score, self._sampling, num_rows=AT_ONCE)

    def _request(self, segment: Segment, seed: int, place: int) -> "Request":
        from model.valle.synthesis import Request

        phones = np.concatenate([self._before, ids(segment.phones, self.pair.symbols)])
        before = len(self.prompt.phones)
        return Request(phones, self.prompt.codes, _seed(seed, place), language=self._language, prompt_phones=before)


class Judge:
    """Whisper and Resemblyzer, who choose among tries."""

    def __init__(self, num_tries: int, whisper: str, device: str, codec: "Codec", prompt: Prompt) -> None:
        from model.asr import recognition
        from tasks.evaluation.judges import load_normalizer, load_voice_encoder

        self.num_tries, self.codec = num_tries, codec
        self._whisper, self._encoder = recognition.warm_asr(whisper, device), load_voice_encoder(device)
        self._normalize = load_normalizer()
        self._voice = self._embed(prompt.codes)

    def score(self, text: str, codes: Codes) -> tuple[float, float]:
        """Minus the words that are heard otherwise, and how alike the voices are; more is better."""
        from model.asr import recognition
        from tasks.evaluation.judges import word_errors

        heard = ""
        if codes.shape[1]:
            [transcript] = recognition.transcribe(self._whisper, [self._speech(codes)], ids=["try"], language="en")
            heard = transcript.text
        errors, _ = word_errors(self._normalize(text), self._normalize(heard))
        voice = self._embed(codes)
        alike = -1.0 if voice is None or self._voice is None else float(voice @ self._voice)
        return -errors, alike

    def _embed(self, codes: Codes) -> NDArray[np.float32] | None:
        from tasks.evaluation.judges import embed

        return embed(self._encoder, self._speech(codes)) if codes.shape[1] else None

    def _speech(self, codes: Codes) -> NDArray[np.float32]:
        """Codes `[8, T]` as the judges hear them."""
        import soxr

        return np.asarray(soxr.resample(decode(self.codec, codes), SAMPLE_RATE, _RATE)[:_LONGEST], np.float32)


def _joined(waveform: NDArray[np.float32], segments: Sequence[Segment], place: int) -> NDArray[np.float32]:
    """A segment of several with soft edges and the pause behind it; one that is alone, or empty, as it is."""
    if len(segments) == 1 or not len(waveform):
        return waveform
    return soft(waveform, _pause(segments, place))


def soft(waveform: NDArray[np.float32], pause: float) -> NDArray[np.float32]:
    """A waveform `[num_samples]` at 24 kHz that begins and ends without a click, and so many seconds of silence."""
    size = min(_FADE, len(waveform) // 2)
    slope = np.linspace(0, 1, size, dtype=np.float32)
    volume = np.concatenate([slope, np.ones(len(waveform) - 2 * size, np.float32), slope[::-1]])
    return np.concatenate([waveform * volume, np.zeros(round(pause * SAMPLE_RATE), np.float32)])


def _pause(segments: Sequence[Segment], place: int) -> float:
    """Seconds behind a segment; none behind the last."""
    return segments[place].pause if place + 1 < len(segments) else 0.0


def _seed(seed: int, place: int) -> int:
    """A seed for each segment, the first one's being that of all."""
    return seed if place == 0 else int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
