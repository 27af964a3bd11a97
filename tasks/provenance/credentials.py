"""Credentials of a file: that it is synthetic speech, of which model, voice and text; signed, so that changes show.

They are C2PA's (Content Credentials, specification 2.2), which other programs read, with an assertion of our own for
what leads back to checkpoint, prompt and consent. Plain tags say that it is synthetic where C2PA cannot go, such as in
a stream whose end nobody knows; anybody could write or remove those.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from tasks.provenance.certificate import Certificate
from warehouse.errors import Mistake

CREDENTIALS, PLAIN_TAG, CODE_MARK = "credentials", "tag", "codes"  # where a file says what it is
Verdict = Literal["synthetic", "altered", "no mark"]
SYNTHETIC: Final = "synthetic"
ALTERED: Final = "altered"
NO_MARK: Final = "no mark"

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
TAG = "synthetic speech (trainedAlgorithmicMedia)"
Codes = NDArray[np.uint16]  # [8, T]

_ASSERTION = "valle.speech"
_FORMATS = {"WAV": "audio/wav", "FLAC": "audio/flac", "MP3": "audio/mpeg"}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where synthetic speech comes from."""

    checkpoint: str  # the pair's: `checkpoint_id` of samples
    codec: str  # identity of the EnCodec
    prompt: str  # the file's name or the utterance's id
    prompt_digest: str  # sha256 of the prompt's codes
    voice: str | None  # what consent is said of, as in `consents`; null: the prompt's speaker
    text: str
    seed: int
    made_at: str  # ISO 8601, UTC
    mark: float | None = None  # the strength of the mark in its codes; null: there is none


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a file says of itself."""

    path: str
    verdict: Verdict
    why: str  # in a sentence
    marks: tuple[str, ...] = ()  # which marks there are: `credentials`, `tag`, `codes`
    chance: float | None = None  # of as much of the mark in the codes where there is none; null: it was not sought
    signed_by: str | None = None  # the name in the certificate
    serial: str | None = None  # of the certificate
    origin: Origin | None = None


def origin_of(prompt_codes: Codes, **known: Any) -> Origin:
    """Where speech comes from that is being made now, with a prompt of codes `[8, T]`."""
    digest = hashlib.sha256(np.ascontiguousarray(prompt_codes, dtype="<u2").tobytes()).hexdigest()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Origin(prompt_digest=digest, made_at=now, **known)


def tag(file: soundfile.SoundFile) -> None:
    """Say in plain tags that a file which is about to be written is synthetic."""
    file.software = f"valle {version('valle')}"
    file.comment = TAG


def sign(content: bytes, format_: str, origin: Origin, certificate: Certificate) -> bytes:
    """A file, WAV, FLAC or MP3 by its name in libsndfile, with its credentials in it; without a sample, as it is.

    Raises:
        OSError: it cannot be signed.
    """
    if not soundfile.info(BytesIO(content)).frames:
        return content  # there is nothing to tell of, and C2PA's library loses a chunk of no length
    from c2pa import Builder, C2paSignerInfo, Signer
    from c2pa.c2pa import C2paError

    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE, "when": origin.made_at}
    manifest = {
        "claim_generator_info": [{"name": "valle", "version": version("valle")}],
        "title": origin.text[:80],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": _ASSERTION, "data": asdict(origin)},
        ],
    }
    signed = BytesIO()
    try:
        signer = Signer.from_info(C2paSignerInfo(certificate.algorithm, certificate.chain, certificate.key, None))
        Builder(json.dumps(manifest)).sign(signer, _FORMATS[format_], BytesIO(content), signed)
    except C2paError as error:
        raise OSError(f"it cannot be signed: {error}") from error
    return signed.getvalue()


def examine(path: Path) -> Found:
    """What a file says of itself.

    Raises:
        Mistake: there is no such file, or it is no audio.
    """
    try:
        with soundfile.SoundFile(path) as file:
            format_, comment = file.format, file.comment
    except (OSError, soundfile.SoundFileError) as error:
        if not path.is_file():
            raise Mistake(f"there is no file {path}") from None
        raise Mistake(f"{path} is no audio that can be read: {error}") from None
    if format_ == "WAVEX":
        format_ = "WAV"
    manifests = _manifests(path.read_bytes(), _FORMATS[format_]) if format_ in _FORMATS else None
    if isinstance(manifests, str):
        why = f"its credentials cannot be read: {manifests}"
        return Found(path=str(path), verdict=ALTERED, why=why, marks=(CREDENTIALS,))
    if manifests is not None:
        return _judge(path, manifests)
    if comment.startswith(TAG):
        why = "a plain tag says so, which anybody could have written; there are no signed credentials"
        return Found(path=str(path), verdict=SYNTHETIC, why=why, marks=(PLAIN_TAG,))
    return Found(path=str(path), verdict=NO_MARK, why="it says nothing of itself, which speech of any kind may do")


def _manifests(content: bytes, format_: str) -> dict[str, Any] | str | None:
    """What C2PA's own reader finds, why it cannot read what is there, or nothing."""
    from c2pa import Reader
    from c2pa.c2pa import C2paError

    try:
        with Reader(format_, BytesIO(content)) as reader:
            found: dict[str, Any] = json.loads(reader.json())
            return found
    except C2paError.ManifestNotFound:
        return None
    except C2paError as error:
        return str(error)


def _judge(path: Path, manifests: dict[str, Any]) -> Found:
    manifest = manifests["manifests"][manifests["active_manifest"]]
    data = {assertion["label"]: assertion.get("data", {}) for assertion in manifest.get("assertions", ())}
    signature = manifest.get("signature_info", {})
    signed_by = {"signed_by": signature.get("common_name"), "serial": signature.get("cert_serial_number")}
    said = data.get(_ASSERTION, {})
    names = {f.name for f in fields(Origin)}
    origin = Origin(**said) if names - {"mark"} <= said.keys() <= names else None
    if manifests.get("validation_state") == "Invalid":  # an issuer that nobody knows is none of it
        codes = {status["code"] for status in manifests.get("validation_status", ())}
        breaches = ", ".join(sorted(codes - {"signingCredential.untrusted"}))
        why = f"it is not as it was when it was signed: {breaches}"
        return Found(path=str(path), verdict=ALTERED, why=why, marks=(CREDENTIALS,), origin=origin, **signed_by)
    actions = [
        action for name, content in data.items() if name.startswith("c2pa.actions") for action in content["actions"]
    ]
    if not any(action.get("digitalSourceType") == SOURCE_TYPE for action in actions):
        why = "it has credentials, and they do not say that a model made it"
        return Found(path=str(path), verdict=NO_MARK, why=why, **signed_by)
    why, marks = "its signed credentials say so", (CREDENTIALS,)
    return Found(path=str(path), verdict=SYNTHETIC, why=why, marks=marks, origin=origin, **signed_by)
