"""Livefactor: streaming online learning of matrix factorisation. `from livefactor import Client`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livefactor.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> object:
    """`Client` is imported when it is first asked for: gRPC takes longer to load than `--help` should."""
    if name == "Client":
        from livefactor.client import Client

        return Client
    raise AttributeError(f"module 'livefactor' has no attribute {name!r}")
