"""A learner whose log and, unless another is given, whose store are in memory."""

import threading

from memory_log import MemoryLog, MemorySink, MemorySource
from pipeline import CONTROL, DLQ, DRIFT, INTERACTIONS, event, small_settings

from state.memory import MemoryStore
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
