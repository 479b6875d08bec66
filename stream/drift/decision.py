"""What to do about what is seen: the decision table, without memory."""

from typing import NamedTuple

from protos.events_pb2 import (
    DRIFT_ACTION_RETRAIN,
    DRIFT_ACTION_ROLLBACK,
    DRIFT_ACTION_WARN,
    SEVERITY_ERROR,
    SEVERITY_INFO,
    SEVERITY_WARNING,
)

BESIDE = 0.005
"""p-value below which the baseline got worse too, where the live model surely did."""

SECOND_SIGN = 0.05
"""p-value below which the model's lead is in doubt, where something else surely changed."""

COLLAPSED_MIN = 1.4
"""Rise of the baseline's loss that is no whim of the world: 4 times the perplexity, or mean squared error."""

ITEM_PUMPED, USER_FLOODS = "item_pumped", "user_floods"
RECORDS_REJECTED, TYPES_DOUBTFUL, UPDATES_REFUSED = "records_rejected", "types_doubtful", "updates_refused"

PAUSING = frozenset({ITEM_PUMPED, USER_FLOODS, RECORDS_REJECTED, TYPES_DOUBTFUL, UPDATES_REFUSED})
"""Reasons for which nothing more is learnt, since events themselves are not to be trusted."""


class Observed(NamedTuple):
    """p-values of one window, 1 or NaN where a test has too little to go by.

    `skill`: loss of the live model less that of the baseline, `live` and `baseline`: their losses, against
    the windows before; `risen`: by how much that of the baseline is above theirs, in nats or as a logarithm;
    `harm`: loss of the live model above that of the frozen one; `moved`:
    events about items that are less or more popular than before.
    """

    skill: float
    live: float
    baseline: float
    risen: float
    harm: float
    moved: float


class Taken(NamedTuple):
    """p-values of one window, of the item or user that is the most frequent there; 1 or NaN as in `Observed`.

    `share`: its share of the events; `repeated`: that of its events whose user had the item; `blind`: loss of
    the live model on its events above that of someone who knows the item's share alone or, of a user, above
    the baseline's; `skill`: see there.
    """

    share: float
    repeated: float
    blind: float
    skill: float


class Verdict(NamedTuple):
    """What is the matter and what helps: `action` and `severity` are those of `DriftEvent`."""

    reason: str
    action: int
    severity: int
    detector: str
    p_value: float

    @property
    def gravity(self) -> tuple[int, int]:
        """What is graver is told although something else has been."""
        return self.severity, self.action


def decide(observed: Observed, limit: float) -> Verdict | None:
    """The first row that fits, if any; `limit` is the p-value below which something has changed."""
    skill, live, baseline, risen, harm, moved = observed
    if harm < limit:
        return Verdict("updates_do_harm", DRIFT_ACTION_ROLLBACK, SEVERITY_ERROR, "paired_test", harm)
    if (skill < limit and baseline < BESIDE) or (
        moved < limit and skill < SECOND_SIGN and baseline < SECOND_SIGN
    ):
        p_value = min(skill, moved)
        return Verdict("everything_collapsed", DRIFT_ACTION_RETRAIN, SEVERITY_ERROR, "block_test", p_value)
    if live < limit and baseline < limit and risen >= COLLAPSED_MIN:
        return Verdict("everything_collapsed", DRIFT_ACTION_RETRAIN, SEVERITY_ERROR, "block_test", baseline)
    if skill < limit:
        return Verdict("taste_lost", DRIFT_ACTION_RETRAIN, SEVERITY_ERROR, "block_test", skill)
    if live < limit and baseline < limit:
        return Verdict("harder_to_predict", DRIFT_ACTION_WARN, SEVERITY_WARNING, "block_test", live)
    return None


def decide_concentration(of: str, taken: Taken, limit: float) -> Verdict | None:
    """Whether the share of one "item" or "user" is people's choice, if it is more than before."""
    share, repeated, blind, skill = taken
    reason = {"item": ITEM_PUMPED, "user": USER_FLOODS}[of]
    if share < limit and (repeated < limit or blind < SECOND_SIGN or skill < SECOND_SIGN):
        return Verdict(reason, DRIFT_ACTION_ROLLBACK, SEVERITY_ERROR, "block_test", share)
    if blind < limit and share < SECOND_SIGN:
        return Verdict(reason, DRIFT_ACTION_ROLLBACK, SEVERITY_ERROR, "paired_test", blind)
    return None


def decide_shift(now: float, earlier: float, limit: float) -> Verdict | None:
    """On p-values of one of the quantities of events, of two windows in a row."""
    moved = max(now, earlier)
    if moved < limit:
        return Verdict("inputs_moved", DRIFT_ACTION_WARN, SEVERITY_INFO, "jensen_shannon", moved)
    return None
