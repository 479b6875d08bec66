"""The calls of the Scorer: what each request must be, and its answer from one state of the model.

An answer is a plain function: it cannot wait, so nothing moves beneath it. What all calls have in common,
deadlines, `min_position` and `max_staleness_ms`, is the affair of `service`.
"""

from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from google.protobuf.message import Message

from protos import scorer_pb2 as wire
from serving import ranker
from serving.config import ServingConfig
from serving.replica import Replica
from state.store import ID_BYTES_MAX

Request = wire.ScoreRequest | wire.RecommendRequest | wire.ExplainRequest
AnyRequest = TypeVar("AnyRequest", bound=Request)


class Moment(NamedTuple):
    """What an answer is made from: one state of the model, what is said of it, and the time."""

    replica: Replica
    meta: wire.Meta
    now_ms: int


class Call(NamedTuple, Generic[AnyRequest]):
    """One method: `wrong` says in words what is wrong with a request itself, nothing if that is nothing."""

    request: type[AnyRequest]
    wrong: Callable[[AnyRequest, ServingConfig], str]
    answer: Callable[[AnyRequest, Moment], Message]


def score(request: wire.ScoreRequest, moment: Moment) -> wire.ScoreResponse:
    """Scores of some items for one user, in the order asked."""
    replica = moment.replica
    user = replica.user(request.user_id.encode())
    ordinals = replica.items([item_id.encode() for item_id in request.item_ids])
    return wire.ScoreResponse(
        scores=ranker.score(replica.catalogue, user, ordinals, moment.now_ms).tolist(),
        known=(ordinals >= 0).tolist(),
        cold=not ranker.is_known(user),
        meta=moment.meta,
    )


def wrong_score(request: wire.ScoreRequest, config: ServingConfig) -> str:
    """See `Call.wrong`."""
    count, count_max = len(request.item_ids), config.items_per_request_max
    if not 1 <= count <= count_max:
        return (
            f"item_ids has {count} items, allowed are 1 to {count_max} (serving.items_per_request_max): "
            "split the request or correct it"
        )
    names = (_wrong_id(f"item_ids[{i}]", item_id) for i, item_id in enumerate(request.item_ids))
    return _wrong_id("user_id", request.user_id) or next(filter(None, names), "")


def recommend(request: wire.RecommendRequest, moment: Moment) -> wire.RecommendResponse:
    """The best items for one user, best first."""
    replica = moment.replica
    user = replica.user(request.user_id.encode())
    ranking = ranker.recommend(replica.catalogue, user, request.k, request.include_seen, moment.now_ms)
    return wire.RecommendResponse(
        item_ids=replica.item_ids(ranking.ordinals),
        scores=ranking.scores.tolist(),
        cold=not ranker.is_known(user),
        meta=moment.meta,
    )


def wrong_recommend(request: wire.RecommendRequest, config: ServingConfig) -> str:
    """See `Call.wrong`."""
    if not 1 <= request.k <= config.k_max:
        return f"k is {request.k}, allowed are 1 to {config.k_max} (serving.k_max): correct it"
    return _wrong_id("user_id", request.user_id)


def explain(request: wire.ExplainRequest, moment: Moment) -> wire.ExplainResponse:
    """Why an item has its score for a user."""
    replica, now_ms = moment.replica, moment.now_ms
    user = replica.user(request.user_id.encode())
    ordinals = replica.items([request.item_id.encode()])
    why = ranker.explain(replica.catalogue, user, int(ordinals[0]), now_ms)
    near = sorted(why.neighbours.items(), key=lambda each: (-each[1], each[0]))
    return wire.ExplainResponse(
        score=float(ranker.score(replica.catalogue, user, ordinals, now_ms)[0]),
        taste=why.taste,
        recent=why.recent,
        because=replica.item_ids(np.array([past for past, _ in near], np.int64)),
        because_scores=[value for _, value in near],
        popularity=why.popularity,
        had_before=why.had_before,
        known=bool(ordinals[0] >= 0),
        cold=not ranker.is_known(user),
        meta=moment.meta,
    )


def wrong_explain(request: wire.ExplainRequest, config: ServingConfig) -> str:
    """See `Call.wrong`."""
    return _wrong_id("user_id", request.user_id) or _wrong_id("item_id", request.item_id)


CALLS: Mapping[str, Call[wire.ScoreRequest] | Call[wire.RecommendRequest] | Call[wire.ExplainRequest]] = {
    "Score": Call(wire.ScoreRequest, wrong_score, score),
    "Recommend": Call(wire.RecommendRequest, wrong_recommend, recommend),
    "Explain": Call(wire.ExplainRequest, wrong_explain, explain),
}
"""Every method of the service, by its name in `protos/scorer.proto`."""


def _wrong_id(field: str, name: str) -> str:
    size = len(name.encode())
    if 1 <= size <= ID_BYTES_MAX:
        return ""
    return f"{field} has {size} bytes, allowed are 1 to {ID_BYTES_MAX} bytes of UTF-8: correct the id"
