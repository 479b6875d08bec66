"""Copying bytes between arrays at the speed of memory.

Packing a row copies a few hundred bytes out of as many columns; a compiled loop over bytes does that at a
fourteenth of the speed of the processor's own copy (1.45 against 0.10 microseconds for 276 bytes).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from state.arrays import U8

Number = TypeVar("Number", bound=np.generic)


def grown(array: npt.NDArray[Number], needed: int) -> npt.NDArray[Number]:
    """A copy with room for `needed` elements and a quarter more; what is not written costs no memory."""
    larger = np.zeros(needed + needed // 4, array.dtype)
    larger[: len(array)] = array
    return larger


def copy_bytes(target: U8, target_start: int, source: U8, source_start: int, count: int) -> None:
    """target[target_start : ... + count] = source[source_start : ... + count], both seen as flat bytes.

    Contiguous uint8 arrays of any shape; the caller has checked that both ranges lie inside.
    """
    target.reshape(-1)[target_start : target_start + count] = source.reshape(-1)[
        source_start : source_start + count
    ]


@intrinsic
def _memcpy(
    typing_context: Any, target: Any, target_start: Any, source: Any, source_start: Any, count: Any
) -> Any:
    """llvm.memcpy between the data of two arrays."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to = context.make_array(signature.args[0])(context, builder, arguments[0])
        of = context.make_array(signature.args[2])(context, builder, arguments[2])
        cgutils.raw_memcpy(
            builder,
            builder.gep(to.data, [arguments[1]]),
            builder.gep(of.data, [arguments[3]]),
            arguments[4],
            1,
        )
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), generate


@overload(copy_bytes, inline="always")
def _copy_bytes(
    target: Any, target_start: Any, source: Any, source_start: Any, count: Any
) -> Callable[..., None]:
    def compiled(target: Any, target_start: Any, source: Any, source_start: Any, count: Any) -> None:
        _memcpy(target, np.int64(target_start), source, np.int64(source_start), np.int64(count))  # type: ignore[call-arg]

    return compiled
