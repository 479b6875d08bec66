"""Interactions from Parquet files, which the extra `parquet` (pyarrow) reads."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from livefactor.file_layout import LOOKED_AT, Layout, Wanted, named_layout
from state.errors import PublishError

BATCH_ROWS = 10_000


def parquet_layout(path: Path, wanted: Wanted) -> Layout:
    """The layout by the names of the columns and the first rows; rows are numbered from 1."""
    file = _open(path)
    names = tuple(file.schema_arrow.names)
    return named_layout("parquet", str(path), names, list(islice(_rows(file, names), LOOKED_AT)), wanted)


def parquet_rows(path: Path, layout: Layout) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Every row with its number, as the cells of the columns that are read."""
    yield from enumerate(_rows(_open(path), tuple(layout.columns.values())), start=1)


def _open(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise PublishError(f"{path}: Parquet files need pyarrow: pip install 'livefactor[parquet]'") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise PublishError(f"{path}: the Parquet file is damaged: {error}") from error


def _rows(file: Any, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(BATCH_ROWS, columns=list(names)):
        yield from batch.to_pylist()
