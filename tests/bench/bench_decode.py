"""What decoding costs for each record, against parsing and reading it with the protobuf library.

The records are what an application sends: two short ids, a type, a value, a time, and the user as key.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import orjson

from protos.events_pb2 import Interaction
from stream.config import DecodeConfig
from stream.events import Records
from stream.intake.decode import Decoder

RECORDS = 10_000
ROUNDS = 30
NOW_MS = 1_700_000_000_000


def typical_interactions() -> list[Interaction]:
    """Users of 8 bytes, items of 7."""
    random = np.random.default_rng(1)
    return [
        Interaction(
            user_id=f"u{random.integers(10**7):07d}",
            item_id=f"i{random.integers(10**6):06d}",
            event_type="click",
            value=float(random.integers(1, 6)),
            event_time_ms=NOW_MS + k,
        )
        for k in range(RECORDS)
    ]


def as_records(values: Sequence[bytes], keys: Sequence[bytes]) -> Records:
    """One partition's records without headers."""
    n = len(values)
    return Records(
        topic="interactions",
        values=values,
        keys=keys,
        headers=[None] * n,
        partitions=np.zeros(n, np.int32),
        offsets=np.arange(n, dtype=np.int64),
        timestamps_ms=np.full(n, NOW_MS, np.int64),
    )


def as_json(interaction: Interaction) -> bytes:
    """The same fields as a JSON object."""
    return orjson.dumps({field.name: content for field, content in interaction.ListFields()})


def read_with_library(values: Sequence[bytes]) -> list[tuple[str, str, str, float, int, str]]:
    """The least that anyone does without a decoder of their own; nothing is checked."""
    rows = []
    for value in values:
        message = Interaction.FromString(value)
        rows.append(
            (
                message.user_id,
                message.item_id,
                message.event_type,
                message.value,
                message.event_time_ms,
                message.event_id,
            )
        )
    return rows


def record_us(work: Callable[[], object]) -> float:
    """Microseconds of processor time for each record."""
    start_s = time.process_time()
    work()
    return (time.process_time() - start_s) / RECORDS * 1e6


def main() -> None:
    """Measure, and print the result as `run.py` wants it."""
    interactions = typical_interactions()
    keys = [interaction.user_id.encode() for interaction in interactions]
    values = [interaction.SerializeToString() for interaction in interactions]
    decoder = Decoder(DecodeConfig())
    usual = as_records(values, keys)
    unusual = as_records([value + b"\x80\x01\x00" for value in values], keys)  # an unknown field, 16
    in_json = as_records([as_json(interaction) for interaction in interactions], keys)

    works: dict[str, Callable[[], object]] = {
        "protobuf_us": lambda: decoder.decode(usual),
        "library_us": lambda: read_with_library(values),
        "protobuf_slow_way_us": lambda: decoder.decode(unusual),
        "json_us": lambda: decoder.decode(in_json),
    }
    for work in works.values():
        work()
    # In turns, so that whatever else the machine does falls on all of them.
    rounds = [{name: record_us(work) for name, work in works.items()} for _ in range(ROUNDS)]
    detail = {name: float(np.median([costs[name] for costs in rounds])) for name in works}
    for name, cost_us in detail.items():
        print(f"{name:24} {cost_us:7.3f}", file=sys.stderr)
    figure = "records decoded per second ÷ parsed and read with the protobuf library"
    ratio = float(np.median([costs["library_us"] / costs["protobuf_us"] for costs in rounds]))
    print(json.dumps([{"figure": figure, "ratio": ratio, "must": 2.0, "aim": 3.0, "detail": detail}]))


if __name__ == "__main__":
    main()
