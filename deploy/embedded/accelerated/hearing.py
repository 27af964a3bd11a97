"""How well speech is heard, many pieces at a time and on any device: Whisper's words, and whose voice it is.

The same weights as the judges of the pipeline, without their second tries and their detector of pauses, which go piece
by piece: this is for rewards, of which a training needs thousands a minute, and for no figure that is told.

Shapes: B pieces, N samples at 24 kHz, M mel bands, F mel frames, W windows.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from deploy.embedded.accelerated.resampling import resample
from model.asr.engine import MAX_SAMPLES
from model.codec.encodec import SAMPLE_RATE
from model.speaker import verification
from model.speaker.verification import VoiceEncoder
from tasks.evaluation.judges import RATE, load_normalizer, word_errors

_TOKENS = 64  # that Whisper says of a piece at most
_RATIO = (SAMPLE_RATE // 8000, RATE // 8000)


def low(wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Pieces `[B, N]` and their lengths at 16 kHz, what stands behind an end made silent."""
    inside = torch.arange(wav.shape[1], device=wav.device) < lengths[:, None]
    return resample(wav * inside, *_RATIO), -(-lengths * _RATIO[1] // _RATIO[0])


class Listener:
    """Whisper and Resemblyzer's encoder on one device."""

    def __init__(self, whisper: Any, device: torch.device) -> None:
        from whisper.audio import mel_filters
        from whisper.tokenizer import get_tokenizer

        self._half = device.type == "cuda"
        self._whisper = whisper.to(device).eval()
        self._filters = mel_filters(device, whisper.dims.n_mels)
        self._tokenizer = get_tokenizer(multilingual=whisper.is_multilingual, language="en", task="transcribe")
        self._voices = VoiceEncoder(str(device))
        self._normalize = load_normalizer()
        self._device = device

    @torch.inference_mode()
    def hear(self, wav: Tensor, lengths: Tensor, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Of pieces `[B, N]` with texts: the share of words wrong `[B]`, nats a token `[B]`, voices `[B, 256]`.

        Some hundred pieces at once are as many as memory holds.
        """
        speech, samples = low(wav, lengths)
        features = self._whisper.encoder(self._mel(speech))
        wrong = torch.tensor(self._wrong(features, texts), device=self._device)
        return wrong, self._nats(features, texts), self.voices(speech, samples)

    def _mel(self, speech: Tensor) -> Tensor:
        """Whisper's spectrogram `[B, M, 3000]` of speech at 16 kHz, each piece by its own loudest band."""
        filled = F.pad(speech, (0, max(0, MAX_SAMPLES - speech.shape[1])))[:, :MAX_SAMPLES]
        window = torch.hann_window(400, device=speech.device)
        spectrum = torch.stft(filled, 400, 160, window=window, return_complex=True)
        bands = (self._filters @ spectrum[..., :-1].abs().square()).clamp(min=1e-10).log10()
        loud = torch.maximum(bands, bands.amax((1, 2), keepdim=True) - 8.0)
        mel: Tensor = (loud + 4.0) / 4.0
        return mel.half() if self._half else mel

    def _wrong(self, features: Tensor, texts: Sequence[str]) -> list[float]:
        """The share of each text's words that Whisper's likeliest tokens have not."""
        from whisper.decoding import DecodingOptions, decode

        options = DecodingOptions(language="en", without_timestamps=True, sample_len=_TOKENS, fp16=self._half)
        heard = decode(self._whisper, features, options)
        counts = [
            word_errors(self._normalize(text), self._normalize(one.text))
            for text, one in zip(texts, heard, strict=True)
        ]
        return [errors / max(1, words) for errors, words in counts]

    def _nats(self, features: Tensor, texts: Sequence[str]) -> Tensor:
        """How unlikely Whisper thinks each text, nats a token `[B]`."""
        start = list(self._tokenizer.sot_sequence_including_notimestamps)
        rows = [[*start, *self._tokenizer.encode(f" {text}"), self._tokenizer.eot] for text in texts]
        most = max(map(len, rows))
        tokens = torch.tensor([row + [self._tokenizer.eot] * (most - len(row)) for row in rows], device=self._device)
        lengths = torch.tensor([len(row) for row in rows], device=self._device)
        logits = self._whisper.decoder(tokens[:, :-1], features).float()
        missed = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        places = torch.arange(1, most, device=self._device)
        asked = (places >= len(start)) & (places < lengths[:, None])
        return (missed * asked).sum(1) / asked.sum(1)

    @torch.inference_mode()
    def voices(self, speech: Tensor, lengths: Tensor) -> Tensor:
        """The voices `[B, 256]`, of length 1, of speech `[B, N]` at 16 kHz."""
        inside = torch.arange(speech.shape[1], device=speech.device) < lengths[:, None]
        loudness = ((speech * inside).square().sum(1) / lengths.clamp(min=1)).sqrt().clamp(min=1e-5)
        louder = speech * inside * (verification.LEVEL / loudness).clamp(min=1.0)[:, None]
        seen, step = verification.SEEN, verification.STEP
        mels = verification.mel(F.pad(louder, (0, seen * verification.HOP)))  # [B, F, M]
        windows = mels.unfold(1, seen, step).transpose(2, 3)  # [B, W, 160, M]
        starts = torch.arange(windows.shape[1], device=speech.device) * step * verification.HOP
        counts = (starts + seen * verification.HOP * verification.COVERED <= lengths[:, None]) | (starts == 0)
        each = self._voices(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        return F.normalize((each * counts[..., None]).sum(1), dim=1)
