"""Print drift events as the scorer tells them, errors only: python watch.py 127.0.0.1:50051 [AFTER_ID]"""

import sys

from livefactor import Client

address, *after = sys.argv[1:]
with Client(address) as client:
    for event in client.watch_drift(*after, min_severity="error"):
        print(f"{event.reason}: {event.message}", flush=True)
        for where in event.positions:
            print(f"  since {where.topic}/{where.partition} offset {where.offset}", flush=True)
