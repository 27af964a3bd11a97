"""Samples: speech to judge, by the paper's protocol (Wang et al. 2023, arXiv:2301.02111, section 5.2) or by a list's.

Utterances of 4 to 10 s are said again in the voice of their speaker, known from 3 s of another utterance
(`valle`) or from their own first 3 s (`valle-continual`: the AR really runs, and only the prompt is a copy of the
truth). The true speech, as recorded and after the codec, is judged beside them. With `pairs`, what is said is a frozen
set, or a published list in the manner of Seed-TTS, which knows no continuation (`tasks.protocols`).

What the model fails to say is a result. A sample that never ends is kept as far as it came,
and one that is empty is a row that judges count; left out, they would flatter the model. Which other utterance is
the prompt, `tasks/voices/utterance_prompt.py` says; it is one for all seeds and for the true speech, so that all meet
equal terms. Prompts lie beside the samples, as recorded and as decoded: what a judge compares is what the model had.

An ablation (the paper's tables 4 and 5) is a system of its own, `valle-no-prompt` or `valle-no-phones`: it meets the
same pairs, and is compared with the prompt that it has not had.

A shard has some fifty pairs, so a kill costs no more than these, and workers share them out.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.audio import audio_files
from tasks.audio.resynthesis import decode, encode
from tasks.evaluation import checkpoint_pairs
from tasks.evaluation.systems import CONTINUAL, EMPTY, ENDLESS, RESYNTHESIS, TRUTH, VALLE
from tasks.protocols import casting, evaluation_set, published_list
from tasks.protocols.casting import Part, Waveform
from tasks.protocols.evaluation_set import EvaluationSet
from tasks.protocols.speech_files import SpeechFiles
from tasks.provenance import credentials
from tasks.provenance.certificate import load as load_certificate
from tasks.text.phonemization import ENGLISH
from tasks.text.symbols import BOUNDARY, SYMBOL_IDS, SYMBOLS
from tasks.voices import utterance_prompt
from tasks.voices.utterance_prompt import Row
from warehouse.errors import Mistake
from warehouse.faults import Faults
from warehouse.stage import Resources, in_range, same_as
from warehouse.tables import (
    CHECKPOINTS,
    CODES,
    EXAMPLES,
    FRAME_RATE,
    PHONES,
    RECORDINGS,
    SAMPLES,
    TRANSCRIPTS,
    UTTERANCES,
    Table,
)
from warehouse.working_copy import folder_here

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

    from model.valle.synthesis import Pair, Request

TRAINED, EVERY = "trained", "all"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Speech by every system, of every utterance that is chosen; the model's once for each seed."""

    makes = SAMPLES
    needs, version = Resources(gpus=1.0), 2

    checkpoint: str = TRAINED  # `trained` (here), `embedded`, or a folder with the pair `ar/` and `nar/`
    codec: str = same_as("codes.model", checkpoint_pairs.EMBEDDED)  # the EnCodec that made the codes
    language: str = same_as("phones.language", ENGLISH)  # of prompts' words, and of lists'
    pairs: Path | None = None  # a frozen set or a published list, taken whole; null draws a set by the next four
    split: str = "test"  # whose examples are said: train, dev, test, or all
    min_seconds: float = 4.0
    max_seconds: float = 10.0
    num_utterances: int | None = 1_000  # by the hashes of their ids, evenly over speakers; null takes all
    prompt_seconds: float = utterance_prompt.SECONDS  # at most; the paper tries 3, 5 and 10
    ablation: Literal["none", "no-prompt", "no-phones"] = "none"  # what the model lacks of a prompt: all, or its words
    shard_pairs: int = 50  # of a shard, which is what a kill costs
    seeds: tuple[int, ...] = (0, 1, 2)
    temperature: float = 1.0  # this and the rest as in `model.valle.sampling.Sampling`
    top_k: int = 0
    top_p: float = 0.8
    repetition_window: int = 10  # frames; a monotonic AR has none
    repetition_threshold: float = 0.1
    mark_strength: float = 0.0  # of the mark in the codes (`model.valle.mark`); 0 leaves it out
    audio: Path = field(default=Path("audio"), compare=False)  # the corpus
    root: Path = field(default=Path("."), compare=False)  # the warehouse
    device: str = field(default="cpu", compare=False)
    certificate: Path | None = field(default=None, compare=False)  # PEM, what speech is signed with; null: one's own
    certificate_key: Path | None = field(default=None, compare=False)
    batch_size: int = field(default=32, compare=False)  # samples that the model speaks at once

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("samples.seeds must name one seed at least")
        for name in ("min_seconds", "max_seconds", "temperature", "top_k", "repetition_window", "mark_strength"):
            in_range(f"samples.{name}", getattr(self, name), 0)
        in_range("samples.repetition_threshold", self.repetition_threshold, 0)
        in_range("samples.prompt_seconds", self.prompt_seconds, 0, above=True)
        in_range("samples.top_p", self.top_p, 0, 1, above=True)
        in_range("samples.batch_size", self.batch_size, 1)
        in_range("samples.shard_pairs", self.shard_pairs, 1)
        if self.pairs is not None:  # a worker may stand in another folder
            object.__setattr__(self, "pairs", Path(self.pairs).absolute())
        if self.num_utterances is not None:
            in_range("samples.num_utterances", self.num_utterances, 1)

    @property
    def takes(self) -> tuple[Table, ...]:
        """The tables it reads; `checkpoints` only where the model is the one trained here."""
        inputs = (EXAMPLES, UTTERANCES, RECORDINGS, TRANSCRIPTS, PHONES, CODES)
        return (*inputs, CHECKPOINTS) if self.checkpoint == TRAINED else inputs

    @property
    def gathers(self) -> tuple[str, ...]:
        """One shard, `all`, or `00-of-20` and so on, as many as the pairs ask for.

        Raises:
            Mistake: `pairs` is no file of pairs.
        """
        return evaluation_set.shard_names(self.num_pairs, self.shard_pairs)

    @property
    def num_pairs(self) -> int | None:
        """How many there are at most; null where it is not known before they are drawn."""
        if not self.pairs:
            return self.num_utterances
        frozen = evaluation_set.is_frozen(self.pairs)
        return len(evaluation_set.read(self.pairs).choices if frozen else published_list.read(self.pairs))

    def identity(self) -> dict[str, object]:
        """The weights of the model, in place of the folder that they lie in; the pairs, in place of their file.

        Raises:
            ValueError: the checkpoint's folder holds no pair.
            Mistake: no utterance can be as long as is asked for, or `pairs` is no file of pairs.
        """
        if self.max_seconds < self.min_seconds:
            raise Mistake(f"samples.max_seconds is {self.max_seconds:g}, under samples.min_seconds")
        return {
            "checkpoint": TRAINED
            if self.checkpoint == TRAINED
            else checkpoint_pairs.identify(checkpoint_pairs.folder(self.checkpoint)),
            "pairs": self._digest() if self.pairs else None,
        }

    def _digest(self) -> str:
        """Of the pairs in the file."""
        assert self.pairs
        frozen = evaluation_set.is_frozen(self.pairs)
        return evaluation_set.read(self.pairs).digest if frozen else published_list.digest(self.pairs)

    def __call__(
        self,
        examples: "Dataset",
        utterances: "Dataset",
        recordings: "Dataset",
        transcripts: "Dataset",
        phones: "Dataset",
        codes: "Dataset",
        checkpoints: "Dataset | None" = None,
        *,
        shard: str,
        folder: Path,
    ) -> pa.Table:
        """One row for each pair, system and seed, with its speech in `folder`: FLAC, 24 kHz, 16 bits, mono.

        `seconds_to_make` is wall clock; for the model's samples, an equal share of the time that all of them took.

        Raises:
            ValueError: no utterance is chosen, or the weights do not belong to these phones and codes.
            Mistake: a frozen set names an utterance that is not here.
        """
        from model.codec.encodec import load_codec

        load = partial(load_codec, self.codec, device=self.device)
        if self.pairs and not evaluation_set.is_frozen(self.pairs):
            entries = published_list.read(self.pairs)
            mine = entries[evaluation_set.part(len(entries), shard, self.shard_pairs)]
            said_by, digest, codec = evaluation_set.SEED_PROTOCOL, published_list.digest(self.pairs), load()
            parts = casting.of_list(mine, self.pairs.parent, codec, self.language)
        else:
            chosen = self._choose(examples, utterances)
            size = self.shard_pairs if self.pairs or self.num_utterances else None
            choices = chosen.choices[evaluation_set.part(len(chosen.choices), shard, size)]
            if not choices:
                return SAMPLES.schema.empty_table()
            ids = {name for choice in choices for name in choice if name}
            spoken = utterance_prompt.gather(ids, utterances, recordings, transcripts, phones, codes)
            if gone := sorted(ids - spoken.keys()):
                raise Mistake(f"samples.pairs: {len(gone)} utterances of the set are not here, the first {gone[0]}")
            said_by, digest, codec = evaluation_set.VALLE_PROTOCOL, chosen.digest, load()
            parts = casting.of_corpus(choices, spoken, self.audio, self.prompt_seconds, self.language)
        pair, checkpoint_id = self._load_pair(checkpoints)
        pair = pair.beside(codec.codebooks)
        made = SpeechFiles(codec, folder, Faults(), load_certificate(self.certificate, self.certificate_key))
        rows, asked = [], []
        for part in parts:
            shared = {"protocol": said_by, "evaluation_set": digest}
            rows += [shared | row for row in self._true(part, made)]
            named = bool(pair.ar.settings.languages)
            asked += [
                (shared | row | {"checkpoint_id": checkpoint_id}, request)
                for row, request in self._requests(part, made, named)
            ]
        rows += self._say(asked, pair, made)
        made.faults.check(len(rows))
        return pa.Table.from_pylist(rows, schema=SAMPLES.schema)

    def _choose(self, examples: "Dataset", utterances: "Dataset") -> EvaluationSet:
        """The frozen set, or one that is drawn from the examples."""
        if self.pairs:
            return evaluation_set.read(self.pairs)
        chosen = pc.field("dropped").is_null()
        if self.split != EVERY:
            chosen &= pc.field("split") == self.split
        ids = examples.to_table(columns=["utterance_id"], filter=chosen)["utterance_id"].to_pylist()
        if not ids:
            raise ValueError(f"samples.split: no example is kept in the split {self.split!r}; try {EVERY!r}")
        known = utterance_prompt.pick(utterances, ids, ["utterance_id", "speaker_id", "seconds"])
        bounds = self.min_seconds, self.max_seconds
        drawn = evaluation_set.draw(known, *bounds, self.num_utterances, self.prompt_seconds)
        if not drawn.choices:
            raise ValueError(
                f"samples.min_seconds, samples.max_seconds: none of the {len(known)} examples in the split "
                f"{self.split!r} lasts {self.min_seconds:g} to {self.max_seconds:g} s"
            )
        return drawn

    def _load_pair(self, checkpoints: "Dataset | None") -> tuple["Pair", str]:
        """The two halves, and the names of their weights."""
        from model.codec.encodec import identity
        from model.valle.checkpoint import digest_of_weights
        from model.valle.synthesis import load_pair

        if checkpoints is None:
            folder = checkpoint_pairs.folder(self.checkpoint)
            ar, nar, checkpoint_id = folder / "ar", folder / "nar", checkpoint_pairs.identify(folder)
        else:
            first, second = (_newest(checkpoints, half) for half in checkpoint_pairs.HALVES)
            ar, nar = (folder_here(self.root / half["path"], without="states") for half in (first, second))
            for half, weights in ((first, ar), (second, nar)):
                if digest_of_weights(weights) != half["sha256"]:
                    raise ValueError(f"{weights} holds other weights than {half['checkpoint_id']}, which rows name")
            checkpoint_id = f"{first['checkpoint_id']}+{second['checkpoint_id']}"
        pair = load_pair(ar, nar, self.device, SYMBOLS)
        mine = identity(self.codec)
        if not checkpoint_pairs.same_codec(pair.codec, mine):
            raise ValueError(f"samples.codec: the model speaks codes of {pair.codec}, and {self.codec} is {mine}")
        return pair, checkpoint_id

    def _true(self, part: Part, made: SpeechFiles) -> Iterator[Row]:
        """The true speech, as recorded and as the codec gives it back: what the judges are checked with."""
        if not (recorded := part.recorded):
            return
        sources: dict[str, Callable[[], Waveform]] = {
            TRUTH: recorded,
            RESYNTHESIS: lambda: decode(
                made.codec, encode(made.codec, recorded()) if part.codes is None else part.codes
            ),
        }
        for system, speech in sources.items():
            started = time.perf_counter()
            row = _row(system, part, self.seeds[0]) | made.prompt(part.prompt)
            try:
                row |= made.save(row, speech(), started)
            except audio_files.Unreadable as error:
                if part.codes is not None:
                    audio_files.must_be_there(self.audio)
                row |= {"dropped": "unreadable", "detail": str(error)}
            except Exception as error:
                row |= made.faults.refusal(error)
            yield row

    def _requests(self, part: Part, made: SpeechFiles, named: bool) -> Iterator[tuple[Row, "Request | None"]]:
        """What the model is asked for, with the rows that it will fill; null where it cannot be asked.

        `named`: whether the model is to be told the language.
        """
        from model.valle.synthesis import Request

        between = np.array([SYMBOL_IDS[BOUNDARY]], np.uint16)
        language = part.language if named else None
        whole = self.ablation == "none"
        system = VALLE if whole else f"{VALLE}-{self.ablation}"
        for seed in self.seeds:
            row = _row(system, part, seed) | made.prompt(part.prompt)
            if part.prompt is None:
                yield row | part.refusal, None
            else:
                heard = part.prompt.phone_ids if whole else part.phone_ids[:0]
                phones = np.concatenate([heard, between, part.phone_ids]) if whole else part.phone_ids
                codes = part.prompt.codes[:, :0] if self.ablation == "no-prompt" else part.prompt.codes
                yield row, Request(phones, codes, seed, language=language, prompt_phones=len(heard))
            if part.codes is None or not whole:
                continue  # a published list has no continuation, and an ablation is of prompts
            row = _row(CONTINUAL, part, seed) | {"prompt_id": part.utterance_id} | made.prompt(part.opening)
            if part.opening is None:
                yield row | {"dropped": "too_short", "detail": "nothing is left to say after the prompt"}, None
            else:
                yield row, Request(part.phone_ids, part.opening.codes, seed, language=language)

    def _say(self, said: list[tuple[Row, "Request | None"]], pair: "Pair", made: SpeechFiles) -> Iterator[Row]:
        """The rows with what the model says. One that never ends is kept as far as it came."""
        from model.valle.mark import mark
        from model.valle.sampling import Sampling
        from model.valle.synthesis import generate

        marked = mark(made.codec.codebooks[0], self.mark_strength) if self.mark_strength else None
        drawing = self.temperature, self.top_k, self.top_p, self.repetition_window, self.repetition_threshold
        sampling = Sampling(*drawing, mark=marked)
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
            detail = None if speech.finished else f"{ENDLESS}: stopped after {num_frames / FRAME_RATE:.1f} s"
            try:
                waveform = decode(made.codec, np.concatenate([*repeated, speech.codes], axis=1))
                names = {"checkpoint": row["checkpoint_id"], "codec": pair.codec, "prompt": row["prompt_id"]}
                words = {"voice": None, "text": row["text"], "seed": row["seed"]}  # the prompt tells the voice
                words |= {"mark": self.mark_strength or None}
                origin = credentials.origin_of(request.prompt_codes, **names, **words)
                row |= made.save(row, waveform, started, origin) | {"detail": detail}
            except Exception as error:
                row |= made.faults.refusal(error)
            yield row


def _row(system: str, part: Part, seed: int) -> Row:
    """A row that nothing has been made for yet."""
    return {
        "sample_id": f"{system}/{part.utterance_id}/{seed}",
        "system": system,
        "utterance_id": part.utterance_id,
        "speaker_id": part.speaker_id,
        "prompt_id": part.prompt_id,
        "text": part.text,
        "seed": seed,
    }


def _newest(checkpoints: "Dataset", half: str) -> Row:
    """The last weights of a half that were kept."""
    wanted = pc.field("dropped").is_null() & pc.field("sha256").is_valid() & (pc.field("half") == half)
    kept = checkpoints.to_table(columns=["checkpoint_id", "step", "path", "sha256"], filter=wanted).to_pylist()
    if not kept:
        raise ValueError(f"samples.checkpoint: checkpoints holds no weights of the half {half!r}")
    newest: Row = max(kept, key=lambda row: row["step"])
    return newest
