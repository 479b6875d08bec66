"""One directory, one learner: a second is refused or waits, and takes over when the first dies."""

import signal
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_campaign import Campaign
from crash_process import Learner, wait_for
from kafka_broker import KafkaBroker
from thread_states import is_stopped

from state.errors import StoreError
from state.rocksdb.reader import RocksReader

TAKE_OVER_S = 3.0
STOPPED_S = 6.0


@pytest.fixture
def campaign(broker: KafkaBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Campaign]:
    running = Campaign(broker.bootstrap, tmp_path, "als", zlib.crc32(request.node.name.encode()))
    running.publisher.start()
    yield running
    running.close()


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


def finish(campaign: Campaign) -> None:
    """Learn what is left, alone, and see that nothing was lost or doubled."""
    campaign.publisher.stop()
    with learner(campaign, "last", until_end=True) as last:
        assert last.wait(120.0) == 0, last.said()
    campaign.check()
    campaign.check_at_end()
    campaign.check_outgoing()
    campaign.check_verdict()


def test_a_second_learner_is_refused(campaign: Campaign) -> None:
    """It says who owns the directory and what to do, and the first is not disturbed."""
    with learner(campaign, "first") as first:
        wait_until_learning(campaign)
        with learner(campaign, "second") as second:
            assert second.wait(180.0) == 1
            assert "StoreLockedError" in second.said()
            assert f"process id {first.pid}" in second.said()
            assert "--standby" in second.said()
        wait_until_learning(campaign, batch_seq(campaign))
        assert first.alive()
        first.signal(signal.SIGTERM)
        assert first.wait() == 0, first.said()
    finish(campaign)


def test_a_standby_takes_over(campaign: Campaign) -> None:
    """Less than three seconds pass from the SIGKILL of the first to the second's first micro-batch."""
    with learner(campaign, "first") as first:
        wait_until_learning(campaign)
        with learner(campaign, "second", standby=True) as second:
            wait_for(lambda: "standing by" in second.said(), "a stand-by", 180.0)
            first.signal(signal.SIGKILL)
            killed = time.monotonic()
            first.wait()
            wait_for(lambda: "progress" in second.said(), "the stand-by to learn", TAKE_OVER_S)
            print(f"the stand-by learnt {time.monotonic() - killed:.2f} s after the SIGKILL")
            second.signal(signal.SIGTERM)
            assert second.wait() == 0, second.said()
    finish(campaign)


def test_a_stopped_learner_goes_on_where_it_was(campaign: Campaign) -> None:
    """SIGSTOP frees no lock: the stand-by keeps waiting, and after SIGCONT nothing is doubled."""
    # Both may wait, for either may come first.
    with learner(campaign, "one", standby=True) as first, learner(campaign, "other", standby=True) as second:
        wait_for(lambda: "standing by" in first.said() + second.said(), "a stand-by", 180.0)
        owner, waiting = (first, second) if "standing by" in second.said() else (second, first)
        wait_until_learning(campaign)
        owner.signal(signal.SIGSTOP)
        wait_for(lambda: is_stopped(owner.pid), "every thread to stop")
        stood_at = batch_seq(campaign)
        stopped = time.monotonic()
        wait_for(lambda: time.monotonic() - stopped > STOPPED_S or not waiting.alive(), "time", STOPPED_S + 5)
        assert batch_seq(campaign) == stood_at
        owner.signal(signal.SIGCONT)
        wait_until_learning(campaign, stood_at)
        assert owner.alive()
        assert waiting.alive()
        assert '"learning"' not in waiting.said()
        assert "progress" not in waiting.said()
        for each in (waiting, owner):
            each.signal(signal.SIGTERM)
            assert each.wait() == 0, each.said()
    finish(campaign)
