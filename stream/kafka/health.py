"""What keeps records from arriving, pieced together from librdkafka's errors and statistics."""

import time
from collections.abc import Mapping
from typing import Any

import confluent_kafka as ck

from state.store import TopicPartition
from stream.source import Held

SILENCE_MAX_S = 5.0

HELD_MAX_S = 10.0
"""An open transaction that holds back records for longer is a problem."""


class Health:
    """What is known to keep records from arriving.

    `connection`: no broker can be talked to; cleared by statistics that show one.
    `refusal`: a broker answers, but not with records; cleared by records or the end of a partition.
    `suspects`: topics that may be gone, to be asked about.
    `held`: what open transactions keep from being read, as of the latest statistics.
    """

    def __init__(self) -> None:
        self.connection: str | None = None
        self.refusal: str | None = None
        self.suspects: set[str] = set()
        self._silent: set[TopicPartition] = set()
        self.held: dict[TopicPartition, Held] = {}

    def problem(self, servers: str) -> str | None:
        """One sentence for an operator, or None."""
        if self.connection is not None:
            return f"no records from {servers}: {self.connection}; waiting for it"
        if self.refusal is not None:
            return self.refusal
        now_s = time.monotonic()
        for where, held in self.held.items():
            if now_s - held.since_s > HELD_MAX_S:
                return held.describe(where, now_s)
        return None

    def take_suspects(self) -> set[str]:
        """The topics to ask about; each is handed out once."""
        taken, self.suspects = self.suspects, set()
        return taken

    def note_error(self, error: ck.KafkaError) -> None:
        """librdkafka's `error_cb`: brokers that cannot be reached, addressed or logged in to."""
        self.connection = error.str()

    def note_statistics(self, statistics: Mapping[str, Any], positions: Mapping[TopicPartition, int]) -> None:
        """librdkafka's `stats_cb`, once a second: the state of each broker and partition in use."""
        brokers = {
            broker["nodeid"]: broker for broker in statistics["brokers"].values() if broker["nodeid"] >= 0
        }
        before, self._silent = self._silent, set()
        troubles = []
        held_before, self.held = self.held, {}
        for where, position in positions.items():
            partition = _partition_statistics(statistics, where)
            trouble = _broker_trouble(brokers.get(partition.get("broker", -1)))
            if trouble is not None:
                troubles.append(f"topic {where.topic} partition {where.partition}: {trouble}")
            elif partition["hi_offset"] == -1:
                self._silent.add(where)
            elif partition["ls_offset"] <= position < partition["hi_offset"]:
                known = held_before.get(where)
                since_s = known.since_s if known and known.first == position else time.monotonic()
                self.held[where] = Held(position, partition["hi_offset"], since_s)
        self.connection = troubles[0] if troubles else None
        # Fetches of a deleted topic fail without a word: its end is just unknown again, and stays so.
        self.suspects.update(where.topic for where in self._silent & before)


def _partition_statistics(statistics: Mapping[str, Any], where: TopicPartition) -> Mapping[str, Any]:
    topic = statistics["topics"].get(where.topic, {"partitions": {}})
    found: Mapping[str, Any] = topic["partitions"].get(str(where.partition), {})
    return found


def _broker_trouble(broker: Mapping[str, Any] | None) -> str | None:
    """What is wrong with the broker that leads a partition, from librdkafka's statistics of it."""
    if broker is None:
        return "no broker leads it"
    if broker["state"] != "UP":
        return f"broker {broker['name']} is not connected"
    silent_s = broker["rxidle"] / 1e6
    if broker["waitresp_cnt"] > 0 and silent_s > SILENCE_MAX_S:
        return f"broker {broker['name']} has not answered for {silent_s:.0f} s"
    return None
