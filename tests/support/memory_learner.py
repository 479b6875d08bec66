"""Learners whose log is in memory; so is the store of one, unless another is given, and that of a lasting
one is in a directory."""

import threading
from contextlib import closing

from memory_log import MemoryLog, MemorySink, MemorySource
from pipeline import CONTROL, DLQ, DRIFT, INTERACTIONS, command, event, in_directory, small_settings

from protos.events_pb2 import COMMAND_ACTION_ROLLBACK, CommandResult
from state.memory import MemoryStore
from state.rocksdb.reader import RocksReader
from state.rocksdb.writer import RocksWriter, no_probe
from stream.lineage.identity import identity
from stream.lineage.rollback import roll_back
from stream.lineage.verify import verify
from stream.loop import Loop


class Learner:
    """A log, a store, and loops over them."""

    def __init__(self, store=None, **sections):
        self.settings = small_settings(**sections)
        self.log = MemoryLog()
        for topic, partitions in ((INTERACTIONS, 3), (CONTROL, 1), (DLQ, 2), (DRIFT, 1)):
            self.log.create_topic(topic, partitions)
        self.store = store or MemoryStore()
        self.source = MemorySource(self.log, (INTERACTIONS, CONTROL))
        self.sink = MemorySink(self.log)

    def publish(self, count, start=0):
        for n in range(start, start + count):
            self.log.append(INTERACTIONS, n % 3, event(f"u{n % 20}", f"i{n % 7}"), b"k")

    def loop(self, **options):
        return Loop(self.settings, self.source, self.sink, self.store, **options)

    def until_end(self, **options):
        loop = self.loop(**options)
        loop.run(threading.Event(), until_end=True)
        return loop

    def dead(self):
        return [record for partition in range(2) for record in self.log.read(DLQ, partition)]


class LastingLearner(Learner):
    """One whose runs are processes of their own, as it were."""

    def __init__(self, directory, **sections):
        super().__init__(**sections)
        self.settings = in_directory(self.settings, directory / "state")
        self.directory, self.verified, self.probe = directory, 0, no_probe

    def roll_back(self, version, command_id="c1", **fields):
        """Ask for it, and learn up to where it is carried out; the answer, which is on its way then."""
        order = command(COMMAND_ACTION_ROLLBACK, command_id, version=str(version or ""), **fields)
        self.log.append(CONTROL, 0, order, b"k")
        self.learn()
        with closing(RocksWriter(self.settings.state, identity(self.settings))) as store:
            roll_back(
                self.settings, store, MemorySource(self.log, (INTERACTIONS, CONTROL)).limits, self.probe
            )
        with closing(RocksReader(self.settings.state.directory)) as reader:
            *_, (_, last) = reader.outbox()
        return CommandResult.FromString(last.value)

    def learn(self, turns=None, **options):
        """The engine after a run to the present end, or after so many turns and nothing else: a kill."""
        self.store = RocksWriter(self.settings.state, identity(self.settings))
        try:
            if turns is None:
                return self.until_end(**options).engine
            loop, stop = self.loop(**options), threading.Event()
            assert loop._start(stop)
            for _ in range(turns):
                loop._turn(stop)
            return loop.engine
        finally:
            self.store.close()

    def command(self, *actions):
        for action in actions:
            self.log.append(CONTROL, 0, command(action), b"default")

    def told(self, message):
        """Events of a kind that have left, by the class of their message."""
        kind = message.DESCRIPTOR.full_name.encode()
        return [
            message.FromString(record.value)
            for record in self.log.read(DRIFT)
            if dict(record.headers)["ce-type"] == kind
        ]

    def verify(self, **sections):
        """What a replay comes to, with other sections of settings than its own."""
        self.verified += 1
        source = MemorySource(self.log, (INTERACTIONS, CONTROL))
        settings = self.settings.model_copy(update=sections)
        return verify(settings, source, self.directory / f"scratch{self.verified}")
