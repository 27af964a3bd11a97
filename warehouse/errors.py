"""The errors of the warehouse and of whoever runs it.

Mistake          a wrong word, setting or file; said in one sentence, exit code 2
WorkFailed       some shards could not be made, the others are kept; exit code 1
BrokenPromise    a stage did not keep its contract: wrong columns, lost rows
"""

import errno

FULL = "the disk is full; what is made is kept, and the next run goes on from there when there is room"


class Mistake(Exception):
    """Something a person wrote or pointed at is wrong; the message names it and says what would be right."""


class WorkFailed(Exception):
    """Some shards could not be made. The others are kept."""


class BrokenPromise(Exception):
    """A stage returned something else than its table holds."""


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that there is no room left, or no more than a quota allows; DuckDB's only has words."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in ("No space left on device", "Disk quota exceeded"))
