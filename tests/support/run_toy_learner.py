"""A learner that commits some batches and waits to be killed: `run_toy_learner.py DIRECTORY BATCHES`."""

import signal
import sys
import time
from pathlib import Path

from toy_model import IDENTITY, TOPIC, ToyModel, state_config

from state.rocksdb.writer import RocksWriter
from state.store import TopicPartition


def main() -> None:
    writer = RocksWriter(state_config(Path(sys.argv[1])), IDENTITY)
    toy = ToyModel()
    for _ in range(int(sys.argv[2])):
        toy.commit(writer, [f"u{toy.batch_seq}"], [f"i{toy.batch_seq}"])
        if toy.batch_seq == 3:
            toy.flush(writer)
    writer.heartbeat({TopicPartition(TOPIC, 0): time.time_ns() // 1_000_000})
    print("committed", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
