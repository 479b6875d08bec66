"""The engine against a plain account, and against itself started anew now and then; no broker, no disk."""

import random
from pathlib import Path

import pytest
from crash_campaign import check_model, read_model
from crash_history import batches_with_meaning, settings
from crash_stream import Account

from state.digest import digest
from state.evidence import stored_evidence, stored_inputs
from state.memory import MemoryStore
from stream.engine import Engine
from stream.lineage.bases import begin
from stream.source import LogIdentity

HISTORY_MAX = 3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_a_model_started_anew_is_the_model_that_went_on(algorithm: str, seed: int) -> None:
    """With short histories and few resident users: what the account says, and the same bits."""
    chance = random.Random(seed)
    chosen = settings(Path("unused"), algorithm, HISTORY_MAX)
    lasting, mortal = Engine(chosen, MemoryStore()), Engine(chosen, MemoryStore())
    for engine in (lasting, mortal):
        begin(engine, {}, "fingerprint", {}, LogIdentity())
    account = Account(HISTORY_MAX, chosen.decode.event_ids_kept, algorithm == "als")
    for records, meaning in batches_with_meaning(seed):
        lasting.process([records])
        mortal.process([records])
        for partition, event in meaning:
            account.learn(partition, event)
        if chance.random() < 0.1:
            mortal.flush()
        if chance.random() < 0.1:
            mortal = Engine(chosen, mortal.store)
            model, _, _ = read_model(chosen, mortal.store, mortal.store.head().flushed_through)
            check_model(model, account)
        assert digest(mortal.store) == digest(lasting.store)
        for stored in (stored_evidence, stored_inputs):
            ring, expected = stored(mortal.store), stored(lasting.store)
            assert ring.latest().tobytes() == expected.latest().tobytes()
    assert stored_evidence(lasting.store).added > 50
