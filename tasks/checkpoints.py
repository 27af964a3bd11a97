"""Checkpoints: the two halves of VALL-E, trained on the examples (Wang et al. 2023, arXiv:2301.02111, section 5.1).

A shard is a half, and its fingerprint knows the settings of that half alone, so the NAR may be trained again and the
AR stay. The stage itself only launches: what trains is `tasks.training.worker.train_half`, which any launcher may run
in many processes at once, and which reads its own data.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from tasks.text import symbols
from tasks.training.worker import (
    HELD_OUT,
    VALIDATIONS,
    Config,
    Job,
    ShardFiles,
    Valid,
    shared_out,
    survey,
    train_half,
)
from warehouse.stage import Resources, same_as
from warehouse.tables import CHECKPOINTS, CODES, EXAMPLES, PHONES
from warehouse.working_copy import folder_here, objects_of

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

    from model.training.trainer import Training
    from model.valle.settings import Half

# What, told what, in how many workers at most, and the folder where its states appear.
Launch = Callable[[Callable[[Config], None], Config, int, Path], None]
EMBEDDED = "embedded"
MIXED = 4_096  # examples of one batch's stream that are shuffled together: 75 MB of codes at 15 s each
FRAMES_AT_ONCE = 6_000  # of a batch, what the paper gives each of its 16 GPUs

_DETAILS: Mapping[Valid, str | None] = {
    "dev": None,
    "held-out": f"no dev examples: validated on one utterance in {HELD_OUT} of train, held out by hash",
    "train": "no dev examples and too few to hold any out: validated on train itself",
}


def here(function: Callable[[Config], None], config: Config, _most: int, _states: Path) -> None:
    """Launches a training in this process alone."""
    function(config)


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Weights of a half, and what was known at each validation on the way to them."""

    makes, takes = CHECKPOINTS, (EXAMPLES, PHONES, CODES)
    needs, version, gathers = Resources(cpus=0.0), 3, ("ar", "nar")
    fetches = True

    size: str = "small"  # one of `model.valle.settings.SIZES`
    codec: str = same_as("codes.model", "embedded")  # the EnCodec that made the codes
    start_from: str | None = field(default=None, compare=False)  # a folder with ar/ and nar/, or `embedded`: fine-tunes
    seed: int = 0
    num_validations: int = 20  # evenly over the steps, beside the one before the first
    valid_utterances: int = 512  # at most
    precision: Literal["fp32", "bf16"] = "fp32"  # of matrix products; weights and optimizer are always fp32
    accumulate: int = 0  # batches that a step is made of, shared out over the workers; 0: one for 6,000 frames
    ema: float = 0.0  # decay of the weights' moving average, which then is what validates and speaks; 0 for none
    curriculum: float = 0.0  # the share of the steps over which ever longer utterances are let in; 0: all at once
    paired: float = 0.0  # the share of utterances that are said in a row with another of their speaker
    phone_frames: float = 0.0  # that a phone lasts, as in `model.valle.settings.Settings`; about 4.6 in English
    languages: tuple[str, ...] = ()  # ISO 639-1, each with an embedding (VALL-E X, arXiv:2303.03926); () for one alone
    codebooks: bool = False  # codes are embedded as the codec's own entries to begin with, not at random
    tied: bool = True  # output projections are the codes' embeddings (the paper's); false: heads of their own
    ar_steps: int = 800_000
    ar_warmup_steps: int = 32_000
    ar_learning_rate: float = 5e-4  # at its peak
    ar_batch_frames: int = 96_000  # of a step, over all workers
    ar_group: Literal[1, 2, 4] = 1  # codes that it says in one step (VALL-E 2, arXiv:2406.05370)
    ar_chained: bool = False  # each code of a group sees the one before it (RQ-Transformer, arXiv:2203.01941)
    ar_monotonic: bool = (
        False  # it goes through its phones one by one, and leaves none out (VALL-E R, arXiv:2406.07855)
    )
    ar_own_codes: float = 0.0  # the share of codes that it hears as it would say them (arXiv:1906.07651)
    nar_steps: int = 800_000
    nar_warmup_steps: int = 32_000
    nar_learning_rate: float = 5e-4
    nar_batch_frames: int = 96_000
    nar_choice: Literal["likeliest", "expected"] = "likeliest"  # in speaking, as in `model.valle.settings.Settings`
    nar_layers: int = 0  # of its transformer; 0 for as many as the size has
    nar_stem: int = 0  # layers of convolution that its frames go through first (SoundStorm, arXiv:2305.09636)
    nar_monotonic: bool = False  # it is told which phone each frame says, by the first codebook and the phones
    nar_stages: Literal["evenly", "early"] = "evenly"  # of training: each codebook as often, or the second most often
    nar_prompt: Literal["random", "prefix", "none"] = "random"  # the 3 s of an utterance that it hears whole
    device: str = field(default="cpu", compare=False)
    save_every: int = field(default=1_000, compare=False)  # steps that a kill may cost
    keep_last: int = field(default=2, compare=False)  # states to go on from
    sharding: Literal["ddp", "fsdp"] = field(default="ddp", compare=False)  # fsdp: a model larger than a device
    checkpoint_activations: bool = field(default=False, compare=False)  # less memory for a third more arithmetic
    compile: bool = field(default=False, compare=False)  # by torch.compile
    tensorboard: bool = field(default=True, compare=False)
    launch: Launch = field(default=here, compare=False, repr=False)

    def __post_init__(self) -> None:
        from model.valle.settings import SIZES

        if self.start_from not in (None, EMBEDDED):  # a worker may stand in another folder
            object.__setattr__(self, "start_from", str(Path(str(self.start_from)).absolute()))
        if self.size not in SIZES:
            raise ValueError(f"checkpoints.size is {self.size!r}, and must be one of {', '.join(SIZES)}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"checkpoints.ema is {self.ema:g}, and must be 0, or a decay below 1 such as 0.999")
        for name in ("curriculum", "paired", "ar_own_codes"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"checkpoints.{name} is {value:g}, and must be a share from 0 to 1")
        for name in ("accumulate", "nar_layers"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"checkpoints.{name} is {value}, and must be 0 or more")
        counts = ("num_validations", "save_every", "keep_last")
        for name in (*counts, *(f"{half}_{count}" for half in self.gathers for count in ("steps", "batch_frames"))):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"checkpoints.{name} is {value}, and must be 1 or more")

    def identity(self) -> dict[str, object]:
        """The symbol table, which the weights mean nothing without, and the weights that each half starts from.

        Raises:
            ValueError: `start_from` holds no checkpoint.
        """
        starts = {f"{half}_start": _digest(self._start(half)) for half in self.gathers} if self.start_from else {}
        return {"symbols": symbols.digest(), **starts}

    def __call__(
        self, examples: "Dataset", phones: "Dataset", codes: "Dataset", *, shard: "Half", folder: Path
    ) -> pa.Table:
        """One row for each validation of the half `shard`.

        The last row names the last weights, which lie in `folder`; the row that `is_best` names the best.

        Raises:
            NoExamples: no example of split `train`.
            CheckpointError: the weights to start from are for other phones, or of another codec or size.
        """
        from model.training.progress import Progress, best, best_folder

        job = self._job(list(_shards(examples, phones, codes)), shard, folder)
        self.launch(train_half, {"job": job}, job.training.accumulate, folder / "states")
        folder_here(folder, without="states")  # from the worker that wrote it
        progress = [Progress(**record) for record in json.loads((folder / VALIDATIONS).read_text())]
        last, chosen = progress[-1].step, best(progress).step
        kept = {best_folder(folder, chosen): chosen, folder: last} if chosen != last else {folder: last}
        digests = {step: _digest(path) for path, step in kept.items()}
        paths = {step: path.relative_to(folder.parents[2]).as_posix() for path, step in kept.items()}
        rows = [
            {
                "checkpoint_id": f"{shard}-{record.step}-{digests.get(record.step, digests[last])[:12]}",
                "half": shard,
                "is_best": record.step == chosen,
                "path": paths.get(record.step),
                "sha256": digests.get(record.step),
                "detail": _DETAILS[job.valid],
                **asdict(record),
            }
            for record in progress
        ]
        return pa.Table.from_pylist(rows, schema=CHECKPOINTS.schema)

    def how_far(self, folder: Path) -> str | None:
        """How the training of the half whose folder this is stands, in words."""
        from model.training.training_log import how_far

        return how_far(folder)

    def schedule(self, half: "Half", workers: int) -> str:
        """How a half is trained, in steps and in frames, and how many of so many workers share a step out."""
        how = self._training(half)
        used = shared_out(how.accumulate, workers)
        words = (
            f"{how.steps:,} steps of {how.batch_frames:,} frames; the rate rises for {how.warmup_steps:,} steps ("
            f"{how.warmup_steps * how.batch_frames:,} frames) and falls to 0 at {how.steps * how.batch_frames:,} frames"
        )
        if used == workers:
            return words
        uneven = f"{workers} cannot share out the {how.accumulate} batches of a step evenly"
        return f"{words}; {used} of {workers} workers train, for {uneven}"

    def _start(self, half: str) -> Path:
        """The checkpoint that a half starts from."""
        import model

        assert self.start_from is not None
        embedded = Path(next(iter(model.__path__))) / "embedded" / "valle"
        return (embedded if self.start_from == EMBEDDED else Path(self.start_from)) / half

    def _job(self, shards: list[ShardFiles], half: "Half", folder: Path) -> Job:
        from model.codec.encodec import identity
        from model.training.batches import NoExamples
        from model.training.trainer import Where
        from model.valle.settings import SIZES, Settings

        size = SIZES[self.size]
        surveys = [survey(files, self.valid_utterances) for files in shards]
        num_train = sum(found.num_train for found in surveys)
        if not num_train:
            raise NoExamples("no example is of split train: `valle stats` shows what was dropped, and why")
        num_dev, num_held_out = (sum(found.num_valid[valid] for found in surveys) for valid in ("dev", "held-out"))
        valid: Valid = "dev" if num_dev else "held-out" if 0 < num_held_out < num_train else "train"
        lots = sorted(lot for found in surveys for lot in found.lots[valid])[: self.valid_utterances]
        last_lot = lots[-1] if lots else -1
        train_shards = tuple(files for files, found in zip(shards, surveys, strict=True) if found.num_train)
        return Job(
            settings=Settings(
                half=half,
                size=replace(size, num_layers=self.nar_layers) if half == "nar" and self.nar_layers else size,
                symbols=symbols.SYMBOLS,
                codec=identity(self.codec),
                tied=self.tied,
                prompt=self.nar_prompt if half == "nar" else "random",
                choice=self.nar_choice if half == "nar" else "likeliest",
                group=self.ar_group if half == "ar" else 1,
                monotonic=self.ar_monotonic if half == "ar" else self.nar_monotonic,
                stages=self.nar_stages if half == "nar" else "evenly",
                stem=self.nar_stem if half == "nar" else 0,
                chained=half == "ar" and self.ar_chained,
                phone_frames=self.phone_frames,
                languages=self.languages,
            ),
            training=replace(self._training(half), window_chunks=_window(num_train, len(train_shards))),
            shards=train_shards,
            valid_shards=tuple(
                files
                for files, found in zip(shards, surveys, strict=True)
                if found.lots[valid] and found.lots[valid][0] <= last_lot
            ),
            valid=valid,
            last_lot=last_lot,
            folder=folder,
            start=self._start(half) if self.start_from else None,
            codec=self.codec if self.codebooks else None,
            url=objects.url if (objects := objects_of(folder.parents[2])) else None,
            where=Where(
                device=self.device,
                save_every=self.save_every,
                keep_last=self.keep_last,
                sharding=self.sharding,
                checkpoint_activations=self.checkpoint_activations,
                compile=self.compile,
                tensorboard=self.tensorboard,
            ),
        )

    def _training(self, half: "Half") -> "Training":
        from model.training.batches import Curriculum
        from model.training.trainer import Training

        steps: int = getattr(self, f"{half}_steps")
        frames: int = getattr(self, f"{half}_batch_frames")
        return Training(
            steps=steps,
            seed=self.seed,
            learning_rate=getattr(self, f"{half}_learning_rate"),
            warmup_steps=getattr(self, f"{half}_warmup_steps"),
            batch_frames=frames,
            accumulate=self.accumulate or max(1, round(frames / FRAMES_AT_ONCE)),
            precision=self.precision,
            ema=self.ema,
            own_codes=self.ar_own_codes if half == "ar" else 0.0,
            validate_every=max(1, -(-steps // self.num_validations)),
            curriculum=Curriculum(self.curriculum, self.paired, symbols.SYMBOL_IDS[symbols.BOUNDARY]),
        )


def _window(num_examples: int, num_shards: int) -> int:
    """How many shards of their mean size hold as many examples as one batch's stream mixes."""
    return max(1, round(MIXED * num_shards / num_examples))


def _shards(examples: "Dataset", phones: "Dataset", codes: "Dataset") -> Iterator[ShardFiles]:
    """The files of each shard of the examples, by name."""
    named_phones, named_codes = ({Path(path).stem: path for path in dataset.files} for dataset in (phones, codes))
    for path in sorted(examples.files, key=lambda path: Path(path).name):  # wherever each lies
        yield ShardFiles(path, named_phones[Path(path).stem], named_codes[Path(path).stem])


def _digest(checkpoint: Path) -> str:
    """The sha256 of the weights of a checkpoint, as it says itself; loading it checks that.

    Raises:
        ValueError: there is no checkpoint.
    """
    try:
        return str(json.loads((checkpoint / "settings.json").read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"checkpoints.start_from: {checkpoint} holds no checkpoint of a half: {error!r}") from None
