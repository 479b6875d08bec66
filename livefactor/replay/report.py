"""What the page of a replay shows besides its figures; `livefactor.page` draws it."""

from livefactor.page.document import shown
from livefactor.replay.recording import Recording
from livefactor.replay.run import Measured, masks
from livefactor.replay.series import series


def plots(name: str, recording: Recording, measured: Measured, k: int) -> dict[str, object]:
    """Of a traced replay of the file `name`; times in milliseconds, 0 where the stream has none."""
    assert measured.trace is not None, "only a traced replay can be plotted"
    times_ms, scores = recording.stream.time_ms, measured.result.scores
    return {
        "file": shown(name),
        "first_ms": int(times_ms[0]),
        "last_ms": int(times_ms[-1]),
        **series(scores, measured.trace, masks(scores), k),
    }
