"""The trainer of the embedded codec: a start that is a codec already, a quantizer with gradients, exact resumption."""

import argparse
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from deploy.embedded.klt import start_from_transform

from deploy.embedded import codebooks as books
from deploy.embedded import codec
from deploy.embedded.codebooks import Codebooks
from deploy.embedded.losses import losses
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
    codebooks = Codebooks(torch.randn(3, 16, 4))
    quantized, commitment, *_ = codebooks.quantize(latents)
    assert quantized.shape == latents.shape
    assert commitment > 0
    quantized.sum().backward()
    assert torch.equal(latents.grad, torch.ones_like(latents))


def test_codebooks_follow_their_latents():
    torch.manual_seed(0)
    latents = torch.randn(1, 2, 4_000)
    codebooks = Codebooks(torch.randn(1, 16, 2) + 1)
    before = codebooks.quantize(latents)[1]
    for _ in range(500):
        codebooks.follow(*codebooks.quantize(latents)[2:])
    assert codebooks.quantize(latents)[1] < 0.8 * before


def test_a_code_that_nobody_chooses_starts_anew_among_the_latents():
    torch.manual_seed(0)
    far_away = torch.cat([torch.zeros(1, 8, 2), torch.full((1, 8, 2), 100.0)], dim=1)
    codebooks = Codebooks(far_away, mass=torch.full((1, 16), 0.021))
    for _ in range(20):
        codebooks.follow(*codebooks.quantize(torch.randn(1, 2, 400))[2:])
    assert codebooks.codes.abs().max() < 10


def test_the_losses_of_speech_with_itself_are_nought(speech):
    wav = torch.from_numpy(speech[:9_600])[None, None]
    parts = losses(wav, wav)
    assert parts["linear"] == 0
    assert parts["envelope"] == 0
    assert parts["mel"] == 0
    assert parts["correlation"] < 0.02
    assert parts["wave"] < -3


def options(state: Path) -> argparse.Namespace:
    steps = {"decoder_steps": 1, "steps": 3, "finish_steps": 2, "every": 1}
    rates = {"decoder_rate": 1e-4, "encoder_rate": 1e-4, "batch": 2, "seconds": 0.4, "workers": 1}
    weights = {"wave": 0.5, "linear": 1.0, "envelope": 1.0, "mel": 0.5, "correlation": 2.0, "commitment": 2.0}
    return argparse.Namespace(state=state, **steps, **rates, **weights)


class Killed(Exception):
    pass


def test_a_resumed_training_equals_an_unbroken_one_and_exports_a_codec(speech, tmp_path, monkeypatch):
    monkeypatch.setattr(codec, "SHAPE", SMALL)
    monkeypatch.setattr(codec, "_KMEANS_FRAMES", 2_400)
    monkeypatch.setattr(books, "_ROUNDS", 1)
    monkeypatch.setattr(codec, "evaluate", lambda path: {})
    heard = (speech * 32767).astype(np.int16)
    save, kill_at = codec._save, []

    def save_and_perhaps_die(state, values):
        save(state, values)
        if values["step"] in kill_at:
            kill_at.remove(values["step"])
            raise Killed

    monkeypatch.setattr(codec, "_save", save_and_perhaps_die)
    states = []
    for name, kills in (("unbroken", []), ("resumed", [2, 4])):
        folder = tmp_path / name
        folder.mkdir()
        codec.start(folder, heard)
        kill_at += kills
        for _ in kills:
            with pytest.raises(Killed):
                codec.train(options(folder), 0, heard)
        codec.train(options(folder), 0, heard)
        states.append(torch.load(folder / "state.pt"))
    for ours, theirs in zip(states[0]["average"], states[1]["average"], strict=True):
        assert torch.equal(ours, theirs)
    rows = [json.loads(line) for line in (tmp_path / "resumed" / "log.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in rows] == ["decoder", "all", "all", "finish", "finish"]
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
