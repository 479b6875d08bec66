"""The bundled client in real networks: long replies, proxies, forks."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from livefactor import Client
from protos.scorer_pb2 import RecommendRequest, RecommendResponse
from protos.scorer_pb2_grpc import ScorerServicer, add_ScorerServicer_to_server

FORKS = """
import os, sys
from livefactor import Client
from state.errors import ForkedError
from stream.kafka import EmbeddedCluster

with EmbeddedCluster(["t"]) as cluster, Client(sys.argv[1], kafka=cluster.settings, topic="t") as client:
    client.publish("ann", "film-1")
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (lambda: client.publish("bob", "film-1"), lambda: client.recommend("bob")):
            try:
                call()
            except ForkedError as error:
                refused += "after the fork" in str(error)
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert len(client.recommend("ann", k=1).item_ids) == 1
    print(os.waitstatus_to_exitcode(status))
"""


class LongIds(ScorerServicer):
    def Recommend(  # noqa: N802, named by the proto
        self, request: RecommendRequest, context: grpc.ServicerContext
    ) -> RecommendResponse:
        ids = [f"{n:0256}" for n in range(request.k)]
        return RecommendResponse(item_ids=ids, scores=[0.0] * request.k)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    add_ScorerServicer_to_server(LongIds(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_reply_of_more_than_four_mebibytes_is_received(address: str) -> None:
    with Client(address) as client:
        assert len(client.recommend("ann", k=20_000).item_ids) == 20_000


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "grpc_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_stands_between_processes_of_one_machine(
    name: str, host: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Client(address.replace("127.0.0.1", host)) as client:
        assert len(client.recommend("ann", k=1).item_ids) == 1


def test_a_client_used_after_a_fork_says_so(address: str) -> None:
    """Its threads stayed behind: without a word it would wait out every time-out."""
    environment = {**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", FORKS, address], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stdout.strip() == "2", done.stderr
