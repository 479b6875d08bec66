from protos import events_pb2 as _events_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchDriftRequest(_message.Message):
    __slots__ = ("after_id", "actions", "min_severity", "heartbeat_ms")
    AFTER_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    MIN_SEVERITY_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MS_FIELD_NUMBER: _ClassVar[int]
    after_id: str
    actions: _containers.RepeatedScalarFieldContainer[_events_pb2.DriftAction]
    min_severity: _events_pb2.Severity
    heartbeat_ms: int
    def __init__(self, after_id: _Optional[str] = ..., actions: _Optional[_Iterable[_Union[_events_pb2.DriftAction, str]]] = ..., min_severity: _Optional[_Union[_events_pb2.Severity, str]] = ..., heartbeat_ms: _Optional[int] = ...) -> None: ...

class ListDriftRequest(_message.Message):
    __slots__ = ("actions", "min_severity")
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    MIN_SEVERITY_FIELD_NUMBER: _ClassVar[int]
    actions: _containers.RepeatedScalarFieldContainer[_events_pb2.DriftAction]
    min_severity: _events_pb2.Severity
    def __init__(self, actions: _Optional[_Iterable[_Union[_events_pb2.DriftAction, str]]] = ..., min_severity: _Optional[_Union[_events_pb2.Severity, str]] = ...) -> None: ...

class ListDriftResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_events_pb2.DriftEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[_events_pb2.DriftEvent, _Mapping]]] = ...) -> None: ...
