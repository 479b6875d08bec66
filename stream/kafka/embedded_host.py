"""The process of an embedded cluster: prints its addresses, and lives until its standard input ends."""

import os
import sys

import confluent_kafka as ck

ANSWER_TIMEOUT_S = 10.0

if __name__ == "__main__":
    # Warnings and worse: it would announce that it is no real cluster.
    host = ck.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "replaced", "log_level": 4})
    brokers = host.list_topics(timeout=ANSWER_TIMEOUT_S).brokers.values()
    print(",".join(f"{broker.host}:{broker.port}" for broker in brokers), flush=True)
    sys.stdin.read()
    os._exit(0)  # At once: destroying the cluster may abort the process.
