"""Settings of the scorer."""

from pydantic import Field

from state.config import Section


class ServingConfig(Section):
    """`[serving]`: how the scorer answers."""

    listen: str = Field(
        "127.0.0.1:50051", description="Address of the gRPC port; port 0 takes a free one and prints it."
    )
    refresh_interval_ms: int = Field(15, ge=1, le=60_000, description="Time between two looks at the store.")
    k_max: int = Field(1_000, ge=1, le=100_000, description="Most items one Recommend may ask for.")
    items_per_request_max: int = Field(
        10_000, ge=1, le=1_000_000, description="Most items one Score may ask for."
    )
    request_bytes_max: int = Field(4 << 20, ge=1 << 10, le=64 << 20, description="Largest request message.")
    watchers_max: int = Field(
        100, ge=1, le=10_000, description="Most callers that may watch for drift events at a time."
    )
    reflection: bool = Field(True, description="Whether gRPC reflection is served.")
    drain_ms: int = Field(
        5_000, ge=0, le=600_000, description="How long calls in flight may take after SIGTERM."
    )
    overlay_bytes_max: int = Field(
        512 << 20,
        ge=1 << 20,
        le=16 << 30,
        description="Journal bytes a scorer may hold in memory before it says it cannot follow.",
    )
