"""What the service knows of how its model does: measurements, and evidence for and against it."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import orjson

from protos.events_pb2 import DriftEvent, DriftEvents
from state.arrays import F64, I32, I64, Mask
from state.evidence import INPUT, RECORD
from state.model import Model
from state.ring import Entries
from state.store import DRIFT_EVENTS_MEMO, DRIFT_MEMO, PREQUENTIAL_MEMO, VersionId
from stream.config import LearnerSettings
from stream.drift.announcement import (
    Place,
    announce,
    announce_concentration,
    announce_share,
    announce_shift,
)
from stream.drift.concentration_alarm import ConcentrationAlarm
from stream.drift.decision import PAUSING
from stream.drift.frozen import first_comparison, no_comparison
from stream.drift.histograms import POPULARITY, QUANTITIES
from stream.drift.loss import LOSSES
from stream.drift.loss_alarm import LossAlarm
from stream.drift.share_alarm import KINDS, ShareAlarm, wrong_of
from stream.drift.shift_alarm import ShiftAlarm
from stream.drift.telling import kept_in, outgoing, with_raised
from stream.effects import Counts, Effects
from stream.evaluation.prequential import Prequential
from stream.events import Learnable, Origins, Records, Rejected
from stream.walk.values import LIVE, LOSS, RECIPROCAL_RANK, Frozen, Walked

FORMAT = 3
"""Of the packed memo."""

PAUSED: Mapping[str, str] = {
    "tell": "; nothing is learnt until `livefactor control resume`",
    "auto": "; nothing is learnt until this is over",
}
"""What is said of a pause, by `drift.act`."""


class Monitor:
    """The `Evaluator` of the service; part of the state, so a crash neither loses nor repeats evidence.

    `version` is the micro-batch of the frozen model's version, 0 where there is none yet. `kept` are the
    latest events that were raised. `seen_through`: offsets by partition below which everything was judged
    before; read again, to be learnt, it is no evidence a second time.
    """

    cold = False

    def __init__(
        self, prequential: Prequential, model: Model, settings: LearnerSettings, generation: int
    ) -> None:
        self._prequential, self._model, self._evidence = prequential, model, model.evidence
        self._settings, self._generation = settings, generation
        self._shifts = {name: ShiftAlarm(model.inputs, name, settings.drift) for name in QUANTITIES}
        loss = LOSSES[settings.learning.feedback]
        self._losses = LossAlarm(model.evidence, loss, self._shifts[POPULARITY], settings.drift)
        self._concentrations = {
            of: ConcentrationAlarm(model.inputs, of, self._losses, settings.drift) for of in ("item", "user")
        }
        self._sampled: I64 = np.zeros(0, np.int64)
        self._inputs_next: Entries = np.zeros(0, INPUT)
        self._shares = {reason: ShareAlarm(reason) for reason in KINDS}
        self.kept = DriftEvents()
        self.comparison = first_comparison(settings) if settings.drift.enabled else no_comparison()
        self.version = 0
        self.seen_through: Mapping[int, int] = {}

    @property
    def calibrations(self) -> F64:
        """Those of the measurements, which learn in place."""
        return self._prequential.calibrations

    @property
    def outgrown(self) -> bool:
        """Whether so much evidence is about the present version that it is time for another.

        Never while an alarm stands: the version to compare with is one from before.
        """
        watching = self.comparison.compares and self._losses.standing is None
        return watching and self._evidence.has_outgrown(self.version)

    def freeze(self, version: int, frozen: Frozen) -> None:
        """Compare with a version from now on: the state of the micro-batch `version`."""
        self.version, self.comparison = version, self.comparison._replace(frozen=frozen)

    def sample(self, model: Model, events: Learnable, origins: Origins) -> Mask:
        """Which events are to be ranked: a sample, bool [n]."""
        chosen = self._prequential.sample(model, events)
        chosen &= ~self.seen(origins.partitions, origins.offsets)
        if self.comparison.compares:
            self._sampled = np.flatnonzero(chosen)
            self._inputs_next = _as_known(model, events, self._sampled)
        return chosen

    def record(
        self, walked: Walked, events: Learnable, origins: Origins, learnt: Learnable, predictions: F64
    ) -> None:
        """Add what came of a batch to the measurements and to the evidence."""
        self._prequential.record(walked, predictions, learnt)
        if not self.comparison.compares:
            return
        losses = walked.compared[:, :, LOSS]
        if len(predictions):
            of_live = losses[:, LIVE]
            errors = np.square(predictions - learnt.strengths)
            of_live[walked.kept] = np.where(np.isnan(of_live[walked.kept]), np.nan, errors)
        inputs = self._inputs_next
        _identify(inputs, self._sampled, events, origins)
        inputs["value"] = origins.values[self._sampled]
        inputs["weight"] = origins.weights[self._sampled]
        inputs["losses"] = losses[self._sampled]
        self._model.inputs.add(inputs)
        compared = np.flatnonzero(~np.isnan(losses[:, LIVE]))
        records = np.zeros(len(compared), RECORD)
        _identify(records, compared, events, origins)
        records["version"] = self.version
        records["losses"] = losses[compared]
        records["reciprocal_ranks"] = walked.compared[compared, :, RECIPROCAL_RANK]
        self._evidence.add(records)

    def conclude(
        self, batch_seq: int, records: Records, rejected: Sequence[Rejected], counts: Counts
    ) -> Effects:
        """What is to be kept and told of a micro-batch, some of whose records were `rejected`."""
        measured = self._prequential.take_changed()
        memos = {PREQUENTIAL_MEMO: self._prequential.pack()} if measured else {}
        if not self.comparison.compares:
            return Effects(memo=memos)
        name = self._settings.model.name
        here = VersionId(self._generation, batch_seq)
        place = Place(name, here, self._settings.topics.interactions, self._model.items.ids, self._user_names)
        raised = tuple(self._raise(place, records, rejected, counts))
        pausing = [event for event in raised if event.reason in PAUSING]
        for event in pausing:
            event.message += PAUSED[self._settings.drift.act]
        if raised:
            self.kept = with_raised(self.kept, raised)
            memos[DRIFT_EVENTS_MEMO] = self.kept.SerializeToString()
        memo = {
            "format": FORMAT,
            "calibrations": self.comparison.calibrations.tolist(),
            "losses": self._losses.pack(),
            "concentrations": {of: alarm.pack() for of, alarm in self._concentrations.items()},
            "shifts": {name: alarm.pack() for name, alarm in self._shifts.items()},
            "shares": {reason: alarm.pack() for reason, alarm in self._shares.items()},
        }
        memos[DRIFT_MEMO] = orjson.dumps(memo)
        outbox = tuple(outgoing(raised, self._settings))
        return Effects(memo=memos, outbox=outbox, drift=raised, pause=self._pause(pausing))

    def _pause(self, pausing: Sequence[DriftEvent]) -> str | None:
        """See `Effects.pause`."""
        if pausing:
            return pausing[0].reason
        concentrated = any(alarm.standing for alarm in self._concentrations.values())
        over = not concentrated and not any(alarm.standing for alarm in self._shares.values())
        return "" if over and self._settings.drift.act == "auto" else None

    def _raise(
        self, place: Place, records: Records, rejected: Sequence[Rejected], counts: Counts
    ) -> Iterator[DriftEvent]:
        frozen = VersionId(self._generation, self.version) if self.version else None
        for name, alarm in self._shifts.items():
            for raised in alarm.advance():
                yield announce_shift(raised, name, self._model.inputs, place)
        for raised in self._losses.advance():
            yield announce(raised, self._losses.loss, self._evidence, self._model.inputs, frozen, place)
        for of, concentration in self._concentrations.items():
            for raised in concentration.advance():
                yield announce_concentration(raised, of, self._model.inputs, place)
        again = bool(self.seen(records.partitions, records.offsets).any())
        for reason, wrong in wrong_of(records, rejected, counts, again):
            if verdict := self._shares[reason].add(wrong):
                yield announce_share(verdict, self._shares[reason], int(records.timestamps_ms.max()), place)

    def seen(self, partitions: I32, offsets: I64) -> Mask:
        """Which of the records at these places, int32 [n] and int64 [n], were judged already."""
        seen = np.zeros(len(offsets), np.bool_)
        for partition, through in self.seen_through.items():
            seen |= (partitions == partition) & (offsets < through)
        return seen

    def _user_names(self, ordinals: I64) -> list[bytes]:
        """Ids of users; of one who is no longer in memory nothing is known but the ordinal."""
        users = self._model.users
        return [
            users.ids(np.array([slot]))[0] if slot >= 0 else b"number %d" % ordinal
            for slot, ordinal in zip(users.find_ordinals(ordinals).tolist(), ordinals.tolist(), strict=True)
        ]

    def restore(self, memos: Mapping[str, bytes]) -> None:
        """Take over stored memos; what is in another format begins anew."""
        if PREQUENTIAL_MEMO in memos:
            self._prequential.restore(memos[PREQUENTIAL_MEMO])
        stored = orjson.loads(memos.get(DRIFT_MEMO, b"{}"))
        if stored.get("format") != FORMAT:
            stored = {}
        if self.comparison.compares and stored:
            calibrations = self.comparison.calibrations
            calibrations[:] = np.array(stored["calibrations"], np.float64).reshape(calibrations.shape)
        self._losses.restore(stored.get("losses", {}))
        for of, concentration in self._concentrations.items():
            concentration.restore(stored.get("concentrations", {}).get(of, {}))
        for name, alarm in self._shifts.items():
            alarm.restore(stored.get("shifts", {}).get(name, {}))
        for reason, packed in stored.get("shares", {}).items():
            self._shares[reason].restore(packed)
        self.kept = kept_in(memos)


def _identify(entries: Entries, chosen: I64, events: Learnable, origins: Origins) -> None:
    """Say in records [m] which events they are about: `chosen` int64 [m]."""
    entries["user"], entries["item"] = origins.users[chosen], events.items[chosen]
    entries["partition"], entries["offset"] = origins.partitions[chosen], origins.offsets[chosen]
    entries["time_ms"] = events.times_ms[chosen]


def _as_known(model: Model, events: Learnable, chosen: I64) -> Entries:
    """What the model knows of users and items of the events `chosen` int64 [m], as `INPUT` [m]."""
    entries = np.zeros(len(chosen), INPUT)
    entries["repeated"] = _repeated(model, events, chosen)
    mean = max(model.clock, 1) / max(model.item_count, 1)
    entries["popularity"] = model.items.interactions[events.items[chosen]] / mean
    entries["user_events"] = model.users.interactions[events.users[chosen]]
    return entries


def _repeated(model: Model, events: Learnable, chosen: I64) -> Mask:
    """Whether the users of the events `chosen` int64 [m] had the items before the micro-batch: bool [m]."""
    bounds, others, _ = model.users.histories(events.users[chosen])
    lengths = np.diff(bounds)
    owners = np.repeat(np.arange(len(chosen)), lengths)
    same = others == np.repeat(events.items[chosen], lengths)
    had: Mask = np.bincount(owners[same], minlength=len(chosen)) > 0
    return had & ~events.remove[chosen]
