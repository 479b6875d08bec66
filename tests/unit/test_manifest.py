"""A MANIFEST of RocksDB is whole, or is refused before RocksDB reads it."""

import random
import shutil
from pathlib import Path

import pytest
from rocksdict import AccessType, Options, Rdict

from state.errors import StoreCorruptError
from state.rocksdb.database import open_database
from state.rocksdb.manifest import BLOCK_BYTES, require_whole_manifest

FLIPS, SEED = 2_000, 4
TYPE_AT = 6


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a MANIFEST of more than two blocks."""
    path = tmp_path_factory.mktemp("manifest") / "database"
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    opened = Rdict(str(path), options)
    while manifest_of(path).stat().st_size < 2.5 * BLOCK_BYTES:
        opened[b"k" * 2_000] = b"v"
        opened.flush()
    opened.close()
    return path


@pytest.fixture
def damaged(database: Path, tmp_path: Path) -> Path:
    """A copy without the tables, to be damaged."""
    copy = tmp_path / "database"
    copy.mkdir()
    for name in ("CURRENT", manifest_of(database).name):
        shutil.copy(database / name, copy)
    return copy


def manifest_of(path: Path) -> Path:
    return path / (path / "CURRENT").read_text().strip()


def refused(path: Path) -> bool:
    try:
        require_whole_manifest(path)
    except StoreCorruptError:
        return True
    return False


def test_what_rocksdb_wrote_is_whole(database: Path) -> None:
    require_whole_manifest(database)


def test_any_flipped_bit_but_one_that_hides_the_rest_is_found(damaged: Path) -> None:
    """A length that reaches beyond the end looks like a write under way; RocksDB judges that."""
    chance = random.Random(SEED)
    manifest = manifest_of(damaged)
    whole = manifest.read_bytes()
    missed = 0
    for _ in range(FLIPS):
        content = bytearray(whole)
        at = chance.randrange(len(content))
        content[at] ^= 1 << chance.randrange(8)
        manifest.write_bytes(content)
        if not refused(damaged):
            missed += 1
            assert at > len(content) - BLOCK_BYTES, f"seed {SEED}: a flip at byte {at} of {len(content)}"
    assert missed < FLIPS / 100


def test_a_manifest_cut_anywhere_is_for_rocksdb_to_judge(damaged: Path) -> None:
    chance = random.Random(SEED)
    manifest = manifest_of(damaged)
    whole = manifest.read_bytes()
    for _ in range(100):
        manifest.write_bytes(whole[: chance.randrange(len(whole))])
        require_whole_manifest(damaged)


@pytest.mark.parametrize("content", [b"", b"MANIFEST-none\n", b"\xff\x00/\n", b"../..\n"])
def test_a_pointer_to_nothing_is_for_rocksdb_to_judge(damaged: Path, content: bytes) -> None:
    (damaged / "CURRENT").write_bytes(content)
    require_whole_manifest(damaged)


def test_the_type_that_keeps_rocksdb_busy_for_ever_is_refused(damaged: Path) -> None:
    """That of a full record in a recycled log."""
    manifest = manifest_of(damaged)
    content = bytearray(manifest.read_bytes())
    content[TYPE_AT] = 5
    manifest.write_bytes(content)
    with pytest.raises(StoreCorruptError, match=r"MANIFEST-\d+ is damaged at byte 0: restore"):
        open_database(damaged, AccessType.read_write())
