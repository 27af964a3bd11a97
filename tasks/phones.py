"""The table `phones`: the phonemes of every transcript, in IPA.

A text that cannot be said whole is dropped with the part that has no symbol; `tasks.text.phonemization` says when.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import compute as pc

from tasks.text import symbols
from tasks.text.phonemization import ENGLISH, OWN, Unspeakable, backend, espeak_name, phonemize
from warehouse.faults import Faults
from warehouse.stage import Resources
from warehouse.tables import PHONES, TRANSCRIPTS, UTTERANCES

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Phones:
    """The phones of every transcript."""

    makes, takes = PHONES, (TRANSCRIPTS, UTTERANCES)
    needs, version, gathers = Resources(), 1, False

    language: str = ENGLISH  # as espeak-ng names it, or `auto`: each text's own, as Whisper heard it

    def identity(self) -> dict[str, object]:
        """The symbol table and the build of espeak-ng, which name the rows as much as the language does.

        Raises:
            Mistake: espeak-ng has no such language.
        """
        from importlib.metadata import version

        if self.language not in (ENGLISH, OWN):  # which is there, and need not be loaded to plan a run
            backend(self.language)
        return {"symbols": symbols.digest(), "espeak": f"espeakng-loader {version('espeakng-loader')}"}

    def __call__(self, transcripts: "Dataset", _utterances: "Dataset") -> pa.Table:
        columns = ["utterance_id", "text", "language"]
        kept = transcripts.to_table(columns=columns, filter=pc.field("dropped").is_null())
        faults = Faults("not_speakable")
        rows = [
            {"utterance_id": utterance_id} | _row(text or "", espeak_name(self.language, own), faults)
            for utterance_id, text, own in zip(*(kept[name].to_pylist() for name in columns), strict=True)
        ]
        faults.check(len(rows))
        return pa.Table.from_pylist(rows, schema=PHONES.schema)


def _row(text: str, language: str, faults: Faults) -> dict[str, Any]:
    try:
        return vars(phonemize(text, language))
    except Unspeakable as refusal:
        return {"dropped": refusal.reason, "detail": str(refusal)}
    except Exception as error:  # whatever a library makes of one text, the others are not to blame
        return faults.refusal(error)
