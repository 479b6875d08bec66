"""The embedded cluster leaves nothing behind, however its user ends."""

import os
import subprocess
import sys
import time

import confluent_kafka as ck
import pytest

from stream.kafka import EmbeddedCluster

KILLED = """
import os, signal
from stream.kafka import EmbeddedCluster

print(EmbeddedCluster().process_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def runs(process_id: int) -> bool:
    """Whether the process lives; one that only waits for its parent to ask does not."""
    try:
        with open(f"/proc/{process_id}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_ends_with_the_object(capfd: pytest.CaptureFixture[str]) -> None:
    with EmbeddedCluster(["t"]) as cluster:
        os.kill(cluster.process_id, 0)
        topics = ck.Producer({"bootstrap.servers": cluster.bootstrap}).list_topics(timeout=10).topics
        assert len(topics["t"].partitions) == 4
    with pytest.raises(ProcessLookupError):
        os.kill(cluster.process_id, 0)
    cluster.close()
    assert capfd.readouterr() == ("", "")


def test_it_ends_with_a_user_that_is_killed() -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, check=False)
    process_id = int(killed.stdout)
    deadline_s = time.monotonic() + 10
    while runs(process_id):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
