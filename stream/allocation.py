"""How this process treats its memory: when garbage is looked for, and when free pages go back."""

import ctypes
import gc

COLLECT_AFTER_OBJECTS = 200_000


def collect_seldom() -> None:
    """Keep the garbage collector from walking ten thousand messages at a time.

    They hold no cycles and go by reference count; looking at them again and again cost a tenth of an event.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 20, 20)


def reclaim() -> None:
    """Free what only refers to itself, such as a model that has been left, and return its pages."""
    gc.collect()
    give_back()


def give_back() -> None:
    """Return free pages to the operating system, where the C library can (glibc).

    A flush packs every changed row and frees them again, in pieces that the heap would keep: 70 MB for half
    a million users. Takes 2 to 7 ms.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
