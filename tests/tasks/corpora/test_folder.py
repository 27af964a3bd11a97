"""A folder's manifests and texts: every line finds its file, or is a row that says why not."""

import json
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from tasks.corpora.folder import MANIFEST
from tasks.corpora.listing import CorpusError
from tests.small_corpus import audio, folder, rows


def manifest(at: Path, *lines: Any, encoding: str = "utf-8") -> None:
    at.mkdir(parents=True, exist_ok=True)
    words = "\r\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    (at / MANIFEST).write_bytes(words.encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_no_encoding_costs_a_line_or_adds_to_a_word(tmp_path, encoding):
    separator = " " if encoding == "cp1252" else "\u2028"
    for name in "abc":
        audio(tmp_path / f"{name}.wav")
    manifest(
        tmp_path,
        {"path": "a.wav", "text": f"Première{separator}line.", "speaker": "ann"},
        {"path": "b.wav", "text": "Second.", "speaker": 17},
        encoding=encoding,
    )
    (tmp_path / "c.txt").write_bytes("“Third”, 5 €.\r\n".encode(encoding))
    found = rows(folder(tmp_path))
    assert {name: (row["speaker_id"], row["text"], row["detail"]) for name, row in found.items()} == {
        "a": ("ann", f"Première{separator}line.", None),
        "b": ("17", "Second.", None),
        "c": (tmp_path.name, "“Third”, 5 €.", None),
    }


def test_what_is_no_text_is_told_and_not_guessed(tmp_path):
    for name in "ab":
        audio(tmp_path / f"{name}.wav")
    lines = [b'{"path": "a.wav", "text": "caf\x81"}', b'{"path": "a.wav", "text": "Said."}']
    (tmp_path / MANIFEST).write_bytes(b"\n".join(lines))
    (tmp_path / "b.txt").write_bytes(b"First.\ncaf\xe9 \x81")
    found = rows(folder(tmp_path))
    assert (found["a"]["text"], found["a"]["detail"]) == ("Said.", None)
    assert (found["b"]["text"], found["b"]["dropped"]) == (None, None)
    assert found["b"]["detail"] == "it has no text: line 2 of b.txt is neither UTF-8 nor Windows-1252"
    [astray] = [row for name, row in found.items() if name not in "ab"]
    assert astray["dropped"] == "no_audio"
    assert astray["detail"].startswith(f'line 1 of {MANIFEST} is neither UTF-8 nor Windows-1252: {{"path"')


@pytest.mark.parametrize(
    "path",
    ["s1/é.wav", "s1\\é.wav", "./s1/../s1/é.wav", ".\\s1\\é.wav", "{root}/s1/é.wav", "s1/" + normalize("NFD", "é.wav")],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("key", ["path", "audio_filepath"])
def test_a_file_is_found_however_a_manifest_writes_its_path(tmp_path, path, form, key):
    audio(tmp_path / "s1" / normalize(form, "é.wav"))
    manifest(tmp_path, {key: path.format(root=tmp_path), "text": "Said."})
    (row,) = rows(folder(tmp_path)).values()
    assert (row["text"], row["dropped"]) == ("Said.", None)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_text_beside_a_file_is_found_in_either_form_of_its_name(tmp_path, form):
    audio(tmp_path / normalize("NFC" if form == "NFD" else "NFD", "é.wav"))
    (tmp_path / normalize(form, "é.txt")).write_text("Said.")
    (row,) = rows(folder(tmp_path)).values()
    assert row["text"] == "Said."


def test_a_line_that_names_no_file_of_the_corpus_is_a_row_that_says_so(tmp_path):
    audio(tmp_path / "s1/a.wav")
    manifest(
        tmp_path,
        {"path": "s1/gone.wav", "text": "One."},
        {"path": "s2/gone.wav", "text": "Two."},
        {"path": "/elsewhere/s1/a.wav", "text": "Three."},
        {"path": "../a.wav", "text": "Four."},
        {"text": "Five."},
        {"path": "", "text": "Six."},
        {"path": "s1/..", "text": "Seven."},
        {"path": "C:\\corpus\\a.wav", "text": "Eight."},
        "no JSON",
    )
    manifest(tmp_path / "s3", {"path": "x.wav", "text": "Nine."}, {"path": "deep/er/x.wav", "text": "Ten."})
    found = rows(folder(tmp_path))
    assert {row["text"]: row["recording_id"] for row in found.values() if row["dropped"] == "no_audio"} == {
        "One.": "s1/gone",
        "Two.": "s2/gone",
        "Three.": "manifest.jsonl/3",
        "Four.": "manifest.jsonl/4",
        "Five.": "manifest.jsonl/5",
        "Six.": "manifest.jsonl/6",
        "Seven.": "manifest.jsonl/7",
        "Eight.": "C:/corpus/a",
        None: "manifest.jsonl/9",
        "Nine.": "s3/x",
        "Ten.": "s3/deep/er/x",
    }
    assert found["manifest.jsonl/9"]["detail"] == "line 9 of manifest.jsonl names no file below its folder: no JSON"
    assert found["s1/a"]["dropped"] is None


def test_a_line_goes_with_the_nearest_folder_and_is_one_row(tmp_path):
    audio(tmp_path / "s1/a.wav")
    audio(tmp_path / "s1/deep/b.wav")
    lines = [{"path": f"s1/{name}"} for name in ("gone.wav", "deep/gone.wav", "deep/er/gone.wav", "other/gone.wav")]
    manifest(tmp_path, *lines)
    stage = folder(tmp_path)
    gone = {
        shard: [row["audio_path"] for row in stage(shard).to_pylist() if row["dropped"]] for shard in stage.shards()
    }
    assert gone == {
        "s1": ["s1/gone.wav", "s1/other/gone.wav"],
        "s1-deep": ["s1/deep/er/gone.wav", "s1/deep/gone.wav"],
        "top": [],
    }


def test_two_lines_that_differ_are_told(tmp_path):
    for name in "ab":
        audio(tmp_path / f"{name}.wav")
    lines = [{"path": f"{name}.wav", "text": text} for name, text in (("a", "1"), ("a", "2"), ("b", "1"), ("b", "1"))]
    manifest(tmp_path, *lines)
    found = rows(folder(tmp_path))
    assert (found["a"]["text"], found["b"]["text"]) == ("2", "1")
    assert found["a"]["detail"] == "several lines of manifest.jsonl speak of it, and the last is taken"
    assert found["b"]["detail"] is None


def test_a_manifest_alone_is_no_corpus(tmp_path):
    manifest(tmp_path, {"path": "a.wav"})
    with pytest.raises(CorpusError, match="holds no audio"):
        folder(tmp_path).shards()
