"""`valle say`: a text in somebody's voice, known from three seconds of it.

Neither Prefect nor Ray is needed: one process reads the prompt, loads a pair and writes speech as it comes, segment by
segment, so a text of two hours takes no more memory than a sentence. The order matters: all that can be
wrong with the words, the files and the right to use a voice is said before any model is loaded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands import prompt_consent, warehouse_lookup
from flows.commands.renditions import STANDARD, Pipe, Rendition, place, wav
from flows.engine.site import Site, device_here
from flows.machine.folders import settle_home
from flows.terminal.output import say as tell
from tasks.evaluation import checkpoint_pairs
from tasks.provenance.certificate import Certificate
from tasks.provenance.certificate import load as load_certificate
from tasks.provenance.code_mark import STRENGTH
from tasks.provenance.credentials import origin_of
from tasks.text.splitting import Segment, segments
from tasks.voices import audio_prompt
from tasks.voices.audio_prompt import Prompt
from tasks.voices.narration import AT_ONCE, Judge, Narrator
from warehouse.errors import Mistake

if TYPE_CHECKING:
    from model.codec.encodec import Codec
    from model.valle.precision import Precision
    from model.valle.synthesis import Pair


_EXPECT = (
    "valle: the embedded pair has heard synthetic voices alone: of a real person's, expect the pitch and some of the "
    "colour, and words that are now and then wrong"
)


@dataclass(frozen=True, kw_only=True)
class SayOptions:
    """The words of `valle say`."""

    text: str
    prompt: str  # a file, or an utterance's id
    prompt_text: str | None = None  # what is said in a short file
    checkpoint: str | None = None  # a folder with `ar/` and `nar/`, or `embedded`; the root's newest pair unless said
    codec: str | None = None  # whichever at hand has the digest that the pair names, unless said
    whisper: str | None = None  # who hears the prompt; the last recipe's unless said
    language: str | None = None  # as espeak-ng names it; the last recipe's unless said
    seed: int = 0
    num: int = 1  # renditions, with this seed and those after it
    best_of: int = 1  # tries of each segment
    precision: "Precision" = "float32"  # of the weights, see `model.valle.precision`
    consent: bool = False
    stream: bool = False  # to standard output while it is made
    mark: bool = False  # in the codes, where `detect` finds it
    output: str | None = None

    def __post_init__(self) -> None:
        if self.stream and (self.num > 1 or self.best_of > 1 or self.output not in (None, STANDARD)):
            raise Mistake("--stream goes to standard output as it is made: leave out --num, --best-of and --output")


def say(options: SayOptions, site: Site) -> list[dict[str, Any]]:
    """Say it; a row for each file.

    Raises:
        Mistake: a word, a file, a voice or a checkpoint cannot be used.
        WorkFailed: a file cannot be written.
    """
    settle_home(site.root / "logs" / "home")
    with _mistakes():
        usual = warehouse_lookup.defaults(site.root)
        language, whisper = options.language or usual.language, options.whisper or usual.whisper
        parts = segments(options.text, language)
        paths = place(STANDARD if options.stream else options.output, options.num, options.prompt)
        chosen = prompt_consent.find(options.prompt, options.prompt_text, site.root, options.consent)
        device = _usable(device_here(site))
        certificate = load_certificate(site.certificate, site.certificate_key)
        pair, checkpoint_id = _pair(options, site.root, device)
        codec = _codec(options, usual, pair, device)
        if checkpoint_pairs.is_embedded(checkpoint_id) and not audio_prompt.is_machine(chosen.voice):
            tell(_EXPECT)
        prompt = chosen.prompt(prompt_consent.Listener(codec, pair.codec, whisper, device, language))
        for warning in prompt.warnings:
            tell(f"valle: {warning}")
        judge = Judge(options.best_of, whisper, device, codec, prompt) if options.best_of > 1 else None
        made_of: dict[str, Any] = {
            "checkpoint": checkpoint_id,
            "codec": pair.codec,
            "prompt": prompt.name,
            "voice": chosen.voice,
            "mark": STRENGTH if options.mark else None,
        }
        renditions = [
            Rendition(path, origin_of(prompt.codes, text=options.text, seed=options.seed + number, **made_of))
            for number, path in enumerate(paths)
        ]
        speaking = _lightened(pair, options.precision).beside(codec.codebooks)
        speaker = Narrator(speaking, codec, prompt, language, STRENGTH if options.mark else 0.0)
        if options.stream:
            _stream(speaker, parts, renditions[0])
        else:
            _write(speaker, parts, renditions, judge, certificate)
    return [_row(rendition, chosen.voice, prompt, checkpoint_id) for rendition in renditions]


def _usable(device: str) -> str:
    """A device, where this machine has it."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch that was built without it
        raise Mistake(f"site key device is {device!r}, which torch cannot use here") from error
    return device


def _pair(options: SayOptions, root: Path, device: str) -> tuple["Pair", str]:
    """The pair that is asked for, and the names of its weights."""
    from model.valle.synthesis import load_pair

    newest = None if options.checkpoint else warehouse_lookup.newest_pair(root)
    if newest:
        ar, nar, name = newest
        return load_pair(ar, nar, device), name
    folder = checkpoint_pairs.folder(options.checkpoint or checkpoint_pairs.EMBEDDED)
    if not options.checkpoint and not folder.is_dir():
        raise Mistake(
            f"there is no checkpoint: {root} holds no whole pair; `valle run` trains one, and --checkpoint names one"
        )
    return load_pair(folder / "ar", folder / "nar", device), checkpoint_pairs.identify(folder)


def _lightened(pair: "Pair", precision: "Precision") -> "Pair":
    try:
        return pair.lighten(precision)
    except ValueError as error:
        raise Mistake(f"--precision {precision}: {error}") from error


def _codec(options: SayOptions, usual: warehouse_lookup.Defaults, pair: "Pair", device: str) -> "Codec":
    """The codec whose codes the pair speaks."""
    from model.codec.encodec import PUBLISHED, identity, load_codec

    at_hand = [options.codec] if options.codec else [usual.codec, checkpoint_pairs.EMBEDDED, PUBLISHED]
    if name := checkpoint_pairs.codec_of(pair.codec, at_hand):
        return load_codec(name, device=device)
    speaks = f"the checkpoint speaks codes of {pair.codec}"
    if options.codec:
        raise Mistake(f"{speaks}, and --codec {options.codec} is {identity(options.codec)}")
    raise Mistake(f"{speaks}, which is not at hand: name its file with --codec")


def _write(
    speaker: Narrator,
    parts: list[Segment],
    renditions: list[Rendition],
    judge: Judge | None,
    certificate: Certificate,
) -> None:
    """Say every segment of every rendition into its file, and tell how far it is where that takes long."""
    said = speaker.say(parts, [rendition.seed for rendition in renditions], judge)
    done, total = 0, len(parts) * len(renditions)
    for rendition in renditions:
        with wav(rendition.path, rendition.origin, certificate) as file:
            for _ in parts:
                segment = next(said)
                file.write(segment.waveform.clip(-1.0, 1.0))
                rendition.add(segment, len(parts))
                done += 1
                if total > AT_ONCE and done % AT_ONCE == 0:
                    tell(f"{done} of {total} pieces are said, {rendition.seconds:.0f} s of {rendition.path}")
        for warning in rendition.warnings:
            tell(f"valle: {warning}")


def _stream(speaker: Narrator, parts: list[Segment], rendition: Rendition) -> None:
    """Say every segment into standard output, chunk by chunk."""
    pipe = Pipe()
    for said in speaker.stream(parts, rendition.seed):
        pipe.write(said.waveform.clip(-1.0, 1.0))
        rendition.add(said, len(parts))
    for warning in rendition.warnings:
        tell(f"valle: {warning}")


def _row(rendition: Rendition, voice: str, prompt: Prompt, checkpoint_id: str) -> dict[str, Any]:
    """What a machine may read of a file."""
    return {
        "path": rendition.path,
        "seconds": rendition.seconds,
        "seconds_to_make": rendition.seconds_to_make,
        "seed": rendition.seed,
        "flags": sorted(rendition.flags),
        "checkpoint_id": checkpoint_id,
        "voice": voice,
        "prompt": prompt.name,
        "prompt_seconds": prompt.seconds,
        "prompt_text": prompt.text,
        "warnings": [*prompt.warnings, *rendition.warnings],
    }


@contextmanager
def _mistakes() -> Iterator[None]:
    """What the layers below refuse, as a person's mistake in one sentence."""
    try:
        yield
    except (ConnectionError, FileNotFoundError) as error:
        if error.filename is not None:
            raise
        raise Mistake(str(error)) from error  # a Whisper that is not to be had
    except ValueError as error:
        from model.codec.encodec import CodecError
        from model.valle.checkpoint import CheckpointError  # torch, which who raised one of these has loaded already

        if isinstance(error, CheckpointError | CodecError):
            raise Mistake(str(error)) from error
        raise
