"""Records that no well-behaved client would send, written to a broker by hand.

Wire format: Kafka protocol, Produce request version 7 and record batch version 2.
"""

import socket
import struct
from collections.abc import Sequence

CRC32C_REVERSED = 0x82F63B78


def produce(
    address: str, topic: str, partition: int, value: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> None:
    """Append one record whose header names are any bytes; AssertionError if the broker refuses it."""
    batch = _batch(_record(value, headers))
    body = struct.pack(">hhi", -1, -1, 10_000)
    body += struct.pack(">i", 1) + _string(topic.encode())
    body += struct.pack(">iii", 1, partition, len(batch)) + batch
    request = struct.pack(">hhi", 0, 7, 1) + _string(b"raw") + body
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answers:
            answer = answers.read(struct.unpack(">i", answers.read(4))[0])
    error_at = 4 + 4 + 2 + len(topic) + 4 + 4
    (error,) = struct.unpack_from(">h", answer, error_at)
    assert error == 0, f"the broker answered with error {error}"


def _batch(record: bytes) -> bytes:
    attributes, last_delta, first_ms, last_ms = 0, 0, 1_700_000_000_000, 1_700_000_000_000
    checked = struct.pack(">hiqqqhii", attributes, last_delta, first_ms, last_ms, -1, -1, -1, 1) + record
    rest = struct.pack(">ibI", -1, 2, _crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(rest)) + rest


def _record(value: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    no_key = _varint(-1)
    body = b"\0" + _varint(0) + _varint(0) + no_key + _varint(len(value)) + value + _varint(len(headers))
    for name, content in headers:
        body += _varint(len(name)) + name + _varint(len(content)) + content
    return _varint(len(body)) + body


def _string(text: bytes) -> bytes:
    return struct.pack(">h", len(text)) + text


def _varint(number: int) -> bytes:
    """Zigzag, seven bits a byte."""
    left = (number << 1) ^ (number >> 63)
    encoded = b""
    while left > 0x7F:
        encoded += bytes([left & 0x7F | 0x80])
        left >>= 7
    return encoded + bytes([left])


def _crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit; its check value is 0xE3069283 for b"123456789"."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (CRC32C_REVERSED if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
