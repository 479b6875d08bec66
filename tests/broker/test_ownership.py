"""One directory, one learner: a second is refused or waits, and takes over when the first dies."""

import signal
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_campaign import Campaign
from crash_process import wait_for
from kafka_broker import KafkaBroker
from owners import batch_seq, learner, taken_over, wait_until_learning
from thread_states import is_stopped

STOPPED_S = 6.0


@pytest.fixture
def campaign(broker: KafkaBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Campaign]:
    running = Campaign(broker.bootstrap, tmp_path, "als", zlib.crc32(request.node.name.encode()))
    running.publisher.start()
    yield running
    running.close()


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
    """When the first is killed; how soon is measured by `tests/bench/bench_take_over.py`."""
    with taken_over(campaign) as (second, _):
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
