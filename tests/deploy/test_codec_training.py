"""The trainer of the embedded codec: what it is taught, its codebooks, its adversary, exact resumption."""

import argparse
import json

import numpy as np
import pytest
import torch

from deploy.embedded import adversary, codebooks, codec
from deploy.embedded.losses import losses
from deploy.embedded.speech import disturbed
from model.codec.encodec import SAMPLE_RATE, Shape, load_codec
from tests.speech import sentences

SMALL = Shape(n_filters=4, dimension=80, lstm=1, norm="none", num_codebooks=2)


@pytest.fixture(scope="module")
def speech():
    return np.concatenate([waveform for _, waveform in sentences(4, SAMPLE_RATE)])


def test_a_band_is_loudest_where_its_tone_is_and_knows_nothing_of_phase():
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    tones = torch.stack([torch.sin(2 * torch.pi * 1_000 * time), torch.cos(2 * torch.pi * 1_000 * time)])
    sine, cosine = codec.bands(tones, codec.mel_filters())[..., 10:]
    peak = codec.mel_filters().argmax(1)[sine.mean(1).argmax()] * SAMPLE_RATE / 1024
    assert abs(peak - 1_000) < 50
    loudest = sine.mean(1).argmax()
    assert (sine - cosine)[loudest].abs().max() < 0.05


def test_untrained_weights_keep_the_variance_of_what_passes_them(speech):
    model = codec.start()
    with torch.no_grad():
        latents = model.encoder(torch.from_numpy(speech[: 4 * SAMPLE_RATE])[None, None])
    assert 0.01 < latents.std() < 10


def test_each_codebook_leaves_less_than_the_one_before():
    torch.manual_seed(0)
    latents = torch.randn(4_000, 6)
    books = codebooks.fit(latents, 3, 32)
    left = [(codebooks.quantized(latents.T[None], books[:number])[0].T - latents).pow(2).mean() for number in (1, 2, 3)]
    assert latents.pow(2).mean() > left[0] > left[1] > left[2]


def test_the_losses_of_speech_with_itself_are_nought(speech):
    wav = torch.from_numpy(speech[:9_600])[None, None]
    parts = losses(wav, wav)
    assert parts["linear"] == parts["envelope"] == parts["mel"] == 0
    assert parts["correlation"] < 0.02


def test_the_adversary_learns_to_tell_noise_from_speech(speech):
    judge = adversary.discriminator()
    optimizer = torch.optim.Adam(judge.parameters(), 3e-3)
    wav = torch.from_numpy(speech[:12_000])[None, None]
    noise = 0.1 * torch.randn(wav.shape, generator=torch.Generator().manual_seed(0))
    told = []
    for _ in range(8):
        told.append(adversary.telling(judge, wav, noise))
        optimizer.zero_grad()
        told[-1].backward()
        optimizer.step()
    assert told[-1] < told[0]
    fooled, alike = adversary.fooling(judge, wav, wav)
    assert alike == 0
    assert fooled > 0


def test_disturbed_speech_is_another_each_time_and_the_same_for_the_same_draw(speech):
    wav = np.stack([speech[:24_000]] * 3)
    first, again, other = (disturbed(wav, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (3, 24_000)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.isfinite().all()


class Killed(Exception):
    pass


def test_a_resumed_training_equals_an_unbroken_one_and_exports_a_codec(speech, tmp_path, monkeypatch):
    monkeypatch.setattr(codec, "SHAPE", SMALL)
    monkeypatch.setattr(codec, "_KMEANS_FRAMES", 2_400)
    options = argparse.Namespace(
        encoder_steps=3,
        decoder_steps=2,
        adversary_steps=2,
        rate=1e-4,
        batch=2,
        frames=30,
        every=1,
        workers=0,
        start=None,
    )
    heard = (speech * 32767).astype(np.int16)
    save, kill_at = codec.Training._save, []

    def save_and_perhaps_die(self):
        save(self)
        if self.step in kill_at:
            kill_at.remove(self.step)
            raise Killed

    monkeypatch.setattr(codec.Training, "_save", save_and_perhaps_die)
    states = []
    for name, kills in (("unbroken", []), ("resumed", [2, 4, 6])):
        folder = tmp_path / name
        folder.mkdir()
        kill_at += kills
        for _ in kills:
            with pytest.raises(Killed):
                codec.Training(folder, options, heard, heard[: 2 * SAMPLE_RATE]).run()
        codec.Training(folder, options, heard, heard[: 2 * SAMPLE_RATE]).run()
        states.append(torch.load(folder / "state.pt"))
    for name, ours in states[0]["average"].items():
        assert torch.equal(ours, states[1]["average"][name]), name
    rows = [json.loads(line) for line in (tmp_path / "resumed" / "log.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in rows] == ["encoder"] * 3 + ["decoder"] * 2 + ["adversary"] * 2
    codec.export(tmp_path / "resumed", tmp_path / "codec.safetensors")
    exported = load_codec(tmp_path / "codec.safetensors", num_codebooks=2)
    codes = exported.encode([torch.from_numpy(speech[:24_000])])
    assert codes.shape == (1, 2, 75)
    assert exported.decode(codes).shape == (1, 1, 24_000)
