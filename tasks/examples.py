"""The utterances that may train: whole in every table, and good enough for the recipe.

The surprising fact: nothing is taken away here. An utterance that is refused keeps its row, with the first
condition that it failed, so a filter can be judged, and loosened, by counting its refusals in SQL.
"""

from dataclasses import dataclass

import pyarrow as pa
from pyarrow import compute as pc
from pyarrow.dataset import Dataset

from tasks.stage import Resources
from warehouse.filters import Condition, refused
from warehouse.tables import CODES, EXAMPLES, PHONES, TRANSCRIPTS, UTTERANCES

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
    needs, version, gathers = Resources(), 1, False

    where: tuple[tuple[str, str], ...] = ()  # conditions beside being whole, in order of precedence

    def __call__(self, utterances: Dataset, transcripts: Dataset, phones: Dataset, codes: Dataset) -> pa.Table:
        """One row for each kept utterance, in the utterances' order.

        Raises:
            Mistake: a condition is no SQL over these columns.
        """
        kept = utterances.to_table(filter=pc.field("dropped").is_null())
        conditions = (*WHOLE, *(Condition(reason, holds) for reason, holds in self.where))
        verdict = refused(
            conditions, "utterance_id", utterances=kept, transcripts=transcripts, phones=phones, codes=codes
        )
        columns = [kept["utterance_id"], kept["split"], verdict["dropped"], verdict["detail"]]
        return pa.table(columns, schema=EXAMPLES.schema)
