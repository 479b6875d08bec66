"""What the threads of another process are at, as Linux lists it."""

from contextlib import suppress
from pathlib import Path


def states_of(process_id: int) -> set[str]:
    """States of its threads, letters of proc(5): T stopped, Z ended; none where there is no such process."""
    states = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{process_id}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # this one has ended meanwhile
                states.add((thread / "stat").read_text().rpartition(")")[2].split()[0])
    return states


def runs(process_id: int) -> bool:
    """Whether a process lives; one that has ended and was not waited for does not."""
    return bool(states_of(process_id) - {"Z"})


def is_stopped(process_id: int) -> bool:
    """Whether SIGSTOP has reached every thread: until then some go on."""
    return states_of(process_id) == {"T"}
