"""A full disk stops the learner with words for the operator; with room again it goes on."""

import os
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_campaign import Campaign
from crash_process import Learner
from kafka_broker import KafkaBroker

DISK = "24m"
LARGER_DISK = "200m"
FILE_BYTES_MAX = 300_000
RECORDS = 3_000


@pytest.fixture(params=["als", "sgd"])
def campaign(broker: KafkaBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Campaign]:
    running = Campaign(broker.bootstrap, tmp_path, request.param, zlib.crc32(request.node.name.encode()))
    running.publisher.publish(RECORDS)
    running.publisher.stop()
    yield running
    running.close()


@pytest.fixture
def disk(campaign: Campaign) -> Iterator[Path]:
    """A file system of its own, of a few MiB, where the store is to be."""
    directory = campaign.settings.state.directory
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(directory)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("NO SMALL FILE SYSTEM: only root may mount one; full disks are tested by file size alone")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def learn(campaign: Campaign, name: str, **how: int) -> tuple[int, str]:
    """A learner's exit code and what it said."""
    with Learner(campaign.order(name, until_end=True, **how)) as one:
        return one.wait(120.0), one.said()


def finish(campaign: Campaign) -> None:
    """With room, everything is learnt exactly once."""
    status, said = learn(campaign, "second")
    assert status == 0, said
    campaign.check()
    campaign.check_at_end()
    campaign.check_outgoing()
    campaign.check_verdict()


def test_a_file_system_without_room(campaign: Campaign, disk: Path) -> None:
    """ENOSPC, whichever file it hits."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        file.write(bytes(free - 1_000_000))
    status, said = learn(campaign, "first")
    assert status == 1, said
    assert "StoreFullError" in said
    assert "Make room" in said
    campaign.check()
    filler.unlink()
    subprocess.run(["mount", "-o", f"remount,size={LARGER_DISK}", str(disk)], check=True)
    finish(campaign)


def test_a_file_that_may_not_grow(campaign: Campaign) -> None:
    """EFBIG, as quotas and file size limits give it."""
    status, said = learn(campaign, "first", file_bytes_max=FILE_BYTES_MAX)
    assert status == 1, said
    assert "StoreFullError" in said
    campaign.check()
    finish(campaign)
