"""Whether RocksDB's list of its own files, the MANIFEST, is whole.

RocksDB 9 reads a MANIFEST without end, in a call that keeps Python's lock, if the type of a record was
turned into that of a recycled log. So types and checksums are looked at before it is opened. The file has
RocksDB's log format (https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format): blocks of 32 KiB
with records of

    masked CRC-32C of type and data (4 bytes) | length of data (2) | type (1) | data
"""

import struct
from pathlib import Path

import google_crc32c

from state.errors import StoreCorruptError

RESTORE_ADVICE = "restore a checkpoint from versions/, or delete the store and relearn"
BLOCK_BYTES = 32 << 10
_HEADER = struct.Struct("<IHB")
_CRC_AT = 6
_PADDING = 0
_TYPES = range(1, 5)


def require_whole_manifest(database: Path) -> None:
    """Compare the checksums of the MANIFEST that CURRENT names; without one there is nothing to compare.

    What was cut off at its end, as a power cut or a write under way does, is left to RocksDB.

    Raises:
        StoreCorruptError: a record is not what was written.
    """
    try:
        name = (database / "CURRENT").read_bytes().strip().decode("ascii", "replace")
        manifest = (database / name).open("rb")
    except (OSError, ValueError):
        return
    with manifest:
        block_at = 0
        while block := manifest.read(BLOCK_BYTES):
            damaged_at = _damage(block)
            if damaged_at is not None:
                raise StoreCorruptError(
                    f"{database / name} is damaged at byte {block_at + damaged_at}: {RESTORE_ADVICE}"
                )
            block_at += len(block)


def _damage(block: bytes) -> int | None:
    """Where the first record of a block lies that is not what was written."""
    at = 0
    while at + _HEADER.size <= len(block):
        crc, length, kind = _HEADER.unpack_from(block, at)
        if kind == _PADDING and length == 0:
            return None
        if kind not in _TYPES:
            return at
        end = at + _HEADER.size + length
        if end > len(block):
            return None if len(block) < BLOCK_BYTES else at
        if crc != _masked(google_crc32c.value(block[at + _CRC_AT : end])):
            return at
        at = end
    return None


def _masked(crc: int) -> int:
    """As RocksDB stores a CRC, so that the CRC of data with CRCs in it is of use."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
