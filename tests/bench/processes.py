"""The learner and the scorer as an operator runs them: processes of their own, told apart by their logs."""

import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition
from workload import Speed, fill, uniform

from livefactor.client import Client
from livefactor.demo.children import Child
from livefactor.settings import Settings, load, to_toml
from state.errors import ScorerError
from stream.kafka import create_topics
from stream.run import group

READY_S = 120.0
POLL_S = 0.002
GROUP_POLL_S = 0.1
EVENTS_PER_S_MIN = 5_000

T = TypeVar("T")


class Service:
    """One model's settings, and its processes as long as the block lasts."""

    def __init__(self, folder: Path, bootstrap: str, overrides: Sequence[str]) -> None:
        self.folder = folder
        self.settings: Settings = load(
            None,
            {},
            [
                f"kafka.bootstrap.servers={bootstrap}",
                f"state.directory={folder / 'state'}",
                "serving.listen=127.0.0.1:0",
                *overrides,
            ],
        )
        self.bootstrap = bootstrap
        self.config = folder / "livefactor.toml"
        self.config.write_text(to_toml(self.settings))
        create_topics(self.settings.kafka, self.settings.topics)
        self._children: list[Child] = []
        self._group: Consumer | None = None

    @property
    def topic(self) -> str:
        return self.settings.topics.interactions

    def start(self, command: str, *flags: str) -> "Process":
        """Run `livefactor COMMAND`."""
        process = Process(self, f"{command}-{len(self._children)}", command, flags)
        self._children.append(process.child)
        return process

    def stop(self) -> None:
        for child in self._children:
            child.stop()
        if self._group is not None:
            self._group.close()

    def learn_to_end(self, events: int) -> tuple[Speed, "Process"]:
        """Learn what is in the topic: so many events.

        Timed from just before the first poll (the log's "learning") to the end of the last flush and sync
        (the log's "stopped"): loading compiled kernels is in it, starting Python and opening the store are
        not. Processor time is the whole process's.
        """
        used_s = _children_cpu_s()
        process = self.start("learn", "--until-end")
        if process.child.wait(3_600.0) != 0:
            raise RuntimeError(process.child.log_tail())
        cpu_s = _children_cpu_s() - used_s
        elapsed_s = process.logged_s("stopped") - process.logged_s("learning")
        return Speed(events / elapsed_s, cpu_s / events * 1e6), process

    def positions(self) -> Mapping[int, int]:
        """Next offset of each partition as the learner told Kafka, at most a second ago."""
        if self._group is None:
            self._group = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group(self.settings)})
        wanted = [
            TopicPartition(self.topic, partition) for partition in range(self.settings.topics.partitions)
        ]
        return {each.partition: max(each.offset, 0) for each in self._group.committed(wanted, timeout=10)}

    def wait_until_applied(self, learner: "Process", events: int) -> None:
        """Return once the learner has learnt so many events in all."""

        def reached() -> bool | None:
            try:
                return sum(self.positions().values()) >= events or None
            except KafkaException:  # Kafka makes the group's topic when it is first asked about
                return None

        learner.until(reached, events / EVENTS_PER_S_MIN + READY_S, GROUP_POLL_S)


class Process:
    """A learner or a scorer that runs."""

    def __init__(self, service: Service, name: str, command: str, flags: Sequence[str]) -> None:
        self._log = service.folder / f"{name}.log"
        self.started_s = time.time()
        self.child = Child(name, (command, *flags, "--config", str(service.config)), self._log)

    def address(self) -> str:
        """Where a scorer listens."""
        return self.child.first_line(READY_S).removeprefix("listening on ")

    def logged(self) -> Iterator[tuple[str, float]]:
        """(event, seconds since the epoch) of each complete line of the log."""
        for line in self._log.read_text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                entry = json.loads(line)
                yield entry["event"], datetime.fromisoformat(entry["timestamp"]).timestamp()

    def logged_s(self, event: str) -> float:
        """When an event was first logged; waits for it."""
        return self.until(lambda: next((at for name, at in self.logged() if name == event), None))

    def until(self, look: Callable[[], T | None], timeout_s: float = READY_S, poll_s: float = POLL_S) -> T:
        """What `look` finds, as soon as it finds something. Raises ChildFailedError if the process ends."""
        deadline_s = time.monotonic() + timeout_s
        while (found := look()) is None:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"waited {timeout_s} s{self.child.log_tail()}")
            self.child.check()
            time.sleep(poll_s)
        return found

    def memory_bytes(self) -> dict[str, int]:
        """Resident memory now, its anonymous part, and the most there ever was."""
        lines = Path(f"/proc/{self.child.process_id}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        names = {"resident": "VmRSS", "anonymous": "RssAnon", "peak": "VmHWM"}
        return {name: int(fields[field].split()[0]) * 1024 for name, field in names.items()}


@contextmanager
def service(bootstrap: str, *overrides: str) -> Iterator[Service]:
    """A service of its own in a temporary folder, on topics of its own."""
    with TemporaryDirectory(prefix="livefactor-bench-") as folder:
        name = Path(folder).name.removeprefix("livefactor-bench-")
        topics = [
            f"topics.{topic}={name}.{topic}" for topic in ("interactions", "dlq", "items", "control", "drift")
        ]
        running = Service(Path(folder), bootstrap, [f"model.name={name}", *topics, *overrides])
        try:
            yield running
        finally:
            running.stop()


def warm_up(bootstrap: str, *overrides: str) -> None:
    """Have the kernels compiled and cached: what is measured is not a first installation."""
    with service(bootstrap, *overrides) as small:
        events = uniform(1_000, 200, 20_000, seed=0)
        fill(small.bootstrap, small.topic, events)
        small.learn_to_end(len(events))
        scorer = small.start("serve")
        with Client(scorer.address()) as client:
            scorer.until(lambda: answered(client, "u1"))


def answered(client: Client, user_id: str) -> bool | None:
    """Whether the user is known to the scorer; None while it cannot answer."""
    try:
        return not client.score(user_id, ["i0"]).cold
    except ScorerError as error:
        if error.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            raise
        return None


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
