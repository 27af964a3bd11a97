"""Audio into codes: every utterance by itself, whatever it is encoded with."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from numpy.typing import NDArray
from pyarrow.dataset import Dataset, dataset

from tasks.audio.fidelity import si_sdr_db
from tasks.codes import Codes, Encoder, _ahead, in_batches
from warehouse.errors import Mistake
from warehouse.tables import CODEBOOKS, CODES, RECORDINGS, UTTERANCES

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained codec as a file."""
    from safetensors.torch import save_file

    from model.codec.encodec import Shape, build

    torch.manual_seed(0)
    torch.set_num_threads(1)
    shape = Shape(n_filters=2, dimension=8, lstm=1, norm="none", num_codebooks=8)
    state = build(shape).state_dict()
    state = {name: 0.05 * torch.randn_like(value) if name.endswith("embed") else value for name, value in state.items()}
    path = tmp_path_factory.mktemp("codec") / "small.safetensors"
    save_file(state, path)
    path.with_suffix(".json").write_text(json.dumps({"shape": asdict(shape)}))
    return path


def noise(seconds: float, rate: int = 16_000) -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def corpus(folder: Path, stretches: list[tuple[str, int, int]], dropped: dict[int, str] | None = None) -> list[Dataset]:
    """Utterances `(audio_path, start_sample, end_sample)` at 16 kHz, and the recordings that they are cut from."""
    utterances = [
        {
            "utterance_id": f"{name}#{start}-{end}",
            "recording_id": name,
            "start_sample": start,
            "end_sample": end,
            "sample_rate": 16_000,
            "seconds": (end - start) / 16_000,
            "dropped": (dropped or {}).get(i),
        }
        for i, (name, start, end) in enumerate(stretches)
    ]
    recordings = [
        {"recording_id": name, "audio_path": f"{name}.wav"} for name in sorted({name for name, _, _ in stretches})
    ]
    soundfile.write(folder / "whole.wav", noise(2), 16_000, subtype="FLOAT")
    return [
        dataset(pa.Table.from_pylist(utterances, schema=UTTERANCES.schema)),
        dataset(pa.Table.from_pylist(recordings, schema=RECORDINGS.schema)),
    ]


def codes_of(
    weights: Path, folder: Path, stretches: list[tuple[str, int, int]], **settings: Any
) -> list[dict[str, Any]]:
    table = Codes(model=str(weights), audio=folder, **settings)(*corpus(folder, stretches))
    assert table.schema.equals(CODES.schema)
    return table.to_pylist()


STRETCHES = [("whole", 0, 16_000), ("whole", 16_000, 17_000), ("whole", 5_000, 25_000), ("whole", 100, 4_000)]


def test_every_kept_utterance_has_a_row_in_its_place(weights: Path, tmp_path: Path) -> None:
    table = Codes(model=str(weights), audio=tmp_path)(*corpus(tmp_path, STRETCHES, dropped={1: "silence"}))
    assert table["utterance_id"].to_pylist() == ["whole#0-16000", "whole#5000-25000", "whole#100-4000"]
    assert table["dropped"].null_count == 3


def test_there_are_75_frames_for_a_second_and_8_codebooks(weights: Path, tmp_path: Path) -> None:
    rows = codes_of(weights, tmp_path, STRETCHES)
    assert [row["num_frames"] for row in rows] == [75, 5, 94, 19]  # ceil(samples at 24 kHz / 320)
    for row in rows:
        assert [len(row[name]) for name in CODEBOOKS] == [row["num_frames"]] * 8
        assert all(0 <= code < 1024 for name in CODEBOOKS for code in row[name])
    assert len({tuple(row["codebook_1"]) for row in rows}) == 4


def test_codes_do_not_depend_on_the_batch(weights: Path, tmp_path: Path) -> None:
    together = codes_of(weights, tmp_path, STRETCHES, batch_seconds=1000.0)
    assert together == codes_of(weights, tmp_path, STRETCHES, batch_seconds=0.1)
    assert together == [codes_of(weights, tmp_path, [stretch])[0] for stretch in STRETCHES]


def test_an_utterance_that_cannot_be_read_costs_itself(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "broken.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    rows = codes_of(
        weights,
        tmp_path,
        [
            ("text", 0, 8_000),
            ("whole", 0, 8_000),
            ("missing", 0, 8_000),
            ("broken", 0, 8_000),
            ("whole", 30_000, 40_000),
        ],
    )
    assert [row["dropped"] for row in rows] == ["unreadable", None, "unreadable", "unreadable", "unreadable"]
    assert "not finite" in rows[3]["detail"]
    assert rows[0]["codebook_1"] is None
    assert rows[0]["num_frames"] is None


def test_nothing_is_dropped_where_the_whole_corpus_went_away(weights: Path, tmp_path: Path) -> None:
    stage = Codes(model=str(weights), audio=tmp_path / "gone")
    with pytest.raises(OSError, match="there is no folder .*gone"):
        stage(*corpus(tmp_path, STRETCHES))


def test_no_utterances_make_no_rows(weights: Path, tmp_path: Path) -> None:
    assert codes_of(weights, tmp_path, []) == []


def test_batches_hold_like_lengths_and_no_more_than_fits() -> None:
    assert list(in_batches([3.0, 1.0, 9.0, 1.0, 2.0], at_most=6.0)) == [[1, 3, 4], [0], [2]]
    assert list(in_batches([], at_most=6.0)) == []


class Crowded:
    """A codec with room for `most` samples, padding included; it counts how often it was asked for more."""

    def __init__(self, most: int) -> None:
        self.most, self.refusals = most, 0

    def num_frames(self, num_samples: int) -> int:
        return -(-num_samples // 320)

    def encode(self, waveforms: list[Any]) -> Any:
        if len(waveforms) * max(map(len, waveforms)) > self.most:
            self.refusals += 1
            raise torch.OutOfMemoryError("no room")
        frames = max(self.num_frames(len(waveform)) for waveform in waveforms)
        return torch.stack([torch.full((8, frames), int(waveform[0])) for waveform in waveforms])


def test_a_batch_without_room_is_halved_and_the_next_one_knows() -> None:
    codec = Crowded(most=3_200)
    encoder = Encoder(codec)  # type: ignore[arg-type]
    waveforms = [np.full(1_000 + i, i, np.float32) for i in range(8)]
    for _ in range(2):
        assert [int(codes[0, 0]) for codes in encoder.encode(waveforms)] == list(range(8))
        assert codec.refusals == 2  # eight, then four; never again


def test_one_utterance_without_room_fails_the_shard() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Encoder(Crowded(most=10)).encode([np.zeros(1_000, np.float32)])  # type: ignore[arg-type]


def test_weights_count_by_their_digest_and_not_by_where_they_lie(weights: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.safetensors"
    moved.write_bytes(weights.read_bytes())
    moved.with_suffix(".json").write_bytes(weights.with_suffix(".json").read_bytes())
    assert Codes(model=str(moved)).identity() == Codes(model=str(weights)).identity()
    assert Codes(model="encodec_24khz").identity() == {"model": "encodec_24khz@d7cc33bc"}


def test_a_share_of_utterances_is_decoded_again(weights: Path, tmp_path: Path) -> None:
    from model.codec.encodec import load_codec
    from tasks.audio.audio_files import read

    rows = codes_of(weights, tmp_path, STRETCHES, check_share=1.0)
    assert all(row["si_sdr_db"] < 0 for row in rows), "this codec never learned anything"
    assert all(row["fp32_agreement"] is None for row in rows), "fp32 is not compared with itself"
    codes = torch.tensor([[rows[3][name] for name in CODEBOOKS]])
    heard = read(tmp_path / "whole.wav", 24_000, 100, 4_000)
    decoded = load_codec(weights).decode(codes)[0, 0, : len(heard)].numpy()
    assert rows[3]["si_sdr_db"] == pytest.approx(si_sdr_db(decoded, heard), rel=1e-5)


def test_without_a_share_nothing_is_checked_and_the_codes_are_the_same(weights: Path, tmp_path: Path) -> None:
    checks = ("si_sdr_db", "fp32_agreement")
    rows, checked = (codes_of(weights, tmp_path, STRETCHES, check_share=share) for share in (0.0, 1.0))
    assert all(row[name] is None for row in rows for name in checks)
    assert rows == [row | dict.fromkeys(checks) for row in checked]


def test_two_utterances_of_a_shard_are_compared_with_fp32_where_they_are_made_otherwise(
    weights: Path, tmp_path: Path
) -> None:
    exact = codes_of(weights, tmp_path, STRETCHES)
    fast = codes_of(weights, tmp_path, STRETCHES, precision="bf16")
    compared = [(row, truth) for row, truth in zip(fast, exact, strict=True) if row["fp32_agreement"] is not None]
    assert len(compared) == 2, "whatever the share of those that are decoded"
    for row, truth in compared:
        same = np.mean([np.mean(np.equal(row[name], truth[name])) for name in CODEBOOKS])
        assert row["fp32_agreement"] == pytest.approx(same, abs=1e-6)
    assert 0.1 < np.mean([row["fp32_agreement"] for row, _ in compared]) < 1


class Device:
    """A codec on a device that gives every eighth code otherwise than a CPU does, and the lengths that it was given."""

    def __init__(self, codec: Any, *, is_cpu: bool) -> None:
        self.codec, self.is_cpu = codec, is_cpu
        self.num_frames, self.decode = codec.num_frames, codec.decode
        self.lengths: list[int] = []

    def encode(self, waveforms: list[Any]) -> Any:
        self.lengths += map(len, waveforms)
        codes = self.codec.encode(waveforms).clone()
        if not self.is_cpu:
            codes[:, 7] = (codes[:, 7] + 1) % 1024
        return codes


def test_codes_of_another_device_are_held_to_a_few_seconds_of_a_cpu_s(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model.codec.encodec import load_codec

    devices = {name: Device(load_codec(weights), is_cpu=name == "cpu") for name in ("cpu", "cuda")}
    monkeypatch.setattr("tasks.codes._encoder", lambda _identity, _model, device, _precision: Encoder(devices[device]))
    monkeypatch.setattr("tasks.codes._COMPARED_FRAMES", 75)
    stretches = [("whole", 0, 32_000), ("whole", 0, 24_000), ("whole", 0, 20_000)]
    rows = codes_of(weights, tmp_path, stretches, device="cuda")
    assert sorted(row["fp32_agreement"] or 0.0 for row in rows) == [0.0, 7 / 8, 7 / 8]
    assert devices["cpu"].lengths == [24_000, 24_000], "a second of each, at 24 kHz"
    assert codes_of(weights, tmp_path, stretches, device="cuda", check_share=0.0)[0]["fp32_agreement"] is None
    codes_of(weights, tmp_path, stretches, device="cpu")
    assert len(devices["cpu"].lengths) == 2 + 3, "a CPU is not compared with itself"


def test_only_the_first_half_minute_is_decoded_again(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.codes._CHECKED", 75)
    longer, second = codes_of(weights, tmp_path, [("whole", 0, 32_000), ("whole", 0, 16_000)], check_share=1.0)
    assert longer["num_frames"] == 150
    assert longer["si_sdr_db"] == pytest.approx(second["si_sdr_db"], abs=0.1)  # resampled a little further


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precision": "fp8"}, r"codes\.precision is 'fp8'; it may be fp32 or bf16"),
        ({"check_share": 1.5}, r"codes\.check_share is 1\.5; it must be from 0 to 1"),
        ({"check_share": -0.1}, r"codes\.check_share is -0\.1"),
        ({"batch_seconds": 0.0}, r"codes\.batch_seconds is 0\.0; it must be above 0"),
        ({"batch_seconds": float("nan")}, r"codes\.batch_seconds is nan"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(Mistake, match=said):
        Codes(**settings)


def test_reading_ahead_holds_no_more_than_there_is_room_for() -> None:
    unused, most = [], []

    def work(size: float) -> float:
        unused.append(size)
        most.append(sum(unused))
        return size

    sizes = [1.0, 1.0, 2.0, 3.0, 9.0, 9.0]
    for done in _ahead(work, sizes, sizes, room=4.0):
        unused.remove(done)
        if done >= 3:
            assert not unused, "what is larger than the room is read when nothing waits"
    assert max(most) == 9.0


def test_an_utterance_that_nobody_expected_costs_itself_and_the_others_have_their_codes(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = codes_of(weights, tmp_path, STRETCHES)
    encode = Encoder.encode

    def stumble(self: Encoder, waveforms: list[Any]) -> Any:
        if {len(waveform) for waveform in waveforms} & stones:
            raise RuntimeError(said)
        return encode(self, waveforms)

    monkeypatch.setattr(Encoder, "encode", stumble)
    said, stones = "padding size should be less than the input dimension", {1_500}  # of 1,000 samples at 16 kHz
    rows = codes_of(weights, tmp_path, STRETCHES)
    assert (rows[1]["dropped"], rows[1]["detail"]) == ("error", f"RuntimeError: {said}")
    assert rows[1]["codebook_1"] is None
    assert [rows[i] for i in (0, 2, 3)] == [expected[i] for i in (0, 2, 3)]
    said = "CUDA error: an illegal memory access was encountered"
    with pytest.raises(RuntimeError, match="illegal memory access"):
        codes_of(weights, tmp_path, STRETCHES)
    said, stones = "no such operator", {1_500, 24_000, 30_000}
    with pytest.raises(RuntimeError, match="no such operator"):
        codes_of(weights, tmp_path, STRETCHES)
