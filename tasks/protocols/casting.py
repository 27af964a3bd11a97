"""Casting: who says what after which prompt, with all that a model is told of it.

A pair of ids, or a line of a published list, becomes a `Part`: the text with its phones, the prompt with its words and
codes, and the true speech where there is any. What cannot be said costs itself, with a reason that its row will have.

Shapes: P phones, T frames.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.audio import audio_files
from tasks.audio.resynthesis import encode
from tasks.protocols.evaluation_set import Choice
from tasks.protocols.published_list import Entry
from tasks.text.phonemization import Spoken, Unspeakable, espeak_name, phonemize
from tasks.voices.utterance_prompt import WHOLE, Codes, Utterance
from warehouse.tables import FRAME_RATE, SAMPLE_RATE

if TYPE_CHECKING:
    from model.codec.encodec import Codec

Row = dict[str, Any]
Waveform = NDArray[np.float32]  # [num_samples], mono, in -1..1
Speech = Callable[[], Waveform]  # at 24 kHz, read when it is asked for


@dataclass(frozen=True)
class Prompt:
    """A few seconds that give a voice."""

    prompt_id: str
    text: str | None  # the words in it; null where they are not known
    phone_ids: NDArray[np.uint16]  # [P], of these words
    codes: Codes  # [8, T]
    recorded: Speech
    cut: str | None = None  # as in `utterance_prompt.Beginning`; null where it is a part of no pair

    @property
    def seconds(self) -> float:
        """Of its codes."""
        return float(self.codes.shape[1] / FRAME_RATE)


@dataclass(frozen=True)
class Part:
    """A text to be said, and what is known for it."""

    utterance_id: str
    speaker_id: str | None
    text: str
    phone_ids: NDArray[np.uint16]  # [P]
    language: str | None  # ISO 639-1
    prompt_id: str | None  # said of its rows also where the prompt cannot be had
    prompt: Prompt | None
    recorded: Speech | None  # the true speech; null where there is none
    codes: Codes | None = None  # [8, T] of it, where they are made
    opening: Prompt | None = None  # its own beginning, to be gone on from; null where nothing would be left to say
    refusal: Row = field(default_factory=dict)  # why there is no prompt, or no way to say the text


def of_corpus(
    choices: Iterable[Choice], spoken: dict[str, Utterance], audio: Path, prompt_seconds: float, language: str
) -> Iterator[Part]:
    """Parts of pairs of utterances.

    Args:
        choices: the pairs.
        spoken: each utterance of them.
        audio: the corpus.
        prompt_seconds: of a prompt, at most.
        language: that phones are made by, as `phones.language`.
    """
    num_frames = round(prompt_seconds * FRAME_RATE)
    for target_id, prompt_id in choices:
        target, prompt = spoken[target_id], spoken[prompt_id] if prompt_id else None
        least = prompt_seconds / 3
        yield Part(
            utterance_id=target_id,
            speaker_id=target.speaker_id,
            text=target.text,
            phone_ids=target.phone_ids,
            language=target.language,
            prompt_id=prompt_id,
            prompt=_beginning(prompt, num_frames, language, audio) if prompt else None,
            recorded=_recorded(audio / target.audio_path, target.start_sample, target.end_sample),
            codes=target.codes,
            opening=_opening(target, num_frames, audio) if target.codes.shape[1] > num_frames else None,
            refusal={}
            if prompt
            else {
                "dropped": "no_prompt",
                "detail": f"no other utterance of the speaker in the split lasts {least:g} s or more",
            },
        )


def of_list(entries: Iterable[Entry], folder: Path, codec: "Codec", language: str) -> Iterator[Part]:
    """Parts of lines of a published list.

    Args:
        entries: the lines.
        folder: what their paths count from.
        codec: which encodes their prompts.
        language: of all their texts, as `phones.language`.
    """
    spoken_in = espeak_name(language, None)
    for entry in entries:
        refusal: Row = {}
        said, prompt = None, None
        try:
            said = phonemize(entry.text, spoken_in)
            prompt = _listed(entry, phonemize(entry.prompt_text, spoken_in), folder, codec)
        except Unspeakable as error:
            refusal = {"dropped": error.reason, "detail": str(error)}
        except audio_files.Unreadable as error:
            refusal = {"dropped": "unreadable", "detail": str(error)}
        yield Part(
            utterance_id=entry.name,
            speaker_id=entry.prompt_wav,
            text=entry.text,
            phone_ids=np.array(said.phone_ids if said else (), np.uint16),
            language=spoken_in.partition("-")[0],
            prompt_id=entry.prompt_wav,
            prompt=prompt,
            recorded=_recorded(folder / entry.wav) if entry.wav else None,
            refusal=refusal,
        )


def _beginning(utterance: Utterance, num_frames: int, language: str, audio: Path) -> Prompt:
    """What an utterance begins with, and its words."""
    begun = utterance.beginning(num_frames, language)
    recorded = _first(utterance, begun.codes.shape[1], audio)
    return Prompt(utterance.utterance_id, begun.text, begun.phone_ids, begun.codes, recorded, begun.cut)


def _opening(utterance: Utterance, num_frames: int, audio: Path) -> Prompt:
    """The frames that a continuation goes on from. It reads the phones of the whole utterance."""
    recorded = _first(utterance, num_frames, audio)
    return Prompt(utterance.utterance_id, None, utterance.phone_ids, utterance.codes[:, :num_frames], recorded)


def _listed(entry: Entry, said: Spoken, folder: Path, codec: "Codec") -> Prompt:
    recorded = _recorded(folder / entry.prompt_wav)
    if not len(waveform := recorded()):
        raise audio_files.Unreadable(f"{entry.prompt_wav} has no samples")
    phone_ids = np.array(said.phone_ids, np.uint16)
    return Prompt(entry.prompt_wav, entry.prompt_text, phone_ids, encode(codec, waveform), recorded, WHOLE)


def _first(utterance: Utterance, num_frames: int, audio: Path) -> Speech:
    stop = utterance.start_sample + round(num_frames / FRAME_RATE * utterance.sample_rate)
    return _recorded(audio / utterance.audio_path, utterance.start_sample, min(utterance.end_sample, stop))


def _recorded(path: Path, start: int = 0, stop: int | None = None) -> Speech:
    return lambda: audio_files.read(path, SAMPLE_RATE, start, stop)
