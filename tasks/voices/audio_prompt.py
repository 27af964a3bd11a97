"""A prompt from an audio file: the few seconds of somebody's speech that the model goes on from, and whose they are.

A prompt begins where speech begins and ends at a pause, near 3 s: a word cut in two comes back as a stammer. Where
there is no such pause it ends at the quietest 20 ms. How well a voice is met hangs more on these
seconds than on the model, so what is wrong with them is said, and speech that cannot serve is refused.

Whose voice it is goes by the sound, not by the file's name: a digest of what decodes. Consent is said of that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.audio import audio_files, voice_activity
from tasks.audio.audio_files import Examination, Unreadable
from tasks.audio.cutting import Stretch
from tasks.corpora.sample_corpus import readers
from tasks.text.phonemization import Unspeakable, phonemize
from tasks.voices import utterance_prompt
from tasks.voices.utterance_prompt import Codes
from warehouse.errors import Mistake
from warehouse.tables import SAMPLE_RATE

if TYPE_CHECKING:
    from model.codec.encodec import Codec

Waveform = NDArray[np.float32]  # [num_samples]

_LOOKED_AT = 60.0  # seconds, from the file's beginning
_SHORTEST = 1.0  # seconds with a voice in them: with less, nothing is known of it
_LONGEST = 4.0  # seconds of a prompt that ends at a pause
_AROUND = 0.5  # seconds around 3 in which the quietest place is looked for
_CUT = 0.3  # seconds: how much nearer to 3 s a prompt has to end to be worth a cut inside speech
_WINDOW = 0.02  # seconds over which loudness is measured
_WIDE = 16_000  # Hz: a lower rate lacks what tells voices apart above 8 kHz
_FULL_SCALE = 1 - 2.0**-15  # the largest positive sample of 16 bits
_CLIPPED = 1e-3  # share of samples at full scale
_FAINT = -40.0  # dB below full scale, of the voiced part
_NOISY = 15.0  # dB between the loudest and the quietest twentieth


@dataclass(frozen=True)
class Excerpt:
    """The part of a file that gives the voice."""

    path: Path
    sample_rate: int  # Hz, of the file
    start: int  # first sample, in the file's own rate
    end: int  # one past the last
    is_whole: bool  # all speech of the file is in it
    warnings: tuple[str, ...]  # what is wrong with it, a sentence each

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return (self.end - self.start) / self.sample_rate

    def read(self, rate: int) -> Waveform:
        """Its samples `[num_samples]`, mono, at `rate` Hz."""
        return audio_files.read(self.path, rate, self.start, self.end)


@dataclass(frozen=True)
class Prompt:
    """What the model goes on from."""

    name: str  # a file's, or an utterance's id
    text: str
    phones: tuple[str, ...]
    codes: Codes  # [8, T]
    seconds: float
    warnings: tuple[str, ...] = ()


def speaker(corpus: str, speaker_id: str) -> str:
    """The name of a speaker's voice."""
    return f"speaker:{corpus}/{speaker_id}"


def is_machine(voice: str) -> bool:
    """Whether it is espeak-ng's, in the sample corpus; a person's folder may be called `sample`, too."""
    return voice in {speaker("sample", speaker_id) for speaker_id in readers()}


def examine(path: Path) -> Examination:
    """What decoding the whole file shows; its `digest` names the voice.

    Raises:
        Mistake: the file is no audio, damaged, or its samples are not what was recorded.
    """
    try:
        found = audio_files.examine(path)
    except Unreadable as error:
        raise Mistake(f"the prompt {path} cannot be used: {error}") from error
    if found.fault:
        raise Mistake(f"the prompt {path} cannot be used: {found.fault[1]}")
    return found


def take(path: Path, found: Examination, *, whole: bool = False) -> Excerpt:
    """The part of a file that makes the best prompt.

    Args:
        path: the file.
        found: what `examine` has shown.
        whole: whether all speech is wanted where it lasts no more than a prompt may.

    Raises:
        Mistake: nobody speaks for a second there.
    """
    rate = found.sample_rate
    length = min(found.num_samples, round(_LOOKED_AT * rate))
    try:
        sound = audio_files.read(path, rate, 0, length)
        speech = voice_activity.stretches(path, rate, length)
    except Unreadable as error:
        raise Mistake(f"the prompt {path} cannot be used: {error}") from error
    voiced = sum(end - start for start, end in speech) / rate
    if voiced < _SHORTEST:
        raise Mistake(f"the prompt {path} cannot be used: {_too_little(found, length / rate, voiced)}")
    start, end = best(speech, rate, lambda first, last: _quietest(sound, rate, first, last), whole)
    excerpt = Excerpt(path, rate, start, end, (start, end) == (speech[0][0], speech[-1][1]), ())
    said = (*_of_the_file(path, found, voiced), *_of_the_sound(path, sound, speech, excerpt))
    return Excerpt(path, rate, start, end, excerpt.is_whole, said)


def hear(excerpt: Excerpt, whisper: str, device: str, language: str) -> str:
    """What Whisper hears in an excerpt.

    Raises:
        Mistake: it hears no word.
    """
    from model.asr import recognition

    model = recognition.warm_asr(whisper, device)
    [heard] = recognition.transcribe(model, [excerpt.read(recognition.SAMPLE_RATE)], ids=["prompt"], language=language)
    if not heard.text:
        raise Mistake(f"no words are heard in the prompt {excerpt.path}: say what is said in it with --prompt-text")
    return heard.text


def prompt(excerpt: Excerpt, text: str, codec: "Codec", language: str) -> Prompt:
    """An excerpt with its phones and codes.

    Raises:
        Mistake: what is said in it has no phones.
    """
    import torch

    try:
        said = phonemize(text, language)
    except Unspeakable as refusal:
        raise Mistake(
            f"what is said in the prompt {excerpt.path}, {text!r}, has no phones of {language} ({refusal}): "
            "say it otherwise with --prompt-text"
        ) from refusal
    codes = codec.encode([torch.from_numpy(excerpt.read(SAMPLE_RATE))])[0].cpu().numpy().astype(np.uint16)
    return Prompt(str(excerpt.path), text, said.phones, codes, excerpt.seconds, excerpt.warnings)


def best(speech: list[Stretch], rate: int, quietest: Callable[[int, int], int], whole: bool = False) -> Stretch:
    """Where a prompt begins and ends: nearest to 3 s, with the least of pauses in it, the earliest of equals.

    Args:
        speech: voiced stretches in order, in samples.
        rate: of the samples, in Hz.
        quietest: the best sample to cut at within a stretch.
        whole: whether all speech is wanted where it lasts no more than a prompt may.
    """
    first, last = speech[0][0], speech[-1][1]
    if whole and last - first <= _LONGEST * rate:
        return first, last
    return min(_ways(speech, rate, quietest))[1:]


def _ways(speech: list[Stretch], rate: int, quietest: Callable[[int, int], int]) -> Iterator[tuple[float, int, int]]:
    """Every way to take a prompt, with what it costs, in seconds."""
    around = round(_AROUND * rate)
    for i, (start, _) in enumerate(speech):
        pauses, before = 0, start
        for begin, end in speech[i:]:
            pauses, before = pauses + begin - before, end
            if end - start > _LONGEST * rate:
                break
            yield abs((end - start) / rate - utterance_prompt.SECONDS) + pauses / rate, start, end
        wanted = start + round(utterance_prompt.SECONDS * rate)
        if wanted + around <= speech[-1][1]:
            cut = quietest(wanted - around, wanted + around)
            spoken = sum(max(0, min(end, cut) - begin) for begin, end in speech[i:])
            yield abs(cut - wanted) / rate + (cut - start - spoken) / rate + _CUT, start, cut


def _quietest(sound: Waveform, rate: int, start: int, stop: int) -> int:
    """The middle of the quietest 20 ms of a stretch."""
    window = max(1, round(_WINDOW * rate))
    energy = np.convolve(np.square(sound[start:stop], dtype=np.float64), np.ones(window), "valid")
    return start + int(energy.argmin()) + window // 2


def _too_little(found: Examination, seconds: float, voiced: float) -> str:
    """Why a file with hardly any speech is refused."""
    where = f"its first {_LOOKED_AT:.0f} s" if found.seconds > seconds else "it"
    if found.peak == 0:
        return "it is silent"
    if voiced == 0:
        return f"nobody is heard to speak in {where}"
    return f"only {voiced:.1f} s of speech are heard in {where}, and {_SHORTEST:.0f} s is the least"


def _of_the_file(path: Path, found: Examination, voiced: float) -> Iterator[str]:
    """What is wrong with a file as a whole."""
    if found.doubt:
        yield f"{path.name}: {found.doubt}"
    if found.seconds > _LOOKED_AT:
        yield f"{path.name} lasts {found.seconds:.0f} s; only its first {_LOOKED_AT:.0f} s are looked at"
    if round(voiced, 1) < utterance_prompt.SECONDS:
        least = f"{utterance_prompt.SECONDS:.0f} s"
        yield f"{path.name} holds {voiced:.1f} s of speech; with {least} its voice is met better"
    if found.sample_rate < _WIDE:
        top = found.sample_rate / 2000
        yield f"{path.name} is of {found.sample_rate:,} Hz: nothing of the voice is known above {top:g} kHz"


def _of_the_sound(path: Path, sound: Waveform, speech: list[Stretch], excerpt: Excerpt) -> Iterator[str]:
    """What is wrong with the sound, as far as it was looked at."""
    taken = sound[excerpt.start : excerpt.end]
    if np.mean(np.abs(taken) >= _FULL_SCALE) > _CLIPPED:
        yield f"{path.name} is clipped: the voice will sound distorted"
    voiced = np.concatenate([sound[start:end] for start, end in speech])
    level = _decibels(float(np.mean(np.square(voiced, dtype=np.float64))))
    if level < _FAINT:
        yield f"{path.name} is faint, {level:.0f} dB below full scale where somebody speaks: its noise is near"
    room = _room(sound, excerpt.sample_rate)
    if room < _NOISY:
        yield f"{path.name} is noisy, its quiet parts only {room:.0f} dB below its loud ones: the noise is met, too"


def _room(sound: Waveform, rate: int) -> float:
    """Decibels between the loudest and the quietest twentieth of the sound: what speech has above its noise."""
    window = max(1, round(_WINDOW * rate))
    whole = len(sound) // window * window
    power = np.square(sound[:whole], dtype=np.float64).reshape(-1, window).mean(axis=1)
    quiet, loud = np.quantile(power, [0.05, 0.95])
    return _decibels(float(loud)) - _decibels(float(quiet))


def _decibels(power: float) -> float:
    """Of a mean square against full scale; digital silence is 120 dB below."""
    return 10 * float(np.log10(max(power, 1e-12)))


def check_length(name: str, seconds: float) -> tuple[str, ...]:
    """What is wrong with how long an utterance lasts as a prompt.

    Raises:
        Mistake: it is too short to be one.
    """
    if seconds < _SHORTEST:
        raise Mistake(f"{name} cannot be a prompt: it lasts {seconds:.1f} s, and {_SHORTEST:.0f} s is the least")
    if round(seconds, 1) < utterance_prompt.SECONDS:
        return (f"{name} lasts {seconds:.1f} s; with {utterance_prompt.SECONDS:.0f} s its voice is met better",)
    return ()
