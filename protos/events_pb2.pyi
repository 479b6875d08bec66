from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CommandAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMAND_ACTION_UNSPECIFIED: _ClassVar[CommandAction]
    COMMAND_ACTION_FREEZE: _ClassVar[CommandAction]
    COMMAND_ACTION_RESUME: _ClassVar[CommandAction]
    COMMAND_ACTION_LEARN_MISSED: _ClassVar[CommandAction]
    COMMAND_ACTION_ROLLBACK: _ClassVar[CommandAction]

class DriftAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRIFT_ACTION_UNSPECIFIED: _ClassVar[DriftAction]
    DRIFT_ACTION_WARN: _ClassVar[DriftAction]
    DRIFT_ACTION_RETRAIN: _ClassVar[DriftAction]
    DRIFT_ACTION_ROLLBACK: _ClassVar[DriftAction]
    DRIFT_ACTION_NONE: _ClassVar[DriftAction]

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_INFO: _ClassVar[Severity]
    SEVERITY_WARNING: _ClassVar[Severity]
    SEVERITY_ERROR: _ClassVar[Severity]
COMMAND_ACTION_UNSPECIFIED: CommandAction
COMMAND_ACTION_FREEZE: CommandAction
COMMAND_ACTION_RESUME: CommandAction
COMMAND_ACTION_LEARN_MISSED: CommandAction
COMMAND_ACTION_ROLLBACK: CommandAction
DRIFT_ACTION_UNSPECIFIED: DriftAction
DRIFT_ACTION_WARN: DriftAction
DRIFT_ACTION_RETRAIN: DriftAction
DRIFT_ACTION_ROLLBACK: DriftAction
DRIFT_ACTION_NONE: DriftAction
SEVERITY_UNSPECIFIED: Severity
SEVERITY_INFO: Severity
SEVERITY_WARNING: Severity
SEVERITY_ERROR: Severity

class Interaction(_message.Message):
    __slots__ = ("user_id", "item_id", "event_type", "value", "event_time_ms", "event_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    item_id: str
    event_type: str
    value: float
    event_time_ms: int
    event_id: str
    def __init__(self, user_id: _Optional[str] = ..., item_id: _Optional[str] = ..., event_type: _Optional[str] = ..., value: _Optional[float] = ..., event_time_ms: _Optional[int] = ..., event_id: _Optional[str] = ...) -> None: ...

class InteractionBatch(_message.Message):
    __slots__ = ("interactions",)
    INTERACTIONS_FIELD_NUMBER: _ClassVar[int]
    interactions: _containers.RepeatedCompositeFieldContainer[Interaction]
    def __init__(self, interactions: _Optional[_Iterable[_Union[Interaction, _Mapping]]] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("item_id", "title", "categories", "tags", "features", "hidden")
    class FeaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    title: str
    categories: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.RepeatedScalarFieldContainer[str]
    features: _containers.ScalarMap[str, float]
    hidden: bool
    def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., categories: _Optional[_Iterable[str]] = ..., tags: _Optional[_Iterable[str]] = ..., features: _Optional[_Mapping[str, float]] = ..., hidden: _Optional[bool] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("topic", "partition", "offset")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    offset: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class OffsetRange(_message.Message):
    __slots__ = ("topic", "partition", "first", "next")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    first: int
    next: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., first: _Optional[int] = ..., next: _Optional[int] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("command_id", "model", "action", "reason", "issued_ms", "version", "replay", "exclude", "drift_event_id")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ISSUED_MS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    DRIFT_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    model: str
    action: CommandAction
    reason: str
    issued_ms: int
    version: str
    replay: bool
    exclude: _containers.RepeatedCompositeFieldContainer[OffsetRange]
    drift_event_id: str
    def __init__(self, command_id: _Optional[str] = ..., model: _Optional[str] = ..., action: _Optional[_Union[CommandAction, str]] = ..., reason: _Optional[str] = ..., issued_ms: _Optional[int] = ..., version: _Optional[str] = ..., replay: _Optional[bool] = ..., exclude: _Optional[_Iterable[_Union[OffsetRange, _Mapping]]] = ..., drift_event_id: _Optional[str] = ...) -> None: ...

class CommandResult(_message.Message):
    __slots__ = ("command_id", "model", "action", "applied", "message", "batch_seq", "frozen")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BATCH_SEQ_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    model: str
    action: CommandAction
    applied: bool
    message: str
    batch_seq: int
    frozen: bool
    def __init__(self, command_id: _Optional[str] = ..., model: _Optional[str] = ..., action: _Optional[_Union[CommandAction, str]] = ..., applied: _Optional[bool] = ..., message: _Optional[str] = ..., batch_seq: _Optional[int] = ..., frozen: _Optional[bool] = ...) -> None: ...

class DriftWindow(_message.Message):
    __slots__ = ("name", "first_ms", "last_ms", "events", "mean_loss", "variance")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIRST_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_MS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    MEAN_LOSS_FIELD_NUMBER: _ClassVar[int]
    VARIANCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    first_ms: int
    last_ms: int
    events: int
    mean_loss: float
    variance: float
    def __init__(self, name: _Optional[str] = ..., first_ms: _Optional[int] = ..., last_ms: _Optional[int] = ..., events: _Optional[int] = ..., mean_loss: _Optional[float] = ..., variance: _Optional[float] = ...) -> None: ...

class DriftSample(_message.Message):
    __slots__ = ("position", "item_id", "losses")
    class LossesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    position: Position
    item_id: str
    losses: _containers.ScalarMap[str, float]
    def __init__(self, position: _Optional[_Union[Position, _Mapping]] = ..., item_id: _Optional[str] = ..., losses: _Optional[_Mapping[str, float]] = ...) -> None: ...

class DriftEvent(_message.Message):
    __slots__ = ("id", "time_ms", "model", "version", "action", "severity", "reason", "message", "detector", "windows", "p_value", "segment", "samples", "positions")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    id: str
    time_ms: int
    model: str
    version: str
    action: DriftAction
    severity: Severity
    reason: str
    message: str
    detector: str
    windows: _containers.RepeatedCompositeFieldContainer[DriftWindow]
    p_value: float
    segment: str
    samples: _containers.RepeatedCompositeFieldContainer[DriftSample]
    positions: _containers.RepeatedCompositeFieldContainer[Position]
    def __init__(self, id: _Optional[str] = ..., time_ms: _Optional[int] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., action: _Optional[_Union[DriftAction, str]] = ..., severity: _Optional[_Union[Severity, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., detector: _Optional[str] = ..., windows: _Optional[_Iterable[_Union[DriftWindow, _Mapping]]] = ..., p_value: _Optional[float] = ..., segment: _Optional[str] = ..., samples: _Optional[_Iterable[_Union[DriftSample, _Mapping]]] = ..., positions: _Optional[_Iterable[_Union[Position, _Mapping]]] = ...) -> None: ...

class DriftEvents(_message.Message):
    __slots__ = ("events", "raised")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    RAISED_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[DriftEvent]
    raised: int
    def __init__(self, events: _Optional[_Iterable[_Union[DriftEvent, _Mapping]]] = ..., raised: _Optional[int] = ...) -> None: ...
