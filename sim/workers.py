"""Runs one function on many items, here or in worker processes of this machine (dask.distributed).

Outcomes come in the order of the items, whichever process was done first, so that nothing that is
made of them depends on the number of processes.
"""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Generic, TypeVar

from sim.errors import SimError

if TYPE_CHECKING:
    from distributed import Client, Future

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

AHEAD = 2  # items handed out per process beyond the one that is awaited
DIED = "the process that ran it died, and so did another one that ran nothing else"


@dataclass(frozen=True, slots=True)
class Done(Generic[_Answer]):
    """What came of one item: an answer, or None and what went wrong."""

    answer: _Answer | None
    error: str = ""


# Gives what came of each item, in their order, as it is asked for.
Spread = Callable[[Iterable[_Item]], Iterator[Done[_Answer]]]


def workers(
    task: Callable[[_Item], _Answer], jobs: int | None = None
) -> AbstractContextManager[Spread[_Item, _Answer]]:
    """A context in which `task` can be run on items: in `jobs` processes, or here when None.

    An exception is that item's error. So is the death of a process: the item is tried once more
    with nothing beside it, and given up when that process dies too.
    """
    if jobs is None:
        return _here(task)
    if jobs < 1:
        raise SimError(f"got {jobs} jobs; expected 1 or more")
    return _in_processes(task, jobs)


@contextmanager
def _here(task: Callable[[_Item], _Answer]) -> Iterator[Spread[_Item, _Answer]]:
    yield lambda items: (_tried(task, item) for item in items)


def _tried(task: Callable[[_Item], _Answer], item: _Item) -> Done[_Answer]:
    try:
        return Done(task(item))
    except SimError as error:
        return Done(None, str(error))
    except Exception as error:  # of a plugin, or a fault of ours: the other items still count
        return Done(None, f"{type(error).__name__}: {error}")


# In processes


@contextmanager
def _in_processes(task: Callable[[_Item], _Answer], jobs: int) -> Iterator[Spread[_Item, _Answer]]:
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": 0,  # we try again ourselves, one item at a time
        "distributed.scheduler.work-stealing": False,
        "distributed.admin.tick.limit": "1h",  # a busy machine is nothing to tell of
    }
    with dask.config.set(settings), ExitStack() as stack:
        with _deaf_to_interrupts():
            cluster = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.CRITICAL + 1,
            )
            stack.enter_context(cluster)
            client = stack.enter_context(Client(cluster))
        yield lambda items: _in_order(client, task, items, AHEAD * jobs)


def _in_order(
    client: Client, task: Callable[[_Item], _Answer], items: Iterable[_Item], window: int
) -> Iterator[Done[_Answer]]:
    """Keep a few items under way, and hand out what came of the oldest."""
    rest = iter(items)
    under_way: deque[tuple[_Item, Future[Done[_Answer]]]] = deque()
    try:
        while True:
            for item in islice(rest, window - len(under_way)):
                under_way.append((item, _submitted(client, task, item)))
            if not under_way:
                return
            item, future = under_way.popleft()
            yield _outcome(client, task, item, future, [other for _, other in under_way])
    finally:
        client.cancel([future for _, future in under_way])


def _outcome(
    client: Client,
    task: Callable[[_Item], _Answer],
    item: _Item,
    future: Future[Done[_Answer]],
    others: list[Future[Done[_Answer]]],
) -> Done[_Answer]:
    """The answer; after the death of a process once more, when nothing else is under way."""
    from distributed import KilledWorker, wait

    try:
        done: Done[_Answer] = future.result()
        return done
    except KilledWorker:
        if others:
            wait(others)
    try:
        done = _submitted(client, task, item).result()
        return done
    except KilledWorker:
        return Done(None, DIED)


def _submitted(
    client: Client, task: Callable[[_Item], _Answer], item: _Item
) -> Future[Done[_Answer]]:
    return client.submit(_tried, task, item, pure=False)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes and threads that start now leave Ctrl-C to this thread, which hears it later."""
    if not hasattr(signal, "pthread_sigmask"):  # not on Windows
        yield
        return
    resource_tracker.ensure_running()  # the thread that starts it hears signals afterwards
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
