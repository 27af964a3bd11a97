"""A small world to evaluate in: spoken recordings, their tables, and a codec and a model that have learnt nothing."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import soundfile
import torch
from safetensors.torch import save_file

from model.codec import encodec
from model.valle import checkpoint
from model.valle.settings import CODEBOOK_SIZE, Half, Settings, Size
from tasks.audio import audio_files
from tasks.text.espeak import SAMPLE_RATE, Voice, synthesize
from tasks.text.phonemization import phonemize
from tasks.text.symbols import SYMBOLS
from warehouse.tables import CHECKPOINTS, CODEBOOKS, CODES, EXAMPLES, PHONES, RECORDINGS, TRANSCRIPTS, UTTERANCES, Table

Row = dict[str, Any]

LONG = "The old man walked slowly along the river."  # about 3 s
SHORT = "He saw a bird there."  # about 1.5 s
PROMPT_SECONDS = 1.0
LIKELIER_TO_END = 2.3  # in log: once in a hundred frames rather than in a thousand
VOICES = {"anna": Voice("en-us+f3", pitch=70), "ben": Voice("en-us+m3", pitch=20)}


@dataclass(frozen=True)
class World:
    """What a stage is given."""

    root: Path
    tables: dict[str, list[Row]]
    codec: str

    def dataset(self, table: Table) -> ds.Dataset:
        return ds.dataset(pa.Table.from_pylist(self.tables[table.name], schema=table.schema))

    def where(self) -> dict[str, Any]:
        return {"audio": self.root / "audio", "root": self.root, "codec": self.codec}


def utterance_id(name: str, num_samples: int) -> str:
    return f"{name}#0-{num_samples}"


def save_codec(folder: Path, seed: int = 0) -> str:
    """An untrained codec of little width, as a file."""
    torch.manual_seed(seed)
    shape = encodec.Shape(n_filters=2, dimension=8, lstm=0, norm="none", num_codebooks=8)
    model = encodec.build(shape)
    for buffer in model.quantizer.buffers():
        if buffer.is_floating_point():
            buffer.normal_()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "codec.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    path.with_suffix(".json").write_text(json.dumps({"shape": asdict(shape)}))
    return str(path)


def save_half(folder: Path, half: Half, codec_identity: str, seed: int = 0) -> str:
    """Untrained weights of a half, of which an AR ends after a second or so; gives their hash."""
    torch.manual_seed(seed)
    size = Size(num_layers=1, num_heads=2, width=16, ffn_width=16, dropout=0.0)
    model = checkpoint.build(Settings(half, size, SYMBOLS, codec_identity))
    if half == "ar":  # else nearly every text would be said to its limit
        model.transformer.norm.norm.weight.data[0], model.transformer.norm.norm.bias.data[0] = 0.0, 1.0
        model.code_embedding.weight.data[CODEBOOK_SIZE] = 0.0
        model.code_embedding.weight.data[CODEBOOK_SIZE, 0] = LIKELIER_TO_END
    return checkpoint.save(folder, model)


def build(root: Path, spoken: Sequence[tuple[str, str]] = (("anna", LONG), ("anna", SHORT), ("ben", LONG))) -> World:
    """A world in which these speakers have said these texts, in the split `test`."""
    torch.set_num_threads(1)
    path = save_codec(root / "weights")
    encoder = encodec.load_codec(path)
    tables: dict[str, list[Row]] = {
        table.name: [] for table in (EXAMPLES, UTTERANCES, RECORDINGS, TRANSCRIPTS, PHONES, CODES, CHECKPOINTS)
    }
    (root / "audio").mkdir()
    for number, (speaker, text) in enumerate(spoken):
        waveform = synthesize(text, VOICES[speaker])
        name = f"{speaker}/{number}"
        (root / "audio" / speaker).mkdir(exist_ok=True)
        soundfile.write(root / "audio" / f"{name}.wav", waveform, SAMPLE_RATE)
        row = {"utterance_id": utterance_id(name, len(waveform))}
        said = phonemize(text)
        heard = audio_files.read(root / "audio" / f"{name}.wav", encodec.SAMPLE_RATE)
        frames = encoder.encode([torch.from_numpy(heard)])[0].numpy()
        stretch = {"recording_id": name, "speaker_id": speaker, "sample_rate": SAMPLE_RATE}
        stretch |= {"start_sample": 0, "end_sample": len(waveform), "seconds": len(waveform) / SAMPLE_RATE}
        tables["recordings"].append({"recording_id": name, "audio_path": f"{name}.wav", "sample_rate": SAMPLE_RATE})
        tables["utterances"].append(row | stretch | {"split": "test"})
        tables["examples"].append(row | {"split": "test"})
        tables["transcripts"].append(row | {"text": text})
        tables["phones"].append(row | {"phones": said.phones, "phone_ids": said.phone_ids})
        tables["codes"].append(row | {"num_frames": frames.shape[1]} | dict(zip(CODEBOOKS, frames, strict=True)))
    for half in ("ar", "nar"):
        tables["checkpoints"].append(kept_weights(root, half, step=10, codec_identity=encodec.identity(path)))
    return World(root, tables, path)


def kept_weights(root: Path, half: Half, step: int, codec_identity: str) -> Row:
    """Weights under the root, and the row of `checkpoints` that names them."""
    folder = f"checkpoints/abc/{half}-{step}"
    digest = save_half(root / folder, half, codec_identity, seed=step)
    name = f"{half}-{step}-{digest[:12]}"
    return {"checkpoint_id": name, "half": half, "step": step, "path": folder, "sha256": digest}


def save_whisper(folder: Path) -> str:
    """An untrained Whisper, as a file of its own format."""
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(0)
    model = Whisper(ModelDimensions(80, 1500, 16, 1, 1, 51_864, 24, 16, 1, 1))
    torch.nn.init.zeros_(model.decoder.positional_embedding)  # Whisper leaves it as the memory was
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "whisper.pt"
    torch.save({"dims": asdict(model.dims), "model_state_dict": model.state_dict()}, path)
    return str(path)
