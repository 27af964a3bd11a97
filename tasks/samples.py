"""Samples: speech to judge, by the paper's protocol (Wang et al. 2023, arXiv:2301.02111, section 5.2).

Utterances of 4 to 10 s are said again in the voice of their speaker, known from 3 s of another utterance
(`valle`) or from their own first 3 s (`valle-continual`: the AR really runs, and only the prompt is a copy of the
truth). The true speech, as recorded and after the codec, is judged beside them.

What the model fails to say is a result. A sample that never ends is kept as far as it came,
and one that is empty is a row that judges count; left out, they would flatter the model. Which other utterance is
the prompt, `tasks/voices/utterance_prompt.py` says; it is one for all seeds and for the true speech, so that all meet
equal terms.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow.dataset import Dataset

from tasks.audio import audio_files
from tasks.audio.resynthesis import decode
from tasks.evaluation import checkpoint_pairs
from tasks.provenance import credentials
from tasks.provenance.certificate import Certificate
from tasks.provenance.certificate import load as load_certificate
from tasks.text.symbols import BOUNDARY, SYMBOL_IDS, SYMBOLS
from tasks.voices import utterance_prompt
from tasks.voices.utterance_prompt import Row, Utterance
from warehouse.errors import Mistake
from warehouse.faults import Faults
from warehouse.stage import Resources, in_range, same_as
from warehouse.store import write_atomically
from warehouse.tables import (
    CHECKPOINTS,
    CODES,
    EXAMPLES,
    FRAME_RATE,
    PHONES,
    RECORDINGS,
    SAMPLE_RATE,
    SAMPLES,
    TRANSCRIPTS,
    UTTERANCES,
    Table,
)

if TYPE_CHECKING:
    from model.codec.encodec import Codec
    from model.valle.synthesis import Pair, Request

Waveform = NDArray[np.float32]  # [num_samples], mono, in -1..1

VALLE, CONTINUAL, TRUTH, RESYNTHESIS = "valle", "valle-continual", "ground-truth", "codec-resynthesis"
EMPTY = "empty"  # dropped, since there is nothing to hear; judges have to count it all the same
TRAINED, EVERY = "trained", "all"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Speech by every system, of every utterance that is chosen; the model's once for each seed."""

    makes = SAMPLES
    needs, version, gathers = Resources(gpus=1.0), 1, True

    checkpoint: str = TRAINED  # `trained` (here), `embedded`, or a folder with the pair `ar/` and `nar/`
    codec: str = same_as("codes.model", checkpoint_pairs.EMBEDDED)  # the EnCodec that made the codes
    split: str = "test"  # whose examples are said: train, dev, test, or all
    min_seconds: float = 4.0
    max_seconds: float = 10.0
    num_utterances: int | None = None  # the first so many by the hashes of their ids; null takes all
    prompt_seconds: float = utterance_prompt.SECONDS
    seeds: tuple[int, ...] = (0, 1, 2)
    temperature: float = 1.0  # this and the rest as in `model.valle.sampling.Sampling`
    top_k: int = 0
    top_p: float = 0.8
    repetition_window: int = 10  # frames; a monotonic AR has none
    repetition_threshold: float = 0.1
    audio: Path = field(default=Path("audio"), compare=False)  # the corpus
    root: Path = field(default=Path("."), compare=False)  # the warehouse
    device: str = field(default="cpu", compare=False)
    certificate: Path | None = field(default=None, compare=False)  # PEM, what speech is signed with; null: one's own
    certificate_key: Path | None = field(default=None, compare=False)
    batch_size: int = field(default=32, compare=False)  # samples that the model speaks at once

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("samples.seeds must name one seed at least")
        for name in ("min_seconds", "max_seconds", "temperature", "top_k", "repetition_window", "repetition_threshold"):
            in_range(f"samples.{name}", getattr(self, name), 0)
        in_range("samples.prompt_seconds", self.prompt_seconds, 0, above=True)
        in_range("samples.top_p", self.top_p, 0, 1, above=True)
        in_range("samples.batch_size", self.batch_size, 1)
        if self.num_utterances is not None:
            in_range("samples.num_utterances", self.num_utterances, 1)

    @property
    def takes(self) -> tuple[Table, ...]:
        """The tables it reads; `checkpoints` only where the model is the one trained here."""
        inputs = (EXAMPLES, UTTERANCES, RECORDINGS, TRANSCRIPTS, PHONES, CODES)
        return (*inputs, CHECKPOINTS) if self.checkpoint == TRAINED else inputs

    def identity(self) -> dict[str, object]:
        """The weights of the model, in place of the folder that they lie in.

        Raises:
            ValueError: the checkpoint's folder holds no pair.
            Mistake: no utterance can be as long as is asked for.
        """
        if self.max_seconds < self.min_seconds:
            raise Mistake(f"samples.max_seconds is {self.max_seconds:g}, under samples.min_seconds")
        return {
            "checkpoint": TRAINED
            if self.checkpoint == TRAINED
            else checkpoint_pairs.identify(checkpoint_pairs.folder(self.checkpoint))
        }

    def __call__(
        self,
        examples: Dataset,
        utterances: Dataset,
        recordings: Dataset,
        transcripts: Dataset,
        phones: Dataset,
        codes: Dataset,
        checkpoints: Dataset | None = None,
        *,
        shard: str,
        folder: Path,
    ) -> pa.Table:
        """One row for each utterance, system and seed, with its speech in `folder`: FLAC, 24 kHz, 16 bits, mono.

        `seconds_to_make` is wall clock; for the model's samples, an equal share of the time that all of them took.

        Raises:
            ValueError: no utterance is chosen, or the weights do not belong to these phones and codes.
        """
        from model.codec.encodec import load_codec

        prompt_of = self._choose(examples, utterances)
        ids = {*prompt_of, *filter(None, prompt_of.values())}
        spoken = utterance_prompt.gather(ids, utterances, recordings, transcripts, phones, codes)
        cast = [(spoken[target], spoken[prompt] if prompt else None) for target, prompt in prompt_of.items()]
        pair, checkpoint_id = self._load_pair(checkpoints)
        codec = load_codec(self.codec, device=self.device)
        signed_by = load_certificate(self.certificate, self.certificate_key)
        pair = pair.beside(codec.codebooks)

        faults = Faults()
        rows = [row for target, prompt in cast for row in self._true(target, prompt, codec, folder, faults)]
        named = bool(pair.ar.settings.languages)
        said = [job for target, prompt in cast for job in self._requests(target, prompt, checkpoint_id, named)]
        rows += self._say(said, pair, codec, folder, faults, signed_by)
        faults.check(len(rows))
        return pa.Table.from_pylist(rows, schema=SAMPLES.schema)

    def _choose(self, examples: Dataset, utterances: Dataset) -> dict[str, str | None]:
        """The utterances to say, by the hashes of their ids, and each one's prompt where it has one."""
        chosen = pc.field("dropped").is_null()
        if self.split != EVERY:
            chosen &= pc.field("split") == self.split
        ids = examples.to_table(columns=["utterance_id"], filter=chosen)["utterance_id"].to_pylist()
        if not ids:
            raise ValueError(f"samples.split: no example is kept in the split {self.split!r}; try {EVERY!r}")
        known = utterance_prompt.pick(utterances, ids, ["utterance_id", "speaker_id", "seconds"])
        targets = sorted(
            (row for row in known if self.min_seconds <= row["seconds"] <= self.max_seconds),
            key=lambda row: utterance_prompt.chance(row["utterance_id"]),
        )
        if not targets:
            raise ValueError(
                f"samples.min_seconds, samples.max_seconds: none of the {len(known)} examples in the split "
                f"{self.split!r} lasts {self.min_seconds:g} to {self.max_seconds:g} s"
            )
        lengths = defaultdict(list)
        for row in known:
            lengths[row["speaker_id"]].append((row["utterance_id"], row["seconds"]))
        return {
            row["utterance_id"]: utterance_prompt.choose(
                row["utterance_id"], lengths[row["speaker_id"]], self.prompt_seconds
            )
            for row in targets[: self.num_utterances]
        }

    def _load_pair(self, checkpoints: Dataset | None) -> tuple["Pair", str]:
        """The two halves, and the names of their weights."""
        from model.codec.encodec import identity
        from model.valle.synthesis import load_pair

        if checkpoints is None:
            folder = checkpoint_pairs.folder(self.checkpoint)
            ar, nar, checkpoint_id = folder / "ar", folder / "nar", checkpoint_pairs.identify(folder)
        else:
            first, second = (_newest(checkpoints, half) for half in checkpoint_pairs.HALVES)
            ar, nar = self.root / first["path"], self.root / second["path"]
            checkpoint_id = f"{first['checkpoint_id']}+{second['checkpoint_id']}"
        pair = load_pair(ar, nar, self.device, SYMBOLS)
        mine = identity(self.codec)
        if not checkpoint_pairs.same_codec(pair.codec, mine):
            raise ValueError(f"samples.codec: the model speaks codes of {pair.codec}, and {self.codec} is {mine}")
        return pair, checkpoint_id

    def _true(
        self, target: Utterance, prompt: Utterance | None, codec: "Codec", folder: Path, faults: Faults
    ) -> Iterator[Row]:
        """The true speech, as recorded and as the codec gives it back: what the judges are checked with."""
        path, start, end = self.audio / target.audio_path, target.start_sample, target.end_sample
        sources: dict[str, Callable[[], Waveform]] = {
            TRUTH: lambda: audio_files.read(path, SAMPLE_RATE, start, end),
            RESYNTHESIS: lambda: decode(codec, target.codes),
        }
        for system, speech in sources.items():
            started = time.perf_counter()
            row = _row(system, target, prompt, self.seeds[0])
            try:
                row |= _save(folder, row, speech(), started)
            except audio_files.Unreadable as error:
                audio_files.must_be_there(self.audio)
                row |= {"dropped": "unreadable", "detail": str(error)}
            except Exception as error:
                row |= faults.refusal(error)
            yield row

    def _requests(
        self, target: Utterance, prompt: Utterance | None, checkpoint_id: str, named: bool
    ) -> Iterator[tuple[Row, "Request | None"]]:
        """What the model is asked for, with the rows that it will fill; null where it cannot be asked.

        `named`: whether the model is to be told the language.
        """
        from model.valle.synthesis import Request

        num_frames = round(self.prompt_seconds * FRAME_RATE)
        between = np.array([SYMBOL_IDS[BOUNDARY]], np.uint16)
        language = target.language if named else None
        for seed in self.seeds:
            row = _row(VALLE, target, prompt, seed) | {"checkpoint_id": checkpoint_id}
            if prompt is None:
                least = self.prompt_seconds / 3
                why = f"no other utterance of the speaker in the split lasts {least:g} s or more"
                yield row | {"dropped": "no_prompt", "detail": why}, None
            else:
                heard, codes = prompt.beginning(num_frames)
                phones = np.concatenate([heard, between, target.phone_ids])
                yield row, Request(phones, codes, seed, language=language, prompt_phones=len(heard))
            row = _row(CONTINUAL, target, target, seed) | {"checkpoint_id": checkpoint_id}
            if target.codes.shape[1] <= num_frames:
                yield row | {"dropped": "too_short", "detail": "nothing is left to say after the prompt"}, None
            else:
                yield row, Request(target.phone_ids, target.codes[:, :num_frames], seed, language=language)

    def _say(
        self,
        said: list[tuple[Row, "Request | None"]],
        pair: "Pair",
        codec: "Codec",
        folder: Path,
        faults: Faults,
        signed_by: Certificate,
    ) -> Iterator[Row]:
        """The rows with what the model says. One that never ends is kept as far as it came."""
        from model.valle.sampling import Sampling
        from model.valle.synthesis import generate

        sampling = Sampling(self.temperature, self.top_k, self.top_p, self.repetition_window, self.repetition_threshold)
        yield from (row for row, request in said if request is None)
        asked = [(row, request) for row, request in said if request is not None]
        started = time.perf_counter()
        generated = generate(pair, [request for _, request in asked], sampling, num_rows=self.batch_size)
        share = (time.perf_counter() - started) / max(len(asked), 1)
        for (row, request), speech in zip(asked, generated, strict=True):
            started = time.perf_counter() - share
            num_frames = speech.codes.shape[1]
            if num_frames == 0:
                yield row | {"dropped": EMPTY, "detail": "the model ended before it said anything"}
                continue
            repeated = [request.prompt_codes] if row["system"] == CONTINUAL else []
            detail = None if speech.finished else f"endless: stopped after {num_frames / FRAME_RATE:.1f} s"
            try:
                waveform = decode(codec, np.concatenate([*repeated, speech.codes], axis=1))
                names = {"checkpoint": row["checkpoint_id"], "codec": pair.codec, "prompt": row["prompt_id"]}
                words = {"voice": None, "text": row["text"], "seed": row["seed"]}  # the prompt tells the voice
                origin = credentials.origin_of(request.prompt_codes, **names, **words)
                row |= _save(folder, row, waveform, started, origin, signed_by) | {"detail": detail}
            except Exception as error:
                row |= faults.refusal(error)
            yield row


def _row(system: str, target: Utterance, prompt: Utterance | None, seed: int) -> Row:
    """A row that nothing has been made for yet."""
    return {
        "sample_id": f"{system}/{target.utterance_id}/{seed}",
        "system": system,
        "utterance_id": target.utterance_id,
        "prompt_id": prompt.utterance_id if prompt else None,
        "text": target.text,
        "seed": seed,
    }


def _save(
    folder: Path,
    row: Row,
    waveform: Waveform,
    started: float,
    origin: credentials.Origin | None = None,
    signed_by: Certificate | None = None,
) -> Row:
    """Writes a sample's speech, whole or not at all, and signed where a model made it; the columns that tell of it."""
    import soundfile

    written = BytesIO()
    with soundfile.SoundFile(written, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
        if origin:
            credentials.tag(file)
        file.write(waveform.clip(-1.0, 1.0))
    content = written.getvalue()
    if origin and signed_by:
        content = credentials.sign(content, "FLAC", origin, signed_by)
    name = f"{row['sample_id']}.flac"
    write_atomically(folder / name, content)
    return {
        "audio_path": Path(*folder.parts[-3:], name).as_posix(),  # <table>/<fingerprint>/<shard>/...
        "seconds": len(waveform) / SAMPLE_RATE,
        "seconds_to_make": time.perf_counter() - started,
    }


def _newest(checkpoints: Dataset, half: str) -> Row:
    """The last weights of a half that were kept."""
    wanted = pc.field("dropped").is_null() & pc.field("sha256").is_valid() & (pc.field("half") == half)
    kept = checkpoints.to_table(columns=["checkpoint_id", "step", "path"], filter=wanted).to_pylist()
    if not kept:
        raise ValueError(f"samples.checkpoint: checkpoints holds no weights of the half {half!r}")
    newest: Row = max(kept, key=lambda row: row["step"])
    return newest
