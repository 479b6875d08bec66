"""Whether a store was made for the settings at hand."""

from collections.abc import Mapping
from typing import Any

from state.errors import ModelMismatchError, RankMismatchError, SettingsMismatchError, StoreError

_ERRORS: Mapping[str, type[StoreError]] = {"model": ModelMismatchError, "rank": RankMismatchError}


def mismatches(
    where: object, stored: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str
) -> list[StoreError]:
    """One error for each fact in which `wanted` differs from what the store in `where` was made with."""
    return [
        _ERRORS.get(name, SettingsMismatchError)(
            f"the store in {where} has {name} = {stored.get(name)!r} and the settings say {value!r}: {remedy}"
        )
        for name, value in wanted.items()
        if stored.get(name) != value
    ]
