"""Threads beside the one that computes, which leave it its processors."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["helper_pool"]


def helper_pool(n_threads: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads let torch compute on one processor each.

    By default each thread that uses torch gets a team of as many threads as there are
    processors. A second team makes OpenMP send both to sleep whenever they wait, and
    waking up takes longer than most layers: on 2 cores a training step of `small` took
    0.62 s instead of 0.42 s because a helper once had had a team.

    Parameters
    ----------
    n_threads : int
    name : str
        What the threads' names begin with.

    Notes
    -----
    Torch has one count for threads to come. It is 1 for the moment in which a helper
    begins; somebody else's thread that first used torch just then would keep that.
    """
    others = torch.get_num_threads()
    return ThreadPoolExecutor(
        n_threads, name, initializer=_compute_alone, initargs=(others,)
    )


def _compute_alone(others: int) -> None:
    """Let torch use one thread in this thread, and `others` in new ones, as before."""
    torch.get_num_threads()  # or torch would set it at its first use here
    torch.set_num_threads(1)  # here, but for new threads too
    again = threading.Thread(target=torch.set_num_threads, args=(others,))
    again.start()
    again.join()
