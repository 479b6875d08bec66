"""What a consumer cannot ask, or not at once: which log this is, and where it ends with all transactions."""

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import confluent_kafka as ck
from confluent_kafka import admin

from state.errors import BrokerUnreachableError
from state.store import TopicPartition
from stream.kafka.client import Setting, client_settings, make_client, servers_of, unreachable
from stream.kafka.complaints import Complaints
from stream.source import LogIdentity

REACH_MAX_S = 4.0
"""How long a broker may take to answer the first time."""

FIRST_ATTEMPT_S = 0.5
"""How long the first question waits; the next ones wait twice as long each, for brokers that are slow."""

SETTINGS_TRIED_S = 1.0
"""How long settings are tried that a broker refuses: it may be starting."""

LISTENER_MAX_S, LISTENERS_TRIED = 1.0, 3
"""How long a connection may take, and how many brokers are tried."""


class Inquiry:
    """Questions to the brokers, over a connection that is made for the first of them.

    A consumer's own wait behind its fetches, half a second and more.

    Raises KafkaException where there is no answer in time.
    """

    def __init__(self, kafka: Mapping[str, Setting]) -> None:
        self._kafka = kafka
        self._made: admin.AdminClient | None = None
        self._complaints = Complaints()

    def require_broker(self, wait_s: float = REACH_MAX_S) -> None:
        """Return as soon as a broker answers that can be reached where it says to be.

        Raises BrokerUnreachableError with the reason, at once where settings are what is wrong.
        """
        servers, attempt_s = servers_of(self._kafka), FIRST_ATTEMPT_S
        deadline_s = time.monotonic() + wait_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if self._complaints.is_of_settings and left_s < wait_s - SETTINGS_TRIED_S:
                break
            try:
                found = self.client.list_topics(timeout=min(left_s, attempt_s))
            except ck.KafkaException:
                attempt_s *= 2
                self._hear()
                continue
            if found.brokers:
                _require_listener([(str(each.host), each.port) for each in found.brokers.values()], servers)
                return
            self.client.poll(FIRST_ATTEMPT_S)
        raise unreachable("asking which brokers there are", servers, self._complaints.describe())

    def complaint(self, wait_s: float) -> str:
        """Why no broker answers, as far as an attempt of that length tells; nothing if one does."""
        with suppress(ck.KafkaException):
            self.client.list_topics(timeout=wait_s)
            return ""
        self._hear()
        return self._complaints.describe()

    def _hear(self) -> None:
        """Have librdkafka tell what went wrong."""
        while self.client.poll(0):
            pass

    def limits(
        self, partitions: Sequence[TopicPartition], wait_s: float
    ) -> dict[TopicPartition, tuple[int, int]]:
        """(first offset kept, next offset to be written) of each partition.

        A consumer that reads only what is committed is told an earlier end: where the first open
        transaction begins.
        """
        specs = admin.OffsetSpec  # type: ignore[attr-defined]
        firsts, ends = (
            self.client.list_offsets(
                {ck.TopicPartition(*where): spec for where in partitions},
                isolation_level=ck.IsolationLevel.READ_UNCOMMITTED,
                request_timeout=wait_s,
            )
            for spec in (specs.earliest(), specs.latest())  # type: ignore[no-untyped-call]
        )
        return {
            where: (
                firsts[ck.TopicPartition(*where)].result().offset,
                ends[ck.TopicPartition(*where)].result().offset,
            )
            for where in partitions
        }

    def identity(self, topics: Sequence[str], wait_s: float) -> LogIdentity:
        """The ids of the cluster and of these topics, as far as the brokers know any."""
        metadata = self.client.list_topics(topics[0], timeout=wait_s)
        if metadata.controller_id not in metadata.brokers:
            return LogIdentity(metadata.cluster_id or "", {})
        asked = self.client.describe_topics(ck.TopicCollection(list(topics)), request_timeout=wait_s)
        ids = {topic: answer.result().topic_id for topic, answer in asked.items()}
        known = {topic: str(found) for topic, found in ids.items() if found.get_least_significant_bits()}
        return LogIdentity(metadata.cluster_id or "", known)

    def close(self) -> None:
        """Let go of sockets and threads."""
        self._made = None

    @property
    def client(self) -> admin.AdminClient:
        """What asks; it creates no topic by asking about it."""
        if self._made is None:
            settings = {
                **client_settings(self._kafka, {}, {}),
                "allow.auto.create.topics": False,
                "error_cb": self._complaints.note,
            }
            self._made = make_client(admin.AdminClient, settings, self._complaints)
        return self._made


def require_broker(kafka: Mapping[str, Setting]) -> None:
    """What a command begins with: see `Inquiry.require_broker`."""
    Inquiry(kafka).require_broker()


def _require_listener(brokers: Sequence[tuple[str, int]], servers: str) -> None:
    """That one of the first brokers accepts connections where it says to be reached.

    Raises BrokerUnreachableError if none does: then their listeners are set up for others than us.
    """
    problems = []
    for host, port in brokers[:LISTENERS_TRIED]:
        try:
            socket.create_connection((host, port), LISTENER_MAX_S).close()
        except OSError as error:
            problems.append(f"{host}:{port} ({error.strerror or error})")
        else:
            return
    raise BrokerUnreachableError(
        f"the broker at {servers} answers, but says to be reached at {', '.join(problems)}, where nobody "
        "answers: correct the broker's advertised.listeners, or make that address known here"
    )
