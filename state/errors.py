"""The errors that packages share; one that a single file of `livefactor/` raises stands there.

    LivefactorError
    +-- ConfigError             a setting is unknown, wrong or at odds with another
    +-- StoreError              the state on disk and what was asked of it do not fit
    |   +-- StoreLockedError         another learner owns the directory
    |   +-- StoreMissingError        there is no store in the directory yet
    |   +-- StoreCorruptError        a file of the store cannot be read back
    |   +-- StoreFullError           the disk cannot take another write
    |   +-- VersionMissingError      a version is not kept in the directory
    |   +-- FormatMismatchError      written by another version of the format
    |   +-- RankMismatchError        written with another rank
    |   +-- SettingsMismatchError    written with another setting that its rows depend on
    |   +-- ModelMismatchError       written for another model name
    |   +-- RowsExhaustedError       a micro-batch needs more rows than `state.rows_max`
    +-- ScorerError             a scorer cannot be reached, or refused a request
    +-- PublishError            events could not be read or were not acknowledged
    +-- SourceError             the log and the state do not fit
        +-- BrokerUnreachableError   no broker answers
        +-- TopicMissingError        a topic does not exist
        +-- OffsetExpiredError       the stored offset is below the log's start
        +-- OffsetAheadError         the stored offset is above the log's end
        +-- PartitionsChangedError   the topic has other partitions than the state

Each message says what happened, where, and what the operator does next.
Bad *records* and bad *requests* are not errors but values: see
`stream.events.Rejected` and the gRPC status codes in `serving.service`.
"""


class LivefactorError(Exception):
    """The root: catching it catches what Livefactor raises on purpose, and nothing else."""


class ConfigError(LivefactorError):
    """A setting is unknown, has a wrong value, or contradicts another: correct it and start again."""


class StoreError(LivefactorError):
    """The state on disk and what was asked of it do not fit."""


class StoreLockedError(StoreError):
    """Another learner owns the directory: stop it, or wait for it with `--standby`."""


class StoreMissingError(StoreError):
    """The directory holds no store yet: start a learner on it first."""


class StoreCorruptError(StoreError):
    """A file of the store cannot be read back: restore a checkpoint, or delete the directory and relearn."""


class StoreFullError(StoreError):
    """The disk cannot take another write: make room and start again; the log is read from the last commit."""


class VersionMissingError(StoreError):
    """A version is not kept, or not any more: `livefactor versions list` shows which are."""


class RollbackRefusedError(StoreError):
    """A rollback asks for what cannot be done: the message says what can be."""


class FormatMismatchError(StoreError):
    """The store was written in another format: run `livefactor state upgrade`."""


class RankMismatchError(StoreError):
    """The store was written with another rank: restore the setting, or use another directory."""


class SettingsMismatchError(StoreError):
    """The store was made with another algorithm, feedback mode or bound of its rows: restore it."""


class ModelMismatchError(StoreError):
    """The store belongs to a model of another name: restore the name, or use another directory."""


class RowsExhaustedError(StoreError):
    """A micro-batch needs more resident rows than `state.rows_max`: raise it or lower `batch_records_max`."""


class ScorerError(LivefactorError):
    """A scorer cannot be reached or refused a request; `code` is the gRPC status: see the message."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class ForkedError(LivefactorError):
    """A client was used in a child of the process that made it: make one there."""


class PublishError(LivefactorError):
    """Events could not be read from their file, or no broker acknowledged them: publish the rest again."""


class WebhookError(LivefactorError):
    """A webhook did not take an event: see why, and send it again."""


class SourceError(LivefactorError):
    """The log and the state do not fit."""


class BrokerUnreachableError(SourceError):
    """No broker answers: check `[kafka] "bootstrap.servers"` and the network."""


class TopicMissingError(SourceError):
    """A topic does not exist: run `livefactor topics create`."""


class OffsetExpiredError(SourceError):
    """The stored offset is below the log's start: records were deleted before they were learnt."""


class OffsetAheadError(SourceError):
    """The stored offset is above the log's end: the topic was recreated, or this is another cluster."""


class LogChangedError(SourceError):
    """The log is not the one that was learnt from: a topic was created anew, or this is another cluster."""


class CommandUnansweredError(LivefactorError):
    """No learner answered a command in time; it stays in the log and will be carried out when one runs."""


class TransactionOpenError(SourceError):
    """Transactions that were not ended held back the rest of the log."""


class PartitionsChangedError(SourceError):
    """The topic has other partitions than the state knows: start once with `--accept-partitions`."""
