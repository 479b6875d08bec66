"""The kinds of rows there are: the one list by which journal, flush, recovery, digest and scorers go.

A new kind is one `Kind` here, with a `Part` that keeps its rows in memory: a `state.table.Table` made from a
layout, or something of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from state import codec
from state.event_ids import EventIds
from state.evidence import Evidence, Inputs
from state.factors import Items, Users
from state.global_arrays import Globals
from state.neighbour_rows import NeighbourRows
from state.scoring.spec import ScoringSpec
from state.store import Rows


class Part(Protocol):
    """What is in memory of one kind."""

    def apply(self, rows: Rows) -> object:
        """Take over stored rows."""
        ...

    def take_changed(self) -> Rows:
        """What the journal must hold of the changes since the last call: rows, or steps."""
        ...

    def changed_since(self, batch_seq: int) -> Rows:
        """For a flush: every row that changed after a micro-batch."""
        ...

    def changed_count(self, batch_seq: int) -> int:
        """How many rows changed after a micro-batch, without those that every flush writes anyway."""
        ...


class SteppedPart(Part, Protocol):
    """One whose journal says what was done to rows instead of what they became."""

    def apply_steps(self, rows: Rows, batch_seq: int) -> object:
        """Do what a micro-batch did, unless it has been done."""
        ...


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a model may hold; see the settings of the same names."""

    rank: int
    users_max: int
    items_max: int
    history_max: int
    event_ids_kept: int


P_co = TypeVar("P_co", bound=Part, covariant=True)


@dataclass(frozen=True, slots=True)
class Kind(Generic[P_co]):
    """One kind of rows.

    `create` makes the part that keeps them. `resident`: all of them are read when a store is opened; others
    come when they are needed. `by_id`: rows carry ids, and are digested in their order instead of that of
    ordinals; `digested`: whether log and schedule give the same bits again. `served`: whether a scorer holds
    them. `steps`: the code under which the journal has steps of them, if it has.
    """

    code: int
    create: Callable[[Sizes], P_co]
    resident: bool = True
    by_id: bool = False
    digested: bool = True
    served: Callable[[ScoringSpec], bool] = lambda spec: True
    steps: int | None = None

    @property
    def codes(self) -> tuple[int, ...]:
        """Codes under which its rows are journalled."""
        return (self.code,) if self.steps is None else (self.code, self.steps)


USERS = Kind(
    codec.USER,
    lambda sizes: Users(sizes.rank, sizes.users_max, sizes.history_max),
    resident=False,
    by_id=True,
)
ITEMS = Kind(codec.ITEM, lambda sizes: Items(sizes.rank, sizes.items_max, sizes.history_max), by_id=True)
GLOBALS = Kind(codec.GLOBAL, lambda sizes: Globals(sizes.rank))
EVENT_IDS = Kind(
    codec.EVENT_IDS,
    lambda sizes: EventIds(sizes.event_ids_kept),
    served=lambda spec: False,
)
NEIGHBOURS = Kind(
    codec.NEIGHBOURS,
    lambda sizes: NeighbourRows(sizes.items_max),
    served=lambda spec: spec.blends,
    steps=codec.NEIGHBOUR_STEPS,
)

EVIDENCE = Kind(codec.EVIDENCE, lambda sizes: Evidence(), digested=False, served=lambda spec: False)
INPUTS = Kind(codec.INPUTS, lambda sizes: Inputs(), digested=False, served=lambda spec: False)

KINDS: Sequence[Kind[Part]] = (USERS, ITEMS, GLOBALS, EVENT_IDS, NEIGHBOURS, EVIDENCE, INPUTS)
"""All of them, in the order in which they are read, journalled and digested."""
