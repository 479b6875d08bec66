from protos import events_pb2 as _events_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Meta(_message.Message):
    __slots__ = ("version", "batch_seq", "positions", "staleness_ms")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BATCH_SEQ_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    STALENESS_MS_FIELD_NUMBER: _ClassVar[int]
    version: str
    batch_seq: int
    positions: _containers.RepeatedCompositeFieldContainer[_events_pb2.Position]
    staleness_ms: int
    def __init__(self, version: _Optional[str] = ..., batch_seq: _Optional[int] = ..., positions: _Optional[_Iterable[_Union[_events_pb2.Position, _Mapping]]] = ..., staleness_ms: _Optional[int] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("user_id", "item_ids", "min_position", "max_staleness_ms")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    MIN_POSITION_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_MS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    min_position: _containers.RepeatedCompositeFieldContainer[_events_pb2.Position]
    max_staleness_ms: int
    def __init__(self, user_id: _Optional[str] = ..., item_ids: _Optional[_Iterable[str]] = ..., min_position: _Optional[_Iterable[_Union[_events_pb2.Position, _Mapping]]] = ..., max_staleness_ms: _Optional[int] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("scores", "known", "cold", "meta")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    COLD_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    known: _containers.RepeatedScalarFieldContainer[bool]
    cold: bool
    meta: Meta
    def __init__(self, scores: _Optional[_Iterable[float]] = ..., known: _Optional[_Iterable[bool]] = ..., cold: _Optional[bool] = ..., meta: _Optional[_Union[Meta, _Mapping]] = ...) -> None: ...

class RecommendRequest(_message.Message):
    __slots__ = ("user_id", "k", "include_seen", "min_position", "max_staleness_ms")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    MIN_POSITION_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_MS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    k: int
    include_seen: bool
    min_position: _containers.RepeatedCompositeFieldContainer[_events_pb2.Position]
    max_staleness_ms: int
    def __init__(self, user_id: _Optional[str] = ..., k: _Optional[int] = ..., include_seen: _Optional[bool] = ..., min_position: _Optional[_Iterable[_Union[_events_pb2.Position, _Mapping]]] = ..., max_staleness_ms: _Optional[int] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("item_ids", "scores", "cold", "meta")
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    COLD_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    scores: _containers.RepeatedScalarFieldContainer[float]
    cold: bool
    meta: Meta
    def __init__(self, item_ids: _Optional[_Iterable[str]] = ..., scores: _Optional[_Iterable[float]] = ..., cold: _Optional[bool] = ..., meta: _Optional[_Union[Meta, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("user_id", "item_id", "min_position", "max_staleness_ms")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    MIN_POSITION_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_MS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    item_id: str
    min_position: _containers.RepeatedCompositeFieldContainer[_events_pb2.Position]
    max_staleness_ms: int
    def __init__(self, user_id: _Optional[str] = ..., item_id: _Optional[str] = ..., min_position: _Optional[_Iterable[_Union[_events_pb2.Position, _Mapping]]] = ..., max_staleness_ms: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("score", "taste", "recent", "because", "because_scores", "popularity", "had_before", "known", "cold", "meta")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TASTE_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_SCORES_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_FIELD_NUMBER: _ClassVar[int]
    HAD_BEFORE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    COLD_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    score: float
    taste: float
    recent: float
    because: _containers.RepeatedScalarFieldContainer[str]
    because_scores: _containers.RepeatedScalarFieldContainer[float]
    popularity: float
    had_before: float
    known: bool
    cold: bool
    meta: Meta
    def __init__(self, score: _Optional[float] = ..., taste: _Optional[float] = ..., recent: _Optional[float] = ..., because: _Optional[_Iterable[str]] = ..., because_scores: _Optional[_Iterable[float]] = ..., popularity: _Optional[float] = ..., had_before: _Optional[float] = ..., known: _Optional[bool] = ..., cold: _Optional[bool] = ..., meta: _Optional[_Union[Meta, _Mapping]] = ...) -> None: ...
