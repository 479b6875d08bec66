"""Settings of the store and of the model it holds."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of the settings file: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(Section):
    """`[model]`: which model this is."""

    name: str = Field(
        "default",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Name of the model; one store holds one model.",
    )


class StateConfig(Section):
    """`[state]`: where the model lives and how much of it may be in memory."""

    directory: Path = Field(Path("livefactor-state"), description="Directory of the store.")
    rows_max: int = Field(
        2_000_000,
        ge=1_000,
        le=200_000_000,
        description="Hard bound on resident rows, users and items together; "
        "colder user rows live on disk only.",
    )
    items_max: int = Field(
        500_000,
        ge=100,
        le=50_000_000,
        description="Hard bound on items, which are always resident; "
        "events of further new items are rejected.",
    )
    history_max: int = Field(
        100, ge=1, le=1_000, description="Latest interactions kept for each user and item."
    )
    sync: Literal["always", "interval", "never"] = Field(
        "interval",
        description="When commits reach the disk itself; "
        "below `always` a power cut may cost the last moments, never consistency.",
    )
    sync_interval_ms: int = Field(
        1_000, ge=10, le=60_000, description='Time between syncs with `sync = "interval"`.'
    )
    flush_interval_ms: int = Field(
        5_000,
        ge=10,
        le=600_000,
        description="Time after which changed rows are moved from the journal to the row family.",
    )
    dirty_rows_max: int = Field(
        400_000, ge=100, le=50_000_000, description="Changed rows that force a flush."
    )
    journal_bytes_max: int = Field(
        256 << 20,
        ge=1 << 20,
        le=16 << 30,
        description="Journal bytes since the last flush that force another: "
        "bounds recovery time and a scorer's overlay.",
    )
    journal_keep_ms: int = Field(
        30_000,
        ge=0,
        le=3_600_000,
        description="How long a flushed journal entry is kept for scorers that lag behind.",
    )
    outbox_bytes_max: int = Field(
        64 << 20,
        ge=1 << 16,
        le=16 << 30,
        description="Unacknowledged outgoing bytes above which the learner stops advancing.",
    )
    versions_kept: int = Field(5, ge=1, le=1_000, description="Newest versions that are kept.")
    base_interval_batches: int = Field(
        500_000,
        ge=100,
        le=1_000_000_000,
        description="Micro-batches after which the state is kept as a version: bounds what "
        "`state verify` learns again, and with `versions_kept` the schedule.",
    )
