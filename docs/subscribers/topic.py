"""Print drift events from their topic, each once: python topic.py 127.0.0.1:9092 [TOPIC]"""

import sys

from confluent_kafka import Consumer

from protos.events_pb2 import DriftEvent, Severity

servers, *topics = sys.argv[1:]
consumer = Consumer(
    {
        "bootstrap.servers": servers,
        "group.id": "drift-printer",
        "auto.offset.reset": "earliest",
        "enable.auto.offset.store": False,
    }
)
consumer.subscribe(topics or ["livefactor.drift.v1"])
seen: set[str] = set()
while True:
    message = consumer.poll(1.0)
    if message is None or message.error():
        continue
    about = {name: value.decode() for name, value in message.headers() or ()}
    # Answers to commands come on the same topic; and what was sent just before a crash comes again.
    if about.get("ce-type") == "livefactor.v1.DriftEvent" and about["ce-id"] not in seen:
        seen.add(about["ce-id"])
        event = DriftEvent.FromString(message.value())
        print(f"{Severity.Name(event.severity)} {event.reason}: {event.message}", flush=True)
    consumer.store_offsets(message)
