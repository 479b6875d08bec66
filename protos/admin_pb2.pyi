from protos import events_pb2 as _events_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FreezeRequest(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("reason", "learn_missed")
    REASON_FIELD_NUMBER: _ClassVar[int]
    LEARN_MISSED_FIELD_NUMBER: _ClassVar[int]
    reason: str
    learn_missed: bool
    def __init__(self, reason: _Optional[str] = ..., learn_missed: _Optional[bool] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("reason", "version", "replay", "exclude", "drift_event_id")
    REASON_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    DRIFT_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    reason: str
    version: str
    replay: bool
    exclude: _containers.RepeatedCompositeFieldContainer[_events_pb2.OffsetRange]
    drift_event_id: str
    def __init__(self, reason: _Optional[str] = ..., version: _Optional[str] = ..., replay: _Optional[bool] = ..., exclude: _Optional[_Iterable[_Union[_events_pb2.OffsetRange, _Mapping]]] = ..., drift_event_id: _Optional[str] = ...) -> None: ...

class VersionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VersionsResponse(_message.Message):
    __slots__ = ("versions",)
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[KeptVersion]
    def __init__(self, versions: _Optional[_Iterable[_Union[KeptVersion, _Mapping]]] = ...) -> None: ...

class KeptVersion(_message.Message):
    __slots__ = ("version", "created_ms", "reason", "parent", "pinned", "positions", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    version: str
    created_ms: int
    reason: str
    parent: str
    pinned: bool
    positions: _containers.RepeatedCompositeFieldContainer[_events_pb2.Position]
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, version: _Optional[str] = ..., created_ms: _Optional[int] = ..., reason: _Optional[str] = ..., parent: _Optional[str] = ..., pinned: _Optional[bool] = ..., positions: _Optional[_Iterable[_Union[_events_pb2.Position, _Mapping]]] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...
