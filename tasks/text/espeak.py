"""espeak-ng, through the wheel that carries it: where its library lies, and speech from it.

The library keeps its state in globals of the process, and some of it (the
phase of its oscillators, and its noise) outlives an utterance: the same calls in
the same order in a fresh process give the same samples, the same call twice in
one process does not. Source: espeak-ng's `speak_lib.h` and `espeak_ng.h`.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 22_050  # Hz, what espeak-ng's formant synthesizer gives

_RETRIEVAL = 1  # AUDIO_OUTPUT_RETRIEVAL: hand the samples to the callback, play nothing
_NO_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
_UTF8 = 1  # espeakCHARS_UTF8
_SEED = 1
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7  # espeak_PARAMETER

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """One voice of espeak-ng: a language, a variant, and how it is used."""

    name: str  # language and variant, such as `en-us+f3`
    pitch: int = 50  # 0 to 99
    pitch_range: int = 50  # 0 (monotone) to 99
    rate: int = 165  # words a minute
    word_gap: int = 0  # units of 10 ms


def library_path() -> str:
    """The shared library, for phonemizer and for `synthesize`."""
    import espeakng_loader

    return str(espeakng_loader.get_library_path())


def data_path() -> str:
    """The folder with espeak-ng's voices and dictionaries."""
    import espeakng_loader

    return str(espeakng_loader.get_data_path())


@cache
def _library() -> Any:
    library = ctypes.cdll.LoadLibrary(library_path())
    rate = library.espeak_Initialize(_RETRIEVAL, 0, data_path().encode(), _NO_EXIT)
    if rate != SAMPLE_RATE:
        raise RuntimeError(f"espeak-ng started with {rate} Hz, not {SAMPLE_RATE} Hz; its data folder may be incomplete")
    library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))  # else it starts from the clock
    return library


def synthesize(text: str, voice: Voice) -> NDArray[np.float32]:
    """Text spoken by a voice: float32 `[num_samples]` in -1..1 at 22,050 Hz.

    Raises:
        ValueError: espeak-ng has no such voice.
    """
    library = _library()
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise ValueError(f"espeak-ng has no voice {voice.name!r}")
    for parameter, value in (
        (_RATE, voice.rate),
        (_VOLUME, 100),
        (_PITCH, voice.pitch),
        (_RANGE, voice.pitch_range),
        (_WORD_GAP, voice.word_gap),
    ):
        library.espeak_SetParameter(parameter, value, 0)

    pieces: list[NDArray[np.int16]] = []

    @_Callback  # type: ignore[untyped-decorator]
    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0

    library.espeak_SetSynthCallback(collect)
    encoded = text.encode()
    library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    library.espeak_SetSynthCallback(_Callback())  # the callback must not outlive this call
    speech = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    return speech.astype(np.float32) / 32768.0
