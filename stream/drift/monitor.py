"""What the service knows of how its model does: measurements, and evidence for and against it."""

from collections.abc import Mapping

import numpy as np
import orjson

from state.arrays import F64, Mask
from state.evidence import RECORD, Evidence
from state.model import Model
from state.store import DRIFT_MEMO, PREQUENTIAL_MEMO
from stream.config import LearnerSettings
from stream.drift.frozen import first_comparison, no_comparison
from stream.evaluation.prequential import Prequential
from stream.events import Learnable, Origins
from stream.walk.values import LOSS, RECIPROCAL_RANK, Comparison, Frozen, Walked

FORMAT = 1
"""Of the packed memo."""


class Monitor:
    """The `Evaluator` of the service; part of the state, so a crash neither loses nor repeats evidence.

    `compares`: there is evidence to be had. `version` is the micro-batch of the frozen model's version, 0
    where there is none yet.
    """

    cold = False

    def __init__(self, prequential: Prequential, evidence: Evidence, settings: LearnerSettings) -> None:
        self._prequential, self._evidence = prequential, evidence
        self.compares = settings.compares
        self.comparison: Comparison = first_comparison() if self.compares else no_comparison()
        self.version = 0

    @property
    def calibrations(self) -> F64:
        """Those of the measurements, which learn in place."""
        return self._prequential.calibrations

    @property
    def outgrown(self) -> bool:
        """Whether all evidence that is kept is about the present version: it is time for another."""
        return self.compares and self._evidence.is_all_about(self.version)

    def freeze(self, version: int, frozen: Frozen) -> None:
        """Compare with a version from now on: the state of the micro-batch `version`."""
        self.version, self.comparison = version, self.comparison._replace(frozen=frozen)

    def sample(self, model: Model, events: Learnable) -> Mask:
        """Which events are to be ranked: a sample, bool [n]."""
        return self._prequential.sample(model, events)

    def record(
        self, walked: Walked, events: Learnable, origins: Origins, learnt: Learnable, predictions: F64
    ) -> None:
        """Add what came of a batch to the measurements and to the evidence."""
        self._prequential.record(walked, predictions, learnt)
        if not self.compares:
            return
        compared = np.flatnonzero(~np.isnan(walked.compared[:, 0, LOSS]))
        records = np.zeros(len(compared), RECORD)
        records["user"], records["item"] = origins.users[compared], events.items[compared]
        records["partition"], records["offset"] = origins.partitions[compared], origins.offsets[compared]
        records["time_ms"], records["version"] = events.times_ms[compared], self.version
        records["losses"] = walked.compared[compared, :, LOSS]
        records["reciprocal_ranks"] = walked.compared[compared, :, RECIPROCAL_RANK]
        self._evidence.add(records)

    def take_changed(self) -> Mapping[str, bytes]:
        """Memos of what changed since the last call."""
        if not self._prequential.take_changed():
            return {}
        memos = {PREQUENTIAL_MEMO: self._prequential.pack()}
        if self.compares:
            memo = {"format": FORMAT, "calibrations": self.comparison.calibrations.tolist()}
            memos[DRIFT_MEMO] = orjson.dumps(memo)
        return memos

    def restore(self, memos: Mapping[str, bytes]) -> None:
        """Take over stored memos; what is in another format begins anew."""
        if PREQUENTIAL_MEMO in memos:
            self._prequential.restore(memos[PREQUENTIAL_MEMO])
        stored = orjson.loads(memos.get(DRIFT_MEMO, b"{}"))
        if self.compares and stored.get("format") == FORMAT:
            self.comparison.calibrations[:] = np.array(stored["calibrations"], np.float64)
