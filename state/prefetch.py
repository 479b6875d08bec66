"""A hint to the processor that a row will be needed soon.

Learning, looking up and packing jump at random among more rows than any cache holds, and each jump
waits for memory. Asking a few rows ahead lets the waits overlap: about three times the throughput of
`stream.learning.sgd` on a million users. It changes no value.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

LINE_BYTES = 64


def prefetch(rows: npt.NDArray[Any], i: int | np.integer[Any]) -> None:
    """Ask for `rows[i]`, of an array of any dimension, to be brought near; uncompiled, this does nothing."""


@intrinsic
def _prefetch_lines(typing_context: Any, rows: Any, i: Any) -> Any:
    """llvm.prefetch of every cache line of `rows[i]`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = ir.IntType(8).as_pointer()
        word = ir.IntType(32)
        row_bytes = cgutils.unpack_tuple(builder, array.strides)[0]
        row = builder.gep(builder.bitcast(array.data, pointer), [builder.mul(arguments[1], row_bytes)])
        shape = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [pointer], shape)
        for_writing, keep, data = word(1), word(3), word(1)
        zero, line = row_bytes.type(0), row_bytes.type(LINE_BYTES)
        with cgutils.for_range_slice(builder, zero, row_bytes, line) as (offset, _):
            builder.call(hint, [builder.gep(row, [offset]), for_writing, keep, data])
        return context.get_dummy_value()

    return types.void(rows, types.intp), generate


@overload(prefetch)
def _compiled(rows: Any, i: Any) -> Callable[..., None]:
    def hint(rows: Any, i: Any) -> None:
        _prefetch_lines(rows, i)  # type: ignore[call-arg]

    return hint
