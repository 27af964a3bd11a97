"""How many threads a step deserves: products so small that a second thread only waits are made by one.

A second thread is asked for and awaited at each product. Where another process has the core, that takes a turn of the
scheduler each time: a sentence of the embedded pair took 5 s with one thread, and two minutes with two, on two busy
cores.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 1 << 21  # multiplications of a product that one thread makes within some 0.1 ms


@contextmanager
def one_thread(where: bool = True) -> Iterator[None]:
    """Keeps torch to one thread within, where it is asked for."""
    threads = torch.get_num_threads()
    if not where or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def kept() -> Iterator[None]:
    """Gives torch its number of threads back afterwards: Numba's, which Whisper times words with, changes it."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
