"""Why a kernel left a row as it was: the codes in the `refused` columns."""

ACCEPTED = 0
"""The row has its new value."""

NOT_FINITE = 1
"""The new row would hold NaN or infinity, or there is no solution."""

NORM = 2
"""The new row's Euclidean norm would exceed `learning.norm_max`."""

TRACE = 3
"""The Gramian's trace would reach `gramian.TRACE_MAX`."""

CODES = 4
"""How many there are."""
