"""The errors of the warehouse and of whoever runs it.

Mistake          a wrong word, setting or file; said in one sentence, exit code 2
WorkFailed       some shards could not be made, the others are kept; exit code 1
BrokenPromise    a stage did not keep its contract: wrong columns, lost rows
"""


class Mistake(Exception):
    """Something a person wrote or pointed at is wrong; the message names it and says what would be right."""


class WorkFailed(Exception):
    """Some shards could not be made. The others are kept."""


class BrokenPromise(Exception):
    """A stage returned something else than its table holds."""
