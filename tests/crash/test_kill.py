"""A learner that is killed at any instant, again and again, under load, loses nothing and doubles nothing.

KILLS=1000 in the environment asks for so many kills; CRASH_SEED for other streams and moments.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_campaign import Campaign
from crash_process import Nursery, wait_for
from kafka_broker import KafkaBroker

from state.errors import StoreMissingError
from state.rocksdb.reader import RocksReader

KILLS = int(os.environ.get("KILLS", "50"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
KILLS_PER_CAMPAIGN = 50
ALGORITHMS = ("als", "sgd")

POINTS = {
    "opened": 1,
    "before_write": 60,
    "after_write": 60,
    "before_acknowledge": 10,
    "after_acknowledge": 10,
    "before_flush": 6,
    "before_ingest": 6,
    "after_ingest": 6,
}
"""Named points, and up to which hit of each a learner may live."""

MOMENTS = (*POINTS, "start", "delay", "commits")


def campaigns() -> Iterator[tuple[str, int, int]]:
    """(algorithm, seed, kills), so that the kills of all come to KILLS."""
    for index, algorithm in enumerate(ALGORITHMS):
        left = (KILLS + 1 - index) // 2
        number = 0
        while left > 0:
            yield algorithm, SEED + number, min(left, KILLS_PER_CAMPAIGN)
            left -= KILLS_PER_CAMPAIGN
            number += 1


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as running:
        yield running


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(("algorithm", "seed", "kills"), list(campaigns()))
def test_nothing_is_lost_or_doubled(
    broker: KafkaBroker, nursery: Nursery, tmp_path: Path, algorithm: str, seed: int, kills: int
) -> None:
    """Kills at random and at named moments; checked after each and verified after every tenth."""
    chance = random.Random(seed)
    campaign = Campaign(broker.bootstrap, tmp_path, algorithm, seed)
    campaign.publisher.start()
    try:
        moments: list[str] = []
        for kill in range(1, kills + 1):
            moments = moments or chance.sample(MOMENTS, len(MOMENTS))
            moment = moments.pop()
            _kill(campaign, nursery, moment, chance)
            try:
                campaign.check()
                if kill % 10 == 0:
                    campaign.check_verdict()
            except BaseException as error:
                error.add_note(
                    f"CRASH_SEED={SEED} {algorithm} seed {seed}: kill {kill} at {moment}\n{campaign.said()}"
                )
                raise
        campaign.publisher.stop()
        nursery.bear(campaign.order(until_end=True))
        assert nursery.bury(120.0) == 0, campaign.said()
        campaign.check()
        campaign.check_at_end()
        campaign.check_outgoing()
        campaign.check_verdict()
    finally:
        campaign.close()


def _kill(campaign: Campaign, nursery: Nursery, moment: str, chance: random.Random) -> None:
    """Let a learner live until a moment, and see that it died of nothing but a SIGKILL."""
    if moment in POINTS:
        nursery.bear(campaign.order(die_at=moment, die_on_hit=chance.randint(1, POINTS[moment])))
        status = nursery.bury(60.0)
    else:
        nursery.bear(campaign.order())
        if moment == "commits":
            _wait_for_commits(campaign, nursery, chance.randint(1, 40))
        else:
            _wait(nursery, chance.uniform(0, 0.25) if moment == "start" else chance.uniform(0.2, 1.5))
        status = nursery.kill()
    assert status == -9, campaign.said()


def _wait(nursery: Nursery, seconds: float) -> None:
    """Let time pass, as the moment of a kill is one of time."""
    nursery.ended_within(seconds)


def _wait_for_commits(campaign: Campaign, nursery: Nursery, count: int) -> None:
    """Watch the store as a scorer does until so many micro-batches more are in it."""
    directory = campaign.settings.state.directory

    def open_reader() -> RocksReader | None:
        try:
            return RocksReader(directory)
        except StoreMissingError:
            return None

    reader = wait_for(open_reader, "a store")
    try:
        wanted = len(campaign.schedule) + count

        def reached() -> bool:
            reader.catch_up()
            return reader.head().batch_seq >= wanted

        wait_for(reached, f"micro-batch {wanted}", 60.0)
    finally:
        reader.close()
