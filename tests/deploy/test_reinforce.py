"""An AR that is taught by how it is heard: what it is told it has said, and that it comes to say what is rewarded."""

import json
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soxr
import torch
import whisper
from torch import Tensor

from deploy.embedded.accelerated import hearing, reinforce, rollouts
from deploy.embedded.accelerated.hearing import Listener, low
from deploy.embedded.accelerated.lines import Line
from deploy.embedded.accelerated.reinforce import Run
from deploy.embedded.accelerated.rollouts import Asked, Rollout, chances, divergence, likelihood, roll_out
from model.asr.weights import load_whisper
from model.codec.encodec import identity
from model.valle import checkpoint
from model.valle.ar import AR
from model.valle.sampling import Sampling, nucleus
from model.valle.settings import Settings, Size
from model.valle.synthesis import load_pair
from tasks.evaluation.judges import RATE, load_voice_encoder
from tasks.text.espeak import SAMPLE_RATE, synthesize
from tasks.text.phonemization import phonemize
from tasks.text.symbols import SYMBOLS
from tests.tasks import small_evaluation

CPU = torch.device("cpu")
TEXTS = ("A cold day.", "We saw it.", "Go on.", "They ran home.")
NARROW = Sampling(temperature=1.0, top_p=0.05, window=0)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short prompts serve, too, and nobody speaks slowly."""
    monkeypatch.setattr(reinforce, "_PROMPT_FRAMES", range(40, 50))
    monkeypatch.setattr(rollouts, "_FRAMES_OF_A_PHONE", 4)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Codes of utterances, a pair, a codec and a Whisper, none of which has learnt anything."""
    folder = tmp_path_factory.mktemp("reinforce")
    pick = np.random.default_rng(0)
    said = [
        Line(place % 2, 1.0, [], [int(phone) for phone in phonemize(text).phone_ids], text, held_out)
        for held_out in (False, True)
        for place, text in enumerate(TEXTS)
    ]
    lengths = pick.integers(40, 50, len(said))
    (folder / "codes").mkdir()
    codes = pick.integers(0, 1024, (8, lengths.sum())).astype(np.uint16)
    np.savez(folder / "codes/00000.npz", lines=np.arange(len(said)), lengths=lengths, codes=codes)
    np.savez(folder / "tables.npz")
    (folder / "voices.json").write_text("[]")
    (folder / "lines.jsonl").write_text("".join(json.dumps(line._asdict()) + "\n" for line in said))
    codec = small_evaluation.save_codec(folder / "codec")
    torch.manual_seed(0)
    size, named = Size(1, 2, 32, 64, 0.0), {"languages": ("en",), "monotonic": True}
    ar = checkpoint.build(Settings("ar", size, SYMBOLS, identity(codec), group=2, chained=True, **named))  # type: ignore[arg-type]
    torch.nn.init.normal_(ar.heard_as)
    checkpoint.save(folder / "pair/ar", ar)
    nar = checkpoint.build(Settings("nar", size, SYMBOLS, identity(codec), **named))  # type: ignore[arg-type]
    torch.nn.init.normal_(nar.heard_as)
    checkpoint.save(folder / "pair/nar", nar)
    parts = {"folder": folder, "pair": folder / "pair", "codec": codec}
    return {name: str(part) for name, part in parts.items()} | {"whisper": small_evaluation.save_whisper(folder)}


@pytest.fixture
def words(world: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets a command line."""
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(hearing, "_TOKENS", 4)
    monkeypatch.setattr(reinforce, "_VALID_ROWS", 3)

    def said(*more: object) -> None:
        named = [part for name in ("pair", "codec", "whisper") for part in (f"--{name}", world[name])]
        line = ["reinforce", world["folder"], tmp_path / "out", *named, *more]
        monkeypatch.setattr(sys, "argv", [str(word) for word in line])

    return said


def asked_of(world: dict[str, str], tries: int = 1) -> tuple[AR, list[Asked]]:
    ar = checkpoint.load(Path(world["pair"]) / "ar")
    assert isinstance(ar, AR)
    prompts, texts = reinforce.heard(Path(world["folder"]), held_out=False)
    return ar, [Asked(prompt, *text) for prompt, text in zip(prompts, texts[::-1], strict=True) for _ in range(tries)]


def test_prompts_and_texts_of_held_out_voices_are_kept_apart(world: dict[str, str], tmp_path: Path) -> None:
    (ours, texts), (theirs, _) = (reinforce.heard(Path(world["folder"]), held_out) for held_out in (False, True))
    assert len(ours) == len(theirs) == len(texts) == len(TEXTS)
    assert not np.array_equal(ours[0].codes[:, :40], theirs[0].codes[:, :40])
    with pytest.raises(SystemExit, match=r"lines\.jsonl"):
        reinforce.heard(tmp_path, held_out=False)


def test_what_was_drawn_is_thought_of_as_when_it_was_drawn(world: dict[str, str]) -> None:
    ar, asked = asked_of(world)
    rollout = roll_out(ar, asked, NARROW, CPU, seed=3)
    found = chances(ar, rollout)
    new = rollout.lengths - rollout.prompt_lengths
    assert found.said.sum(1).tolist() == new.tolist()
    assert (new >= 2 * 6).all()
    inside = nucleus(found.codes.exp().flatten(0, 1), 0, NARROW.top_p).view_as(found.codes) > 0
    drawn = inside.gather(2, rollout.codes[..., None]).squeeze(2)[found.said]
    assert drawn.all()  # one code in thirty is
    assert inside[found.said].float().mean() < 0.1
    made = found.moves.gather(2, rollout.moves[..., None]).squeeze(2)[found.said[:, ::2]]
    assert (made > -20).all()
    for row, one in enumerate(asked):
        prompt = one.prompt.codes[0, one.prompt.codes.shape[1] % 2 :]
        assert rollout.codes[row, : len(prompt)].tolist() == prompt.tolist()
    again = roll_out(ar, asked, NARROW, CPU, seed=3)
    assert torch.equal(again.codes, rollout.codes)
    assert divergence(found, chances(ar, again), 2) == 0


def test_what_is_rewarded_becomes_likelier_and_the_divergence_holds_it_back(world: dict[str, str]) -> None:
    ar, asked = asked_of(world)
    ar.requires_grad_(True).heard_as.requires_grad_(False)
    rollout = roll_out(ar, asked, NARROW, CPU, seed=0)
    with torch.no_grad():
        before = chances(ar, rollout)
    optimizer = torch.optim.SGD([one for one in ar.parameters() if one.requires_grad], lr=1e-3)
    first = likelihood(chances(ar, rollout), rollout, NARROW, 2)
    torch.autograd.backward(-first[0] / 100)
    optimizer.step()
    optimizer.zero_grad()
    now = chances(ar, rollout)
    assert likelihood(now, rollout, NARROW, 2)[0] > first[0]
    far = divergence(now, before, 2)
    assert far > 0
    torch.autograd.backward(far)
    assert any(one.grad is not None and one.grad.abs().sum() > 0 for one in ar.parameters())


def test_an_ar_comes_to_say_what_is_heard_well(
    world: dict[str, str], words: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    words("--texts", 2, "--tries", 4, "--rate", "2e-2", "--near", 0)
    run = Run(reinforce._options())

    def high(rollout: Rollout) -> Tensor:
        """The share of new codes that are of the upper half."""
        said = (torch.arange(rollout.codes.shape[1]) >= rollout.prompt_lengths[:, None]) & (
            torch.arange(rollout.codes.shape[1]) < rollout.lengths[:, None]
        )
        return ((rollout.codes >= 512) & said).sum(1) / said.sum(1)

    monkeypatch.setattr(
        run.voice, "judge", lambda rollout, asked: (1 - high(rollout), torch.zeros(len(asked)), torch.zeros(len(asked)))
    )
    found = []
    for asked, _ in zip(run._rounds(), range(8), strict=False):
        found.append(run._learn(asked)["wrong"])
    assert sum(found[-2:]) / 2 < found[0] - 0.05


def test_it_goes_from_a_pair_to_one_that_was_heard_best(
    words: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = count(step=0.1)  # seconds: a look at the clock takes as long on every machine
    monkeypatch.setattr(reinforce, "time", SimpleNamespace(time=lambda: next(ticks)))
    words("--texts", 2, "--tries", 2, "--minutes", 0.006, "--every", 1)
    reinforce.main()
    rows = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert [("valid" in row, row["round"]) for row in rows] == [(True, 0), (False, 1), (True, 1), (True, 1)]
    pair = load_pair(tmp_path / "out/ar", tmp_path / "out/nar")
    assert pair.ar.settings == checkpoint.load(tmp_path / "out/last").settings


def test_pieces_heard_together_are_heard_as_alone(world: dict[str, str]) -> None:
    listener = Listener(load_whisper(world["whisper"]), CPU)
    said = zip((small_evaluation.LONG, small_evaluation.SHORT), small_evaluation.VOICES.values(), strict=True)
    spoken = [torch.from_numpy(soxr.resample(synthesize(*one), SAMPLE_RATE, 24_000)) for one in said]
    lengths = torch.tensor([len(one) for one in spoken])
    wav = torch.nn.utils.rnn.pad_sequence(spoken, batch_first=True)
    speech, samples = low(wav, lengths)
    voices, encoder = listener.voices(speech, samples), load_voice_encoder("cpu")
    for row, length in enumerate(samples.tolist()):
        alone = speech[row, :length].numpy()
        assert float(torch.from_numpy(encoder.embed(alone)) @ voices[row]) > 0.99
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(alone, 30 * RATE))
        assert torch.allclose(listener._mel(speech)[row], mel, atol=2e-3)
    assert float(voices[0] @ voices[1]) < 0.999
    nats = listener._nats(listener._whisper.encoder(listener._mel(speech)), ["A.", "B c."])
    assert (nats > 5).all()  # of 51,864 tokens, none of which is known
