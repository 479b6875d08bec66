"""A real Apache Kafka broker for tests: one JVM, controller and broker in one, on loopback only.

    with KafkaBroker() as broker:
        broker.create_topic("events", partitions=4)
        ...  # {"bootstrap.servers": broker.bootstrap}
        broker.kill()     # SIGKILL
        broker.restart()  # same data, same address

The broker's jars come from its Maven artifacts into `.cache/kafka/` of the repository, once.
"""

import atexit
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from thread_states import is_stopped

KAFKA_VERSION = "4.1.1"
LOG4J_VERSION = "2.24.3"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kafka"
START_DEADLINE_S = 180.0
# Below the range the kernel gives to outgoing connections: a client that retries a stopped
# broker's port from inside that range can end up connected to itself and hold the port.
PORTS = range(15_000, 32_000)

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>livefactor.tests</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""

LOG4J = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


def skip_without_java() -> None:
    """Skip a test that needs the broker, loudly, where this machine cannot run it."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        pytest.skip("NO REAL KAFKA BROKER: `java` (17 or later) and `mvn` are needed to run these tests")


def kafka_jars() -> Path:
    """The folder with the broker's jars, resolved on first use; safe to call from several processes."""
    jars = CACHE / KAFKA_VERSION
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():
            _resolve(jars)
    return jars


def _resolve(jars: Path) -> None:
    """Let Maven copy the jars beside their place, then rename: a folder that exists is complete."""
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        Path(work, "pom.xml").write_text(POM)
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"Maven could not resolve Kafka {KAFKA_VERSION}:\n{done.stdout}{done.stderr}")
        Path(work, "jars").rename(jars)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    choose = random.SystemRandom()
    for _ in range(1_000):
        port = choose.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port in {PORTS}")


class KafkaBroker:
    """One broker process and its data; started by `start()` or by entering the context."""

    def __init__(
        self, settings: Mapping[str, str] | None = None, heap_mib: int = 512, port: int | None = None
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kafka-broker-"))
        self._port = port or free_port()
        self._controller_port = free_port()
        self._settings = dict(settings or {})
        self._heap_mib = heap_mib
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: AdminClient | None = None
        atexit.register(self.close)

    @property
    def bootstrap(self) -> str:
        """For `bootstrap.servers`; the same after a restart."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        if self._process is None:
            raise RuntimeError("the broker is not running")
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """What the broker printed."""
        return self._folder / "broker.log"

    def start(self, wait: bool = True) -> None:
        """Start the process; with `wait`, return only once it answers.

        On a starved machine Kafka's start may hang for good, its port closed: then once more.
        """
        if self._process is not None:
            raise RuntimeError("the broker is running already")
        if not (self._folder / "server.properties").exists():
            self._format()
        self._launch()
        try:
            if wait:
                self.wait_ready()
        except TimeoutError:
            self.kill()
            self._launch()
            self.wait_ready()

    def wait_ready(self, deadline_s: float = START_DEADLINE_S) -> None:
        """Return once the broker answers and takes new topics."""
        deadline = time.monotonic() + deadline_s
        while problem := self._problem():
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"the broker ended:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready after {deadline_s} s: {problem}\n{self._log_tail()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: no farewell to clients, nothing flushed."""
        self._end(signal.SIGKILL)

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Killed; when the block ends it comes back at the same address with the same data."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP: the kernel accepts connections, and nobody answers; it goes on when the block ends."""
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            self._wait(lambda: is_stopped(self.pid), "every thread to stop")
            yield
        finally:
            if self._process is not None:
                os.killpg(self.pid, signal.SIGCONT)
                self.wait_ready()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL if the broker has not ended after 20 s."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Stop if running, then start on the same data and address."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Kill the process and delete its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.close)

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create a topic and return once every partition has a leader."""
        self.wait_ready()
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        self._client().create_topics([topic], operation_timeout=120)[name].result(120)
        self._wait(lambda: self._led_partitions(name) == partitions, f"topic {name} to have leaders")
        self._wait(lambda: self._serves(name, partitions), f"topic {name} to be served")

    def delete_topic(self, name: str) -> None:
        """Delete a topic and return once it has gone from the metadata."""
        self._client().delete_topics([name], operation_timeout=120)[name].result(120)
        self._wait(lambda: self._led_partitions(name) is None, f"topic {name} to be gone")

    def configure_topic(self, name: str, config: Mapping[str, str]) -> None:
        """Change some settings of a topic that exists."""
        changes = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=changes)
        self._client().incremental_alter_configs([resource])[resource].result(120)

    def delete_records_before(self, topic: str, partition: int, offset: int) -> None:
        """Move the log's start to `offset`, as retention would."""
        target = TopicPartition(topic, partition, offset)
        for future in self._client().delete_records([target], operation_timeout=120).values():
            future.result(120)

    def __enter__(self) -> "KafkaBroker":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _client(self) -> AdminClient:
        if self._admin is None:
            quiet = {"log_level": 0, "reconnect.backoff.max.ms": 200, "topic.metadata.propagation.max.ms": 0}
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, **quiet})
        return self._admin

    def _led_partitions(self, name: str) -> int | None:
        """Number of partitions of a topic that have a leader; None when there is no such topic."""
        found = self._client().list_topics(timeout=10).topics.get(name)
        return None if found is None else sum(part.leader >= 0 for part in found.partitions.values())

    def _serves(self, name: str, partitions: int) -> bool:
        """Whether the leaders know that they lead, which metadata says a little earlier."""
        ends = {TopicPartition(name, partition): OffsetSpec.latest() for partition in range(partitions)}
        answers = self._client().list_offsets(ends, request_timeout=10).values()
        return all(answer.exception(10) is None for answer in answers)

    def _wait(self, done: Callable[[], bool], what: str, deadline_s: float = 120.0) -> None:
        deadline = time.monotonic() + deadline_s
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {deadline_s} s for {what}")
            time.sleep(0.02)

    def _problem(self) -> str | None:
        """Why the port is not open, no broker answers there, or it could not hold a new topic."""
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            if (count := len(self._client().list_topics(timeout=2).brokers)) != 1:
                return f"{count} brokers"
            probe = NewTopic("probe", num_partitions=1, replication_factor=1)
            self._client().create_topics([probe], request_timeout=2, validate_only=True)["probe"].result(10)
        except (OSError, KafkaException) as error:
            self._admin = None  # one whose requests timed out may go on so for ever, whatever the broker does
            return str(error)
        return None

    def _java(self, main: str, arguments: Sequence[str]) -> list[str]:
        # setpriv lets the kernel end the JVM with us, even where this process is killed itself.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        options = [
            f"-Xmx{self._heap_mib}m",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            "-Djava.net.preferIPv4Stack=true",
        ]
        config = f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}"
        return [*guard, "java", *options, config, "-cp", f"{kafka_jars()}/*", main, *arguments]

    def _launch(self) -> None:
        self._process = self._spawn(self._java("kafka.Kafka", [str(self._folder / "server.properties")]))

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )

    def _format(self) -> None:
        """Write the configuration and format the storage, once for the life of the data."""
        (self._folder / "log4j2.properties").write_text(LOG4J)
        properties = self._folder / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
        cluster = ["format", "--cluster-id", "bGl2ZWZhY3Rvci10ZXN0cw", "--config", str(properties)]
        formatter = self._spawn(self._java("kafka.tools.StorageTool", cluster))
        if formatter.wait(timeout=START_DEADLINE_S) != 0:
            properties.unlink()
            raise RuntimeError(f"the storage could not be formatted:\n{self._log_tail()}")

    def _properties(self) -> dict[str, str]:
        broker = f"PLAINTEXT://{self.bootstrap}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{broker},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": broker,
            "log.dirs": str(self._folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.segment.delete.delay.ms": "100",
            # Tests write records of years ago, which would be gone at once whenever the broker cleans up.
            "log.retention.ms": "-1",
            "num.io.threads": "2",
            "num.network.threads": "1",
            # How long a restarted broker waits for its killed self's registration to lapse (default 9 s), and
            # how long it may get no turn on a busy machine until it counts as gone.
            "broker.session.timeout.ms": "4000",
            "broker.heartbeat.interval.ms": "300",
            **self._settings,
        }

    def _end(self, how: signal.Signals) -> None:
        """Signal the process group and reap the process."""
        process, self._process = self._process, None
        if process is None:
            return
        for number in (how, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
            try:
                process.wait(timeout=20)
                break
            except subprocess.TimeoutExpired:
                continue

    def _log_tail(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []
        return "\n".join(lines[-30:])
