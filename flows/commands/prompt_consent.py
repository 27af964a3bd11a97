"""Consent: whose voice a prompt is, and whether it may be used.

A voice is the sound itself, by the digest of what decodes, or a speaker of the warehouse, whose every recording
counts: a copy of one under another name is still theirs. Consent is said once for each voice and kept in the ledger.
The voices of the sample corpus are a machine's and need none. Everybody else's do, those of public corpora too: their
readers gave away their readings, and not their voices.
"""

import getpass
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from flows.commands import warehouse_lookup
from flows.terminal.output import say
from tasks.audio.audio_files import Examination
from tasks.voices import audio_prompt
from tasks.voices.audio_prompt import Excerpt, Prompt
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake

if TYPE_CHECKING:
    from model.codec.encodec import Codec

_UTTERANCE = re.compile(r".+#\d+-\d+")


@dataclass(frozen=True)
class Listener:
    """How a prompt becomes phones and codes."""

    codec: "Codec"
    speaks: str  # the identity of the codec that the pair was trained with
    whisper: str
    device: str
    language: str  # as espeak-ng names it


@dataclass(frozen=True)
class File:
    """A prompt that is a file of audio, the part of it that gives the voice already chosen."""

    voice: str
    excerpt: Excerpt
    text: str | None = field(repr=False)  # what is said in it, where the excerpt is all of it

    def prompt(self, listener: Listener) -> Prompt:
        """What the model goes on from; what is said in it is heard by Whisper unless it is known."""
        language = listener.language
        text = self.text or audio_prompt.hear(
            self.excerpt, listener.whisper, listener.device, language.partition("-")[0]
        )
        return audio_prompt.prompt(self.excerpt, text, listener.codec, language)


@dataclass(frozen=True)
class Utterance:
    """A prompt that is an utterance of the warehouse, heard and encoded there."""

    voice: str
    known: warehouse_lookup.Utterance

    def prompt(self, listener: Listener) -> Prompt:
        """What the model goes on from."""
        return self.known.prompt(listener.speaks)


def find(prompt: str, text: str | None, root: Path, consent: bool) -> File | Utterance:
    """The prompt of these words, where its voice may be used.

    Args:
        prompt: a file, or an utterance's id.
        text: what is said in a file of 3 s or so.
        root: the warehouse.
        consent: whether it is said that the speaker agrees.

    Raises:
        Mistake: there is no such prompt, it cannot serve, or nobody has said that its speaker agrees.
    """
    path = Path(prompt).expanduser()
    if path.is_dir():
        raise Mistake(f"the prompt {prompt} is a folder: name a file of audio, or an utterance's id")
    chosen: File | Utterance
    if path.exists():
        found = audio_prompt.examine(path)
        voice = _of_sound(root, found)
        is_new = _is_new(voice, prompt, root, consent)
        chosen = _file(voice, path, found, text)
    else:
        chosen = _utterance(prompt, text, root)
        is_new = _is_new(chosen.voice, prompt, root, consent)
    if is_new:  # and nothing was wrong with the prompt
        _remember(chosen.voice, prompt, root)
    return chosen


def _utterance(id_: str, text: str | None, root: Path) -> Utterance:
    """An utterance of the warehouse."""
    if not _UTTERANCE.fullmatch(id_):
        raise Mistake(f"there is no file {id_}, nor does it read as an utterance's id, RECORDING#START-END")
    if text is not None:
        raise Mistake("--prompt-text is for a file: what is said in an utterance is known")
    utterance = warehouse_lookup.Utterance(root, id_)
    return Utterance(_of_speaker(*utterance.speaker) or f"audio:{utterance.recording['audio_digest']}", utterance)


def _file(voice: str, path: Path, found: Examination, text: str | None) -> File:
    """A file with the part that gives the voice."""
    excerpt = audio_prompt.take(path, found, whole=text is not None)
    if text is not None and not excerpt.is_whole:
        start, end = excerpt.start / excerpt.sample_rate, excerpt.end / excerpt.sample_rate
        say(
            f"valle: {path.name} is too long for --prompt-text: what is said in the part that is taken, "
            f"{start:.1f} to {end:.1f} s, is heard by Whisper; a file of 3 s is taken whole"
        )
        return File(voice, excerpt, None)
    return File(voice, excerpt, text)


def _of_sound(root: Path, found: Examination) -> str:
    """The voice of a file: its speaker's, where the warehouse knows the sound, else the sound itself."""
    voice = f"audio:{found.digest}"
    if ledger.consent(root, voice):
        return voice
    speaker = warehouse_lookup.speaker_of_sound(root, found.digest)
    return (speaker and _of_speaker(*speaker)) or voice


def _of_speaker(corpus: str, speaker: str | None) -> str | None:
    """A speaker's voice; null where nobody knows who speaks."""
    return audio_prompt.speaker(corpus, speaker) if speaker else None


def _is_new(voice: str, prompt: str, root: Path, consent: bool) -> bool:
    """Whether consent to a voice is said now for the first time.

    Raises:
        Mistake: it is needed, and is said neither now nor before.
    """
    if audio_prompt.is_machine(voice) or ledger.consent(root, voice):
        return False
    if not consent and (gone := ledger.withdrawal(root, voice)):
        raise Mistake(
            f"consent to the voice of {prompt} was withdrawn on {gone.written_at[:10]}: "
            "where its speaker agrees again, say it once with --consent"
        )
    if not consent:
        raise Mistake(
            f"nobody has said that the speaker of {prompt} agrees to the use of this voice: where that is so, "
            "say it once with --consent, and it is remembered"
        )
    return True


def _remember(voice: str, prompt: str, root: Path) -> None:
    """Keep the word of consent."""
    keep_word(root, voice, prompt)
    say(f"consent to {voice} is kept in {ledger.folder(root)}")


def keep_word(root: Path, voice: str, prompt: str, withdrawn: bool = False) -> None:
    """Keep a word on the use of a voice in the ledger, and in the catalogue where there is one."""
    record = ledger.ConsentRecord(
        record_id=uuid4().hex,
        voice=voice,
        prompt=prompt,
        said_by=_user(),
        host=socket.gethostname(),
        written_at=datetime.now(UTC).isoformat(),
        withdrawn=withdrawn,
    )
    ledger.emit(root, record)
    if Catalogue(root).published.is_file():
        with suppress(Mistake):  # somebody holds it for long: whoever takes up the ledger next tells of it
            Catalogue(root).take_up()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container whose user has no name
        return str(os.getuid())
