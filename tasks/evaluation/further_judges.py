"""Further judges, by name: a recognizer and a verifier that papers use, naturalness, prosody.

    hubert-ctc=FOLDER   words by CTC (`model.published.ctc`), the judge of VALL-E's paper
    moonshine           words by another ear than Whisper: Moonshine tiny (Jeffries et al. 2024, arXiv:2410.15608),
                        whose weights lie in the wheel of `moonshine-voice`
    wavlm-sv=FOLDER     voices by x-vectors of WavLM (`model.published.xvector`)
    dnsmos              naturalness as people would rate it, 1 to 5: DNSMOS P.835 and P.808 (Reddy et al. 2022,
                        arXiv:2110.01763), whose weights lie in the wheel of `speechmos`
    prosody             pitch and rate, also against the prompt's: F0 by Praat's autocorrelation (Boersma 1993)

FOLDER is a model as `transformers` saves it; `hf download NAME --local-dir FOLDER` brings one from the hub. They come
with the extra `judges`, Moonshine with one of its own, since not every machine has a wheel of it. Each is named with
the digest of its weights in every row.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tasks.evaluation.judges import RATE
from tasks.evaluation.scoring import Embed, Listen, Row, SpeechScores, VoiceScores, Waveform, WordScores
from tasks.evaluation.systems import CONTINUAL
from warehouse.errors import Mistake

HUBERT, MOONSHINE, WAVLM, DNSMOS, PROSODY = "hubert-ctc", "moonshine", "wavlm-sv", "dnsmos", "prosody"
_KINDS = {  # and what each needs; speechmos does not ask for what it imports
    HUBERT: ("transformers",),
    MOONSHINE: ("moonshine_voice",),
    WAVLM: ("transformers",),
    DNSMOS: ("speechmos", "librosa", "onnxruntime"),
    PROSODY: ("parselmouth",),
}
_OF_DNSMOS = ("dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808")
_OF_PROSODY = ("f0_mean", "f0_std", "f0_shift", "f0_std_ratio", "rate", "rate_ratio")
_LOWEST, _HIGHEST = 60.0, 500.0  # Hz, of F0
_TINY = "assets/tiny-en"  # in the wheel
_SHORTEST = 1_600  # samples: less is no speech to any of them


def absolute(name: str) -> str:
    """A judge's name with its folder's whole path, for a worker may stand in another folder."""
    kind, equals, folder = name.partition("=")
    return f"{kind}={Path(folder).absolute()}" if equals and folder else name


def identity(name: str) -> str:
    """What names a judge's scores: `hubert-ctc/folder@1a2b3c4d`, `dnsmos/0.0.1.1@5e6f7a8b`, `prosody/0.4.7`.

    Raises:
        Mistake: there is no such judge, what it needs is not installed, or its folder holds no model.
    """
    kind, folder = _parsed(name)
    if missing := [needed for needed in _KINDS[kind] if find_spec(needed) is None]:
        extra = MOONSHINE if kind == MOONSHINE else "judges"
        raise Mistake(f"scores.judges: {kind} needs {missing[0]}; pip install 'valle[{extra}]' brings it")
    if kind == PROSODY:
        return f"{PROSODY}/{version('praat-parselmouth')}"
    if kind == DNSMOS:
        return f"{DNSMOS}/{version('speechmos')}@{_digest('speechmos', 'dnsmos_models/*.onnx')}"
    if kind == MOONSHINE:
        return f"{MOONSHINE}/{version('moonshine-voice')}@{_digest('moonshine_voice', f'{_TINY}/*.ort')}"
    from model.published import model_folder

    try:
        return f"{kind}/{model_folder.identity(folder)}"
    except ValueError as error:
        raise Mistake(f"scores.judges: {error}") from error


def load(name: str, root: Path, device: str, texts: dict[str, str]) -> WordScores | VoiceScores | SpeechScores:
    """A judge that is ready to score; its weights are kept for the next call of this process.

    Args:
        name: as above.
        root: of the warehouse.
        device: as torch names it.
        texts: of other samples, by the ids of true speech.

    Raises:
        Mistake: as for `identity`.
        ValueError: the folder holds another kind of model.
    """
    kind, folder = _parsed(name)
    judge = identity(name)
    if kind == HUBERT:
        return WordScores(judge, _recognizer(judge, folder, device), texts)
    if kind == MOONSHINE:
        return WordScores(judge, _moonshine(), texts)
    if kind == WAVLM:
        return VoiceScores(root, judge, _verifier(judge, folder, device))
    if kind == DNSMOS:
        return SpeechScores(root, judge, _OF_DNSMOS, _naturalness)
    return SpeechScores(root, judge, _OF_PROSODY, prosody)


def _parsed(name: str) -> tuple[str, Path]:
    kind, _, folder = name.partition("=")
    if kind not in _KINDS:
        raise Mistake(f"scores.judges: there is no judge {kind!r}; there are {', '.join(_KINDS)}")
    if bool(folder) != (kind in (HUBERT, WAVLM)):
        raise Mistake(f"scores.judges: {name!r} must read {f'{kind}=FOLDER' if not folder else kind}")
    return kind, Path(folder)


@lru_cache(maxsize=2)
def _recognizer(_identity: str, folder: Path, device: str) -> Listen:
    from model.published.ctc import CtcRecognizer

    model = CtcRecognizer(folder, device)
    return lambda _ids, waveforms: model.transcribe(waveforms)


@lru_cache(maxsize=2)
def _verifier(_identity: str, folder: Path, device: str) -> Embed:
    from model.published.xvector import SpeakerVerifier

    model = SpeakerVerifier(folder, device)
    return lambda speech: model.embed(speech) if len(speech) >= _SHORTEST and speech.any() else None


@lru_cache(maxsize=1)
def _moonshine() -> Listen:
    """Each waveform as one piece: its own detector of speech would leave out what it takes for none."""
    from moonshine_voice.moonshine_api import ModelArch
    from moonshine_voice.transcriber import Transcriber

    options = {"vad_threshold": "0", "vad_max_segment_duration": "60", "return_audio_data": "false"}
    listener = Transcriber(str(_package("moonshine_voice") / _TINY), ModelArch.TINY, options=options)

    def listen(_ids: Sequence[str], waveforms: Sequence[Waveform]) -> list[str]:
        heard = [listener.transcribe_without_streaming(waveform.tolist(), RATE).lines for waveform in waveforms]
        return [" ".join(line.text for line in lines) for lines in heard]

    return listen


@lru_cache(maxsize=4)
def _digest(package: str, pattern: str) -> str:
    """Of the weights in a wheel.

    Raises:
        Mistake: there are none.
    """
    whole, paths = hashlib.sha256(), sorted(_package(package).glob(pattern))
    if not paths:
        raise Mistake(f"scores.judges: {package} as it is installed holds no {pattern}; another version does")
    for path in paths:
        whole.update(path.read_bytes())
    return whole.hexdigest()[:8]


def _package(name: str) -> Path:
    found = find_spec(name)
    assert found is not None
    assert found.submodule_search_locations
    return Path(next(iter(found.submodule_search_locations)))


def _naturalness(_sample: Row, speech: Waveform, _prompt: Waveform | None) -> dict[str, float | None]:
    if len(speech) < _SHORTEST:
        return {}
    from speechmos import dnsmos

    found = dnsmos.run(speech.clip(-1.0, 1.0), sr=16_000)
    return {name: float(found[f"{name.removeprefix('dnsmos_')}_mos"]) for name in _OF_DNSMOS}


def prosody(sample: Row, speech: Waveform, prompt: Waveform | None) -> dict[str, float | None]:
    """Pitch and rate of speech at 16 kHz, and against its prompt's where it has one.

    `f0_mean` is in Hz, `f0_std` in semitones, `f0_shift` in semitones above the prompt's mean; `rate` is letters of the
    text a second, pauses included, of a continuation unknown. Ratios are to the prompt's.
    """
    mine, theirs = _pitch(speech), _pitch(prompt) if prompt is not None else None
    rate = _rate(sample["text"], speech) if len(speech) and sample["system"] != CONTINUAL else None
    before = _rate(sample["prompt_text"], prompt) if prompt is not None and sample["prompt_text"] else None
    return {
        "f0_mean": 2 ** (mine[0] / 12) if mine else None,
        "f0_std": mine[1] if mine else None,
        "f0_shift": mine[0] - theirs[0] if mine and theirs else None,
        "f0_std_ratio": mine[1] / theirs[1] if mine and theirs and theirs[1] else None,
        "rate": rate,
        "rate_ratio": rate / before if rate and before else None,
    }


def _pitch(speech: Waveform) -> tuple[float, float] | None:
    """Mean and deviation of F0 in semitones above 1 Hz; null where no voice is heard."""
    import parselmouth

    if len(speech) < _SHORTEST:
        return None
    found = parselmouth.Sound(speech.astype(np.float64), 16_000)
    track = found.to_pitch_ac(pitch_floor=_LOWEST, pitch_ceiling=_HIGHEST).selected_array["frequency"]
    voiced = 12 * np.log2(track[track > 0])
    return (float(voiced.mean()), float(voiced.std())) if len(voiced) else None


def _rate(text: str, speech: Waveform) -> float:
    return sum(map(str.isalnum, text)) / (len(speech) / 16_000)
