"""A learner outlives its broker: it says what it waits for and goes on by itself."""

import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from crash_campaign import Campaign
from crash_process import wait_for
from kafka_broker import KafkaBroker
from learn_process import LearnProcess, head_of, outbox_of

pytestmark = pytest.mark.broker

OUTBOX_BYTES_MAX = 64 << 20


@pytest.fixture
def campaign(broker: KafkaBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Campaign]:
    running = Campaign(broker.bootstrap, tmp_path, "als", zlib.crc32(request.node.name.encode()))
    yield running
    running.close()


def learnt(campaign: Campaign) -> int:
    """Records that the store has passed."""
    head = head_of(campaign.settings.state.directory)
    return sum(head.offsets.values()) if head else 0


def hindered(learner: LearnProcess, bootstrap: str) -> bool:
    """Whether it has said so: while it reads, or while it looks for what it had missed."""
    words = f"no records from {bootstrap}", f"No broker answers at {bootstrap}"
    return any(learner.lines("hindered", said) for said in words)


def finish(campaign: Campaign, learner: LearnProcess) -> None:
    """Let the learner learn what is left, and see that nothing was lost or doubled."""
    campaign.publisher.stop()
    published = len(campaign.publisher.made) + campaign.publisher.commands
    wait_for(lambda: learnt(campaign) >= published, f"{published} records", 180.0)
    wait_for(lambda: not outbox_of(campaign.settings.state.directory), "an empty outbox", 180.0)
    assert learner.stop() == 0, learner.said()
    campaign.check()
    campaign.check_at_end()
    campaign.check_outgoing()
    campaign.check_verdict()


@pytest.mark.slow
def test_a_learner_started_before_its_broker_learns_when_it_comes_up(
    broker: KafkaBroker, campaign: Campaign
) -> None:
    """Everything that was published before is learnt, without anybody's help."""
    campaign.publisher.publish(500)
    campaign.publisher.stop()
    with ExitStack() as cleanup:
        with broker.killed():
            learner = cleanup.enter_context(LearnProcess(campaign.raw, campaign.directory))
            learner.wait_for_line("hindered", "No broker answers")
            assert learnt(campaign) == 0
        learner.wait_for_line("learning", deadline_s=120.0)
        finish(campaign, learner)


@pytest.mark.slow
def test_a_broker_killed_in_mid_run_is_waited_for_and_nothing_is_lost_or_doubled(
    broker: KafkaBroker, campaign: Campaign
) -> None:
    """Records, commands and dead letters are on their way when it dies, and when it is back."""
    roomy = {**campaign.raw, "state": {**campaign.raw["state"], "outbox_bytes_max": OUTBOX_BYTES_MAX}}
    campaign.publisher.start()
    with LearnProcess(roomy, campaign.directory) as learner:
        wait_for(lambda: learnt(campaign) > 500, "records to be learnt", 120.0)
        with broker.killed():
            wait_for(lambda: hindered(learner, broker.bootstrap), "the learner to notice", 120.0)
            stood_at = learnt(campaign)
        learner.wait_for_line("going on", deadline_s=180.0)
        wait_for(lambda: learnt(campaign) > stood_at + 500, "learning to go on", 180.0)
        finish(campaign, learner)
