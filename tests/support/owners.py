"""Learners that want the same directory, for tests and for the benchmark that times a take-over."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from crash_campaign import Campaign
from crash_process import Learner, wait_for

from state.errors import StoreError
from state.rocksdb.reader import RocksReader


def learner(campaign: Campaign, name: str, **how: bool) -> Learner:
    """A learner with a log of its own."""
    return Learner(campaign.order(name, **how))


def batch_seq(campaign: Campaign) -> int:
    """Where the store stands; 0 while there is none."""
    try:
        reader = RocksReader(campaign.settings.state.directory)
    except StoreError:
        return 0
    try:
        return reader.head().batch_seq
    finally:
        reader.close()


def wait_until_learning(campaign: Campaign, after: int = 3) -> None:
    """Return once the store has gone past a micro-batch."""
    wait_for(lambda: batch_seq(campaign) > after, f"a micro-batch after {after}", 180.0)


@contextmanager
def taken_over(campaign: Campaign) -> Iterator[tuple[Learner, float]]:
    """A stand-by that learns since the first learner was killed, and how many seconds that took it."""
    with learner(campaign, "first") as first:
        wait_until_learning(campaign)
        with learner(campaign, "second", standby=True) as second:
            wait_for(lambda: "standing by" in second.said(), "a stand-by", 180.0)
            first.signal(signal.SIGKILL)
            killed = time.perf_counter()
            wait_for(lambda: "progress" in second.said(), "the stand-by to learn")
            yield second, time.perf_counter() - killed
