"""The utterances that may train: whole in every table, and good enough for the recipe.

Nothing is taken away here. An utterance that is refused keeps its row, with the first
condition that it failed, so a filter can be judged, and loosened, by counting its refusals in SQL; `failed` names
all that it failed, so the view `conditions` tells what each of them costs alone.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import compute as pc

from tasks.corpora.held_out import LIBRIVOX, held_out
from warehouse.errors import BrokenPromise
from warehouse.filters import Condition, check, refused
from warehouse.stage import Resources, same_as
from warehouse.tables import CODES, EXAMPLES, PHONES, TRANSCRIPTS, UTTERANCES

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

WHOLE = tuple(
    Condition(
        "not_whole",
        f"{table.name}.utterance_id is not null and {table.name}.dropped is null",
        says=f"'{table.name}: ' || coalesce({table.name}.dropped, 'missing')",
    )
    for table in (TRANSCRIPTS, PHONES, CODES)
)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Every kept utterance, and whether it may train.

    A condition is a reason and what has to hold, in SQL over the columns of `utterances`, `transcripts`, `phones`
    and `codes`: `("too_fast", "len(phones.phones) / utterances.seconds < 40")`. One that is NULL does not hold.
    """

    makes, takes = EXAMPLES, (UTTERANCES, TRANSCRIPTS, PHONES, CODES)
    needs, version, gathers = Resources(), 4, False

    where: tuple[tuple[str, str], ...] = ()  # conditions beside being whole, in order of precedence
    hold_out: str = same_as("utterances.hold_out", "librispeech")  # whose speakers must not train

    def __post_init__(self) -> None:
        if self.where:
            schemas = {table.name: table.schema for table in self.takes}
            check([Condition(reason, holds) for reason, holds in self.where], "utterance_id", **schemas)

    def __call__(self, utterances: "Dataset", transcripts: "Dataset", phones: "Dataset", codes: "Dataset") -> pa.Table:
        """One row for each kept utterance, in the utterances' order.

        Raises:
            Mistake: a condition is no SQL over these columns.
            BrokenPromise: a speaker that is held out would train.
        """
        kept = utterances.to_table(filter=pc.field("dropped").is_null())
        conditions = (*WHOLE, *(Condition(reason, holds) for reason, holds in self.where))
        verdict = refused(
            conditions, "utterance_id", utterances=kept, transcripts=transcripts, phones=phones, codes=codes
        )
        self._refuse_leaks(kept.filter(pc.is_null(verdict["dropped"])))
        said = transcripts.to_table(columns=["utterance_id", "language"])
        languages = said["language"].take(pc.index_in(kept["utterance_id"], value_set=said["utterance_id"]))
        columns = [kept["utterance_id"], kept["speaker_id"], languages, kept["split"]]
        columns += [verdict[name] for name in ("failed", "dropped", "detail")]
        return pa.table(columns, schema=EXAMPLES.schema)

    def _refuse_leaks(self, examples: pa.Table) -> None:
        """The gate: a filter drops rows, this fails the run, for an evaluation on what was trained is worth nothing."""
        speakers = held_out(self.hold_out)
        if not speakers:
            return
        listed, librivox = (", ".join(f"'{word}'" for word in words) for words in (speakers, LIBRIVOX))
        gate = Condition(
            "held_out",
            f"utterances.split <> 'train' or utterances.corpus not in ({librivox}) "
            f"or utterances.speaker_id is null or utterances.speaker_id not in ({listed})",
            says="utterances.speaker_id",
        )
        leaks = refused([gate], "utterance_id", utterances=examples)["detail"].drop_null().unique().sort().to_pylist()
        if leaks:
            raise BrokenPromise(
                f"speaker {leaks[0]} is held out by utterances.hold_out={self.hold_out} "
                f"({speakers[leaks[0]]}), and would train" + (f"; so would {len(leaks) - 1} more" if leaks[1:] else "")
            )
