"""Speech that says what it is, and that it was changed."""

import os
import shutil
import stat
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.provenance import certificate
from tasks.provenance.certificate import Certificate
from tasks.provenance.credentials import ALTERED, NO_MARK, SYNTHETIC, Origin, examine, origin_of, sign, tag
from warehouse.errors import Mistake

CODES = np.arange(80, dtype=np.uint16).reshape(8, 10)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "valle"


def origin(text: str = "Ĝojo, “joy” & more") -> Origin:
    names = {"checkpoint": "ar-1-aa+nar-1-bb", "codec": "embedded@1", "prompt": "a#0-9", "voice": "audio:0f"}
    return origin_of(CODES, text=text, seed=3, **names)


def speech(format_: str, *, tagged: bool = False, seed: int = 0) -> bytes:
    written = BytesIO()
    with soundfile.SoundFile(written, "w", 24_000, 1, format=format_) as file:
        if tagged:
            tag(file)
        file.write(0.1 * np.random.default_rng(seed).standard_normal(12_000))
    return written.getvalue()


@pytest.mark.parametrize("format_", ["WAV", "FLAC", "MP3"])
def test_what_is_signed_says_where_it_comes_from_and_plays_as_before(tmp_path: Path, format_: str) -> None:
    content, path = speech(format_), tmp_path / f"speech.{format_.lower()}"
    path.write_bytes(sign(content, format_, origin(), certificate.own()))
    found = examine(path)
    assert found.verdict == SYNTHETIC
    assert found.origin == replace(origin(), made_at=found.origin.made_at if found.origin else "")
    assert found.serial == certificate.own().serial
    assert np.array_equal(soundfile.read(path)[0], soundfile.read(BytesIO(content))[0])
    assert len(path.read_bytes()) - len(content) < 5_000


@pytest.mark.parametrize("format_", ["WAV", "FLAC"])
@pytest.mark.parametrize("where", [0.3, 0.6])
def test_a_bit_that_is_turned_shows(tmp_path: Path, format_: str, where: float) -> None:
    content = bytearray(sign(speech(format_), format_, origin(), certificate.own()))
    content[int(where * len(content))] ^= 1
    path = tmp_path / "speech"
    path.write_bytes(content)
    try:
        assert examine(path).verdict == ALTERED
    except Mistake:
        assert format_ == "FLAC"  # whose own checksum it broke


def test_what_says_nothing_has_no_mark_and_a_plain_tag_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(speech("WAV"))
    assert examine(path).verdict == NO_MARK
    path.write_bytes(speech("WAV", tagged=True))
    found = examine(path)
    assert (found.verdict, found.origin) == (SYNTHETIC, None)
    assert "a plain tag says so, which anybody could have written" in found.why
    path.write_bytes(sign(speech("FLAC", tagged=True), "FLAC", origin(), certificate.own()))
    assert "signed" in examine(path).why


def test_a_file_without_a_sample_is_left_as_it_is() -> None:
    empty = BytesIO()
    soundfile.SoundFile(empty, "w", 24_000, 1, "PCM_16", format="WAV").close()
    assert sign(empty.getvalue(), "WAV", origin(), certificate.own()) == empty.getvalue()


def test_credentials_that_say_nothing_of_a_model_are_no_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "speech.wav"
    captured = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    with monkeypatch.context() as patch:
        patch.setattr("tasks.provenance.credentials.SOURCE_TYPE", captured)
        path.write_bytes(sign(speech("WAV"), "WAV", origin(), certificate.own()))
    assert examine(path).verdict == NO_MARK


def test_what_is_no_audio_or_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="there is no file"):
        examine(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(Mistake, match="is no audio that can be read"):
        examine(tmp_path / "text.wav")


def test_ones_own_certificate_is_made_once_for_its_owner_alone(home: Path) -> None:
    first = certificate.own()
    assert certificate.own() == first
    assert stat.S_IMODE((home / "signing.pem").stat().st_mode) == 0o600
    (home / "signing.pem").write_text("rubbish")
    assert certificate.own() != first
    assert [path.name for path in home.iterdir()] == ["signing.pem"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_where_nothing_can_be_kept_it_is_made_for_this_once(home: Path) -> None:
    home.mkdir(parents=True)
    home.chmod(0o500)
    assert certificate.own().algorithm == b"es256"


def files(folder: Path, made: Certificate, name: str = "site") -> tuple[Path, Path]:
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(made.chain)
    key.write_bytes(made.key)
    return chain, key


def test_a_sites_certificate_signs_in_place_of_ones_own(tmp_path: Path) -> None:
    mine = certificate.own()
    shutil.rmtree(tmp_path / "data")
    chain, key = files(tmp_path, mine)
    assert certificate.load(chain, key) == mine != certificate.own()


def test_a_certificate_that_cannot_be_used_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, key = files(tmp_path, certificate.own())
    with pytest.raises(Mistake, match="names a certificate without its key"):
        certificate.load(chain, None)
    with pytest.raises(Mistake, match=r"cannot be used: .*No such file"):
        certificate.load(chain, tmp_path / "none")
    with pytest.raises(Mistake, match="cannot be used"):
        certificate.load(key, key)
    shutil.rmtree(tmp_path / "data")
    _, another = files(tmp_path, certificate.own(), "another")
    with pytest.raises(Mistake, match="is not that of the certificate"):
        certificate.load(chain, another)
    monkeypatch.setattr("tasks.provenance.certificate._LASTS", -certificate._LASTS / 10_000)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(Mistake, match="ended on"):
        certificate.load(*files(tmp_path, certificate.own(), "over"))
