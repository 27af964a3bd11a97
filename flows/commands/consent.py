"""`valle consent`: whose voices may be used, and what hangs on one whose speaker agrees no more.

A word that is taken back changes nothing that was made: it names it, in `valle plan` too, and whoever answers for the
warehouse makes it again without (`utterances` that a filter of `examples` leaves out, another `say`).
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows.commands.prompt_consent import keep_word
from warehouse.errors import Mistake
from warehouse.query import select

_GONE = "withdrawn_at > coalesce(said_last_at, timestamp '1970-01-01')"

_VOICES = f"""
    select voice, said_at, prompt, said_by, withdrawn_at, {_GONE} as withdrawn
    from consents order by withdrawn desc nulls last, said_at, voice
"""

_UTTERANCES = f"""
    with
    gone as (select voice from consents where {_GONE}),
    said as (
        select utterances.utterance_id, utterances.split, gone.voice
        from utterances
        join recordings using (recording_id)
        join gone on gone.voice in (
            'speaker:' || recordings.corpus || '/' || recordings.speaker_id, 'audio:' || recordings.audio_digest
        )
    )
"""
_CHECKPOINTS = (
    _UTTERANCES
    + """
    select half as shard, voice, count(distinct utterance_id) as number
    from said
    join examples using (utterance_id)
    cross join (select distinct half from checkpoints where dropped is null)
    where examples.dropped is null and said.split = 'train'
    group by all order by all
"""
)
_SAMPLES = (
    _UTTERANCES
    + """
    select 'of ' || system as shard, voice, count(distinct sample_id) as number
    from samples
    join said on said.utterance_id in (samples.utterance_id, samples.prompt_id)
    where samples.dropped is null
    group by all order by all
"""
)


def voices(root: Path) -> list[dict[str, Any]]:
    """Every voice that anybody has said a word on, those withdrawn first."""
    rows: list[dict[str, Any]] = select(root, _VOICES).to_pylist()
    return rows


def withdraw(root: Path, voice: str) -> list[dict[str, Any]]:
    """Take back the consent to a voice; give what hangs on it, as `hanging` does.

    Raises:
        Mistake: this is no voice's name, or no warehouse.
    """
    kind, colon, name = voice.partition(":")
    if kind not in ("speaker", "audio") or not colon or not name:
        raise Mistake(f"{voice!r} is no voice: `valle consent` lists them, such as speaker:librispeech/1272")
    select(root, "from consents")  # says what is wrong with the root, before anything is written
    keep_word(root, voice, voice, withdrawn=True)
    return [row for row in hanging(root) if voice in row["reason"]]


def hanging(root: Path) -> list[dict[str, Any]]:
    """What was made of voices whose consent was withdrawn, a row for each table, shard and voice as `plan` has them.

    Where none was, which is nearly always, no row of speech is read: `plan` asks each time.
    """
    with suppress(Mistake):  # no catalogue yet
        if not select(root, f"select voice from consents where {_GONE} limit 1").num_rows:
            return []
    return [
        row
        for table, query in (("checkpoints", _CHECKPOINTS), ("samples", _SAMPLES))
        for row in _rows(root, table, query)
    ]


def _rows(root: Path, table: str, query: str) -> Iterator[dict[str, Any]]:
    with suppress(Mistake):  # nothing was made of it yet
        for found in select(root, query).to_pylist():
            what = "utterances train it" if table == "checkpoints" else "samples have it"
            reason = f"consent to {found['voice']} was withdrawn: {found['number']} {what}"
            yield {"table": table, "shard": found["shard"], "why": "withdrawn", "reason": reason}
