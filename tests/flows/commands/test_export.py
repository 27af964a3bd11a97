"""The manifests for lhotse: they load, they validate, and their codes are those of the table."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from flows.commands.export import MANIFESTS, export_lhotse
from tests.small_warehouse import GOOD, RATE, codes_of, make_warehouse
from warehouse.errors import Mistake

lhotse = pytest.importorskip("lhotse")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the small warehouse."""
    here = tmp_path_factory.mktemp("export")
    make_warehouse(here / "root", here / "audio", first_code=3)
    assert export_lhotse(here / "root", here / "lhotse").endswith("1 recordings, 1 supervisions, 1 cuts")
    return here / "lhotse"


def test_lhotse_loads_and_validates_what_is_written(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    recordings = lhotse.RecordingSet.from_file(folder / "recordings.jsonl.gz")
    supervisions = lhotse.SupervisionSet.from_file(folder / "supervisions.jsonl.gz")
    lhotse.validate_recordings_and_supervisions(recordings, supervisions, read_data=True)
    lhotse.validate(lhotse.CutSet.from_file(folder / "cuts.jsonl.gz").to_eager())
    assert not caplog.records, "lhotse has no doubts either"


def test_the_codes_of_a_cut_are_those_of_the_table(folder: Path) -> None:
    [cut] = lhotse.CutSet.from_file(folder / "cuts.jsonl.gz")
    assert cut.codes.frame_shift == 1 / 75
    for codes in (cut.load_codes(), cut.codes.load()):
        assert codes.dtype == np.uint16
        np.testing.assert_array_equal(codes.T, codes_of(3, 76))
    second = cut.truncate(offset=0.2, duration=0.4)
    np.testing.assert_array_equal(second.load_codes().T, codes_of(3, 76)[:, 15:45])


def test_words_speaker_and_split_travel_along(folder: Path) -> None:
    [supervision] = lhotse.SupervisionSet.from_file(folder / "supervisions.jsonl.gz")
    assert (supervision.id, supervision.text, supervision.speaker) == (GOOD, "Good morning.", "a")
    assert supervision.language == "en"
    assert supervision.custom == {"split": "train", "phones": ["ɡ", "ʊ", "d"]}
    assert supervision.duration == 16_050 / RATE
    [cut] = lhotse.CutSet.from_file(folder / "cuts.jsonl.gz")
    assert (cut.id, cut.custom["split"], cut.supervisions[0].duration) == (GOOD, "train", 16_050 / RATE)
    assert cut.load_audio().shape == (1, round(76 / 75 * RATE))


def test_only_whole_manifests_have_their_names(tmp_path: Path) -> None:
    make_warehouse(tmp_path / "root", tmp_path / "audio")
    (tmp_path / "audio" / "a" / "one.wav").unlink()
    with pytest.raises(Mistake, match=r"there is no audio .*a/one.wav; say with --audio"):
        export_lhotse(tmp_path / "root", tmp_path / "lhotse")
    assert not [name for name in MANIFESTS if (tmp_path / "lhotse" / f"{name}.jsonl.gz").exists()]


def test_a_warehouse_may_have_moved_with_its_audio(tmp_path: Path) -> None:
    make_warehouse(tmp_path / "root", tmp_path / "audio")
    (tmp_path / "root").rename(tmp_path / "other")
    (tmp_path / "audio").rename(tmp_path / "speech")
    export_lhotse(tmp_path / "other", tmp_path / "lhotse", str(tmp_path / "speech"))
    [recording] = lhotse.RecordingSet.from_file(tmp_path / "lhotse" / "recordings.jsonl.gz")
    assert recording.load_audio().shape == (1, 40_000)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("times", [1, 2])
def test_a_cut_loads_what_was_coded(tmp_path: Path, channels: int, times: int) -> None:
    make_warehouse(tmp_path / "root", tmp_path / "audio")
    path = tmp_path / "audio" / "a" / "one.wav"
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, (40_000 // times, channels)).astype(np.float32)
    sound[:, 0] = 0 if channels > 1 else sound[:, 0]
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    path.write_bytes(path.read_bytes() * times)
    export_lhotse(tmp_path / "root", tmp_path / "lhotse")
    [cut] = lhotse.CutSet.from_file(tmp_path / "lhotse" / "cuts.jsonl.gz")
    coded = np.tile(sound.mean(axis=1), times)
    np.testing.assert_allclose(cut.recording.load_audio(), coded[None], atol=1e-7)
    np.testing.assert_allclose(cut.load_audio(), coded[None, : round(76 / 75 * RATE)], atol=1e-7)
    assert (Path(cut.recording.sources[0].source) == path) == (channels == times == 1)


def test_audio_that_is_shorter_than_it_was_is_told_of(tmp_path: Path) -> None:
    make_warehouse(tmp_path / "root", tmp_path / "audio")
    soundfile.write(tmp_path / "audio" / "a" / "one.wav", np.zeros(30_000), RATE)
    with pytest.raises(Mistake, match=r"one.wav is no longer what was coded: .* ends at sample 30,000"):
        export_lhotse(tmp_path / "root", tmp_path / "lhotse")
