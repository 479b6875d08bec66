"""Biased matrix factorisation by SGD in Quix Streams: user rows in its RocksDB state, item rows in memory.

    python quix_job.py BOOTSTRAP TOPIC FOLDER EVENTS

Runs in an environment of its own that has `quixstreams`, `protobuf` and `numpy`. Rows are stored as bytes
(its JSON values would cost more) without a changelog. Prints {"events": N, "seconds": S} from the first
event's arrival to the end of the last one's step.
"""

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
from quixstreams import Application
from quixstreams.state import State

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from protos.events_pb2 import Interaction

RANK = 64
STEP, STEP_BIAS = np.float32(0.05), np.float32(0.025)


class Job:
    """The model and the clock. A row is its vector and then its bias."""

    def __init__(self) -> None:
        self.items: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(1)
        self.sum, self.events = 0.0, 0
        self.start_s = self.end_s = 0.0

    def learn(self, value: bytes, state: State) -> None:
        """One step for one event of the state's user."""
        if not self.events:
            self.start_s = time.perf_counter()
        event = Interaction.FromString(value)
        stored = state.get_bytes("row")
        user = self.fresh_row() if stored is None else np.frombuffer(stored, np.float32).copy()
        item = self.items.get(event.item_id)
        if item is None:
            item = self.items[event.item_id] = self.fresh_row()
        self.sum += event.value
        self.events += 1
        p, q = user[:RANK], item[:RANK]
        error = np.float32(event.value - self.sum / self.events - (p @ q) - user[RANK] - item[RANK])
        before = p.copy()
        p += STEP * error * q
        q += STEP * error * before
        user[RANK] += STEP_BIAS * error
        item[RANK] += STEP_BIAS * error
        state.set_bytes("row", user.tobytes())
        self.end_s = time.perf_counter()

    def fresh_row(self) -> np.ndarray:
        row = (0.1 * self.random.standard_normal(RANK + 1)).astype(np.float32)
        row[RANK] = 0
        return row


def main(bootstrap: str, topic: str, folder: str, events: int) -> None:
    logging.disable(logging.INFO)
    application = Application(
        broker_address=bootstrap,
        consumer_group="quix-job",
        auto_offset_reset="earliest",
        state_dir=folder,
        use_changelog_topics=False,
    )
    job = Job()
    source = application.topic(topic, key_deserializer="bytes", value_deserializer="bytes")
    application.dataframe(source).update(job.learn, stateful=True)
    application.run(count=events)
    print(json.dumps({"events": job.events, "seconds": job.end_s - job.start_s}))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
