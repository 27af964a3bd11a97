"""The trainer of the embedded codec: a start that is a codec already, a quantizer with gradients, exact resumption."""

import argparse
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.embedded import codec
from deploy.embedded.klt import start_from_transform
from deploy.embedded.speech import HELD_OUT_VOICES, TRAIN_VOICES, VOCABULARY, sentences, speak
from model.codec import Shape, build, load_codec

SMALL = Shape(n_filters=6, dimension=32, lstm=1, norm="none", num_codebooks=8)


@pytest.fixture(scope="module")
def speech():
    texts = islice(sentences(0), 8)
    return np.concatenate([speak(text, voice) for text, voice in zip(texts, TRAIN_VOICES, strict=False)])


def signal_to_noise(decoded: torch.Tensor, wav: torch.Tensor) -> float:
    return float(10 * torch.log10(wav.pow(2).sum() / (decoded - wav).pow(2).sum()))


def test_before_any_training_the_weights_carry_speech(speech):
    torch.manual_seed(0)
    model = build(SMALL)
    wav = torch.from_numpy(speech[: len(speech) // 320 * 320])
    with torch.no_grad():
        untrained = signal_to_noise(model.decoder(model.encoder(wav[None, None])), wav)
        start_from_transform(model.encoder, model.decoder, wav)
        started = signal_to_noise(model.decoder(model.encoder(wav[None, None])), wav)
    assert untrained < 1
    assert started > 6


def test_the_quantizer_passes_gradients_straight_through():
    latents = torch.randn(2, 4, 5, requires_grad=True)
    codebooks = codec.Codebooks(torch.randn(3, 16, 4))
    quantized, commitment, _ = codebooks.quantize(latents)
    assert quantized.shape == latents.shape
    assert commitment > 0
    quantized.sum().backward()
    assert torch.equal(latents.grad, torch.ones_like(latents))


def test_codebooks_follow_their_latents():
    torch.manual_seed(0)
    latents = torch.randn(1, 2, 4_000)
    codebooks = codec.Codebooks(torch.randn(1, 16, 2) + 1)
    before = codebooks.quantize(latents)[1]
    for _ in range(500):
        codebooks.follow(codebooks.quantize(latents)[2])
    assert codebooks.quantize(latents)[1] < 0.8 * before


def test_the_losses_of_speech_with_itself_are_nought(speech):
    wav = torch.from_numpy(speech[:9_600])[None, None]
    parts = codec.losses(wav, wav, {256: codec.mel_bands(256, 24)})
    assert parts["linear"] == 0
    assert parts["mel"] == 0
    assert parts["wave"] < -3


def options(state: Path, steps: int) -> argparse.Namespace:
    settings = {"decoder_steps": 1, "decoder_rate": 1e-4, "encoder_rate": 1e-4, "batch": 2, "seconds": 0.2}
    weights = {"wave": 0.3, "linear": 1.0, "mel": 1.0, "commitment": 0.5}
    return argparse.Namespace(state=state, steps=steps, workers=1, every=1, **settings, **weights)


def test_a_resumed_training_equals_an_unbroken_one_and_exports_a_codec(speech, tmp_path, monkeypatch):
    monkeypatch.setattr(codec, "SHAPE", SMALL)
    monkeypatch.setattr(codec, "_KMEANS_FRAMES", 2_400)
    monkeypatch.setattr(codec, "_KMEANS_ROUNDS", 1)
    monkeypatch.setattr(codec, "evaluate", lambda path: {})
    heard = (speech * 32767).astype(np.int16)
    states = []
    for name, stops in (("unbroken", [3]), ("resumed", [2, 3])):
        folder = tmp_path / name
        folder.mkdir()
        codec.start(folder, heard)
        for stop in stops:
            codec.train(options(folder, stop), 0, heard)
        states.append(torch.load(folder / "state.pt"))
    for ours, theirs in zip(states[0]["average"], states[1]["average"], strict=True):
        assert torch.equal(ours, theirs)
    rows = [json.loads(line) for line in (tmp_path / "resumed" / "log.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in rows] == ["decoder", "all", "all"]
    codec.export(tmp_path / "resumed", tmp_path / "codec.safetensors")
    exported = load_codec(tmp_path / "codec.safetensors")
    wav = torch.from_numpy(speech[:24_000])
    assert signal_to_noise(exported.decode(exported.encode([wav]))[0, 0], wav) > 1


def test_what_is_held_out_never_trains():
    held_out = set(islice(sentences(3, held_out=True), 200))
    assert not held_out & set(islice(sentences(3), 4_000))
    assert not {v.name.partition("+")[2] for v in HELD_OUT_VOICES} & {v.name.partition("+")[2] for v in TRAIN_VOICES}
    assert len(TRAIN_VOICES) >= 40
    assert all(word.strip(".,?").lower() in VOCABULARY for text in held_out for word in text.split())
