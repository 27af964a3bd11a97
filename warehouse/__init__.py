"""What exists: tables, fingerprints, shards on disk, the catalogue and its statistics.

From Python, `warehouse.open(root).sql("from dataset")` is an Arrow table, also while flows run. Importing this
package loads neither Arrow nor DuckDB.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warehouse.reader import Reader


def open(root: str | Path) -> "Reader":
    """A reader of the warehouse under this root, read-only.

    Raises:
        Mistake: nothing has been published under this root.
    """
    from warehouse.reader import Reader

    return Reader(root)
