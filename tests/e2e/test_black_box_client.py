"""A client written from the protos alone: its code is generated here, and it imports nothing of ours."""

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from scorer_process import REPOSITORY, ScorerProcess
from toy_model import IDENTITY, TOPIC, ToyModel, state_config

from state.rocksdb.writer import RocksWriter
from state.store import TopicPartition

PROTOS = ("protos/events.proto", "protos/scorer.proto")
CLIENT = textwrap.dedent(
    '''
    """Asks a scorer; prints what it heard as JSON."""
    import json
    import sys
    import time

    import grpc
    from protos import events_pb2, scorer_pb2, scorer_pb2_grpc

    OURS = ("livefactor", "serving", "state", "stream")
    address, user, item, topic = sys.argv[1:]


    def positions(meta):
        return [[p.topic, p.partition, p.offset] for p in meta.positions]


    def ready(channel):
        """Until the model is loaded the scorer answers UNAVAILABLE."""
        stub = scorer_pb2_grpc.ScorerStub(channel)
        deadline = time.monotonic() + 60
        while True:
            try:
                stub.Score(scorer_pb2.ScoreRequest(user_id=user, item_ids=[item]), timeout=120)
                return stub
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise


    with grpc.insecure_channel(address) as channel:
        scorer = ready(channel)
        best = scorer.Recommend(scorer_pb2.RecommendRequest(user_id=user, k=3), timeout=120)
        again = scorer.Recommend(
            scorer_pb2.RecommendRequest(
                user_id=user,
                k=3,
                include_seen=True,
                min_position=best.meta.positions,
                max_staleness_ms=86_400_000,
            ),
            timeout=60,
        )
        stranger = scorer.Recommend(scorer_pb2.RecommendRequest(user_id="nobody", k=2), timeout=120)
        scores = scorer.Score(scorer_pb2.ScoreRequest(user_id=user, item_ids=[item, "nothing"]), timeout=120)
        try:
            ahead = events_pb2.Position(topic=topic, partition=0, offset=1_000_000)
            scorer.Score(
                scorer_pb2.ScoreRequest(user_id=user, item_ids=[item], min_position=[ahead]), timeout=3
            )
            refused = None
        except grpc.RpcError as error:
            refused = [error.code().name, error.details()]
    print(json.dumps({
        "best": list(best.item_ids),
        "best_scores": list(best.scores),
        "cold": best.cold,
        "version": best.meta.version,
        "batch_seq": best.meta.batch_seq,
        "positions": positions(best.meta),
        "staleness_ms": best.meta.staleness_ms,
        "with_seen": list(again.item_ids),
        "stranger": [list(stranger.item_ids), stranger.cold],
        "scores": [list(scores.scores), list(scores.known), scores.cold, scores.meta.batch_seq],
        "refused": refused,
        "generated": scorer_pb2.__file__,
        "ours": [name for name in OURS if name in sys.modules],
    }))
    '''
)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client and the code that protoc makes of the protos."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "protos").mkdir()
    for proto in PROTOS:
        (folder / proto).write_bytes((REPOSITORY / proto).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--python_out=.", "--grpc_python_out=.", *PROTOS],
        cwd=folder,
        check=True,
        timeout=60,
    )
    (folder / "client.py").write_text(CLIENT)
    return folder


def test_a_client_that_knows_only_the_protos_gets_its_answers(generated: Path, tmp_path: Path) -> None:
    writer, toy = RocksWriter(state_config(tmp_path), IDENTITY), ToyModel()
    toy.commit(writer, ["ann", "bob"], [f"film {i}" for i in range(20)])
    writer.heartbeat({TopicPartition(TOPIC, 0): time.time_ns() // 1_000_000})
    with ScorerProcess(tmp_path) as scorer:
        client = subprocess.run(
            [sys.executable, "client.py", scorer.address, "ann", "film 4", TOPIC],
            cwd=generated,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(generated)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    writer.close()
    assert client.returncode == 0, client.stderr
    heard = json.loads(client.stdout)
    scores = toy.scores("ann")
    assert heard["best"] == toy.best("ann", 3)
    assert heard["best_scores"] == pytest.approx([scores[name] for name in heard["best"]], abs=1e-4)
    assert heard["with_seen"] == toy.best("ann", 3, include_seen=True)
    assert heard["stranger"] == [toy.popular(2), True]
    assert heard["scores"] == [pytest.approx([scores["film 4"], 0.0], abs=1e-4), [True, False], False, 1]
    assert (heard["cold"], heard["version"], heard["batch_seq"]) == (False, str(writer.head().version), 1)
    assert heard["positions"] == [[TOPIC, 0, 1]]
    assert 0 <= heard["staleness_ms"] < 120_000
    code, message = heard["refused"]
    assert code == "FAILED_PRECONDITION"
    assert f"{TOPIC}/0 offset 1000000" in message
    assert "at offset 1 there" in message
    assert Path(heard["generated"]).is_relative_to(generated)
    assert heard["ours"] == [], "the client must not have imported the service's code"
