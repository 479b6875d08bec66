"""The embedded cluster leaves nothing behind, however its user ends."""

import os
import subprocess
import sys

import confluent_kafka as ck
import pytest
from crash_process import wait_for
from thread_states import runs

from stream.kafka import EmbeddedCluster

KILLED = """
import os, signal
from stream.kafka import EmbeddedCluster

print(EmbeddedCluster().process_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


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
    wait_for(lambda: not runs(process_id), f"the end of process {process_id}", 10)
