"""Settings of the learner: topics, decoding, learning, prequential evaluation."""

import base64
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator

from state.config import ModelConfig, Section, StateConfig
from state.scoring.spec import ScoringSpec


class TopicsConfig(Section):
    """`[topics]`: names and framing."""

    interactions: str = Field("livefactor.interactions.v1", description="What users did; key: user_id.")
    dlq: str = Field(
        "livefactor.interactions.v1.dlq", description="Records that could not be learnt, untouched."
    )
    items: str = Field("livefactor.items.v1", description="What is known of items; compacted.")
    control: str = Field("livefactor.control.v1", description="Commands to the learner; one partition.")
    drift: str = Field("livefactor.drift.v1", description="Drift events and answers to commands.")
    framing: Literal["none", "confluent"] = Field(
        "none", description="`confluent`: values start with a zero byte and a schema id."
    )
    partitions: int = Field(
        4, ge=1, le=1_000, description="Partitions of the interactions topic when `topics create` makes it."
    )
    replication: int = Field(1, ge=1, le=10, description="Replicas when `topics create` makes a topic.")
    retention_ms: int = Field(
        7 * 86_400_000,
        ge=60_000,
        description="Retention of interactions when `topics create` makes the topic.",
    )

    @property
    def consumed(self) -> tuple[str, ...]:
        """Topics that a learner reads; `stream.engine` has a handler for each."""
        return self.interactions, self.control


Weight = Annotated[float, Field(ge=-1_000, le=1_000)]

WebhookName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def signing_key(secret: str) -> bytes:
    """The key in a secret of the Standard Webhooks specification. Raises ValueError if it is none."""
    prefix, _, encoded = secret.partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if prefix != "whsec" or not 24 <= len(key) <= 64:
        raise ValueError(
            "must be whsec_ and 24 to 64 bytes in base64: make one with "
            "`echo whsec_$(openssl rand -base64 32)`"
        )
    return key


REMOVE = "remove"
"""The event type that unlearns, and what `event_weights` says of others that do."""


class DecodeConfig(Section):
    """`[decode]`: what is let in."""

    unknown_event_types: Literal["weigh", "reject"] = Field(
        "weigh",
        description="`weigh`: unknown event types count with `event_weight_default`; "
        "`reject`: to the dead letter topic.",
    )
    event_weights: dict[str, Weight | Literal["remove"]] = Field(
        {"impression": 0.0},
        description="Weight of each event type: 0 is consumed and counted but not learnt, below 0 is a "
        'dislike, `"remove"` unlearns. Goes before the common names of [events.md](events.md).',
    )
    event_weight_default: Weight = Field(1.0, description="Weight of event types without an entry.")
    value_abs_max: float = Field(1e6, gt=0, le=1e9, description="Largest absolute value accepted.")
    record_bytes_max: int = Field(1 << 20, ge=1_024, le=64 << 20, description="Largest record accepted.")
    batch_interactions_max: int = Field(
        10_000, ge=1, le=1_000_000, description="Most interactions in one InteractionBatch."
    )
    event_time_ahead_max_ms: int = Field(
        86_400_000, ge=0, description="How far an event's time may lie ahead of its record's timestamp."
    )
    event_ids_kept: int = Field(
        100_000, ge=0, le=10_000_000, description="Latest event_id values remembered for each partition."
    )


class AlsConfig(Section):
    """`[als]`: streaming alternating least squares; what begins with `explicit` is for ratings."""

    alpha: float = Field(0.05, gt=0, le=100, description="Weight of the unobserved pairs.")
    reg: float = Field(0.03, gt=0, le=1e6, description="Ridge lambda.")
    reg_exponent: float = Field(
        1.0, ge=0, le=2, description="nu of the frequency-scaled ridge lambda (n + alpha |I|)^nu."
    )
    recency: float = Field(
        0.95, gt=0, le=1, description="Weight of a user's interaction relative to the next more recent one."
    )
    explicit_reg: float = Field(4.0, gt=0, le=1e6, description="Ratings: ridge on factors.")
    explicit_reg_per_rating: float = Field(
        0.05, ge=0, le=1e6, description="Ratings: further ridge on factors for each rating of a row."
    )
    explicit_reg_bias: float = Field(3.0, gt=0, le=1e6, description="Ratings: ridge on biases.")
    explicit_recency: float = Field(
        0.98,
        gt=0,
        le=1,
        description="Ratings: a user's rating relative to the next more recent one.",
    )
    explicit_level_recency: float = Field(
        0.8, gt=0, le=1, description="Ratings: the same for a user's level, which drifts while people rate."
    )
    explicit_level_reg: float = Field(
        10.0, gt=0, description="Ratings: how many ratings' weight holds a user's level in its place."
    )


class SgdConfig(Section):
    """`[sgd]`: stochastic gradient descent with biases."""

    step: float = Field(0.05, gt=0, le=10, description="Learning rate of factors.")
    step_bias: float = Field(0.025, gt=0, le=10, description="Learning rate of biases.")
    reg: float = Field(0.0, ge=0, le=10, description="L2 penalty on factors.")
    reg_bias: float = Field(0.0, ge=0, le=10, description="L2 penalty on biases.")
    adagrad: bool = Field(True, description="Divide steps by the root of one accumulator per row.")
    gradient_max: float = Field(10.0, gt=0, le=1e12, description="Clip of each gradient component.")
    negatives: int = Field(4, ge=0, le=100, description="Sampled negatives for each implicit positive.")
    recent_share: float = Field(
        0.5, ge=0, le=1, description="Share of negatives drawn from recent items instead of uniformly."
    )


class LearningConfig(Section):
    """`[learning]`: what is learnt and how."""

    algorithm: Literal["als", "sgd"] = Field("als", description="Streaming ALS or SGD.")
    feedback: Literal["implicit", "explicit"] = Field(
        "implicit", description="Whether values are strengths of a preference or ratings to predict."
    )
    strength: Literal["value", "log", "binary"] = Field(
        "log",
        description="Implicit feedback without `min_value`: how much a value counts. `log`: as its "
        "logarithm, for counts, seconds and prices as well as for levels; `value`: as it is; `binary`: as 1.",
    )
    strength_scale: float = Field(
        0.03,
        ge=1e-6,
        le=1e6,
        description="Scale s of log(1 + value / s) / log(1 + 1 / s): a small one makes values more alike.",
    )
    min_value: float | None = Field(
        None, description="Implicit feedback: a positive needs at least this value."
    )
    below_min_value: Literal["ignore", "dislike"] = Field(
        "ignore", description="What an interaction below `min_value` means."
    )
    rank: int = Field(32, ge=1, le=512, description="Number of factors.")
    seed: int = Field(1, ge=0, le=2**31 - 1, description="Seed of initial vectors and samples.")
    init_std: float = Field(0.1, gt=0, le=10, description="Standard deviation of initial factors.")
    norm_max: float = Field(
        64.0, gt=0, le=1e4, description="Euclidean norm above which an updated row is refused."
    )
    nonneg: bool = Field(
        False,
        description="Vectors without negative components, whose parts can be named: see "
        "`livefactor explain-factors`. Rows that a store has already become so when they next change.",
    )
    freeze: bool = Field(False, description="Consume and measure, but learn nothing.")
    batch_records_max: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Most records in one micro-batch; by default 1,000 for als, 10,000 for sgd.",
    )
    poll_timeout_ms: int = Field(
        10, ge=1, le=10_000, description="How long a poll waits for its first record; it takes what is there."
    )

    @property
    def batch_records(self) -> int:
        """Most records in one micro-batch."""
        return self.batch_records_max or (1_000 if self.algorithm == "als" else 10_000)


class RankingConfig(Section):
    """`[ranking]`: in what order a user is shown items; explicit feedback ranks by the predicted rating."""

    model: Literal["blend", "factors"] = Field(
        "blend",
        description="`blend` joins taste, popularity and neighbours of the last items, with weights learnt "
        "online; `factors` is the inner product alone.",
    )
    repeats: bool = Field(
        False, description="Items that a user already had stay candidates and are offered again."
    )


class PrequentialConfig(Section):
    """`[prequential]`: test-then-learn evaluation of a sample of events."""

    sample_every: int = Field(
        20, ge=1, le=1_000_000, description="One in so many events is scored before it is learnt."
    )
    work_max: int = Field(
        1_000,
        ge=1,
        description="Multiply-adds per event, on average, that scoring may cost: "
        "widens the sample's spacing for large catalogues.",
    )
    k: int = Field(10, ge=1, le=1_000, description="Cut-off of hit rate and NDCG.")
    window_events: int = Field(1_000, ge=10, le=1_000_000, description="Scored events in one window.")


class WebhookConfig(Section):
    """An address to which drift events are posted."""

    url: str = Field(description="Of http or https. Shown to nobody, since some contain a secret.")
    format: Literal["event", "slack", "alertmanager"] = Field(
        "event",
        description="`event`: all of the drift event as JSON; `slack`: a message for an incoming webhook; "
        "`alertmanager`: an alert for `/api/v2/alerts`.",
    )
    min_severity: Literal["info", "warning", "error"] = Field(
        "warning", description="Events below are not posted."
    )
    secret: str = Field(
        "",
        description="`whsec_` and base64: signs requests by the Standard Webhooks specification.",
    )
    give_up_ms: int = Field(
        3_600_000, ge=0, description="An event that was not taken for so long goes to the dead letters."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address that begins with http:// or https:// and has a host")
        return url

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: str) -> str:
        if secret:
            signing_key(secret)
        return secret


class DriftConfig(Section):
    """`[drift]`: whether the model goes wrong."""

    enabled: bool = Field(
        True,
        description="Compare the live model with a frozen one and with a baseline (popularity; of ratings "
        "the user's mean), on each event that `[prequential]` samples.",
    )
    act: Literal["tell", "auto"] = Field(
        "tell",
        description="When broken or pushed events make learning pause: `tell` waits for `livefactor control "
        "resume`, `auto` goes on by itself when they have stopped.",
    )
    false_alarms_per_month: float = Field(
        0.1, gt=0, le=1_000, description="How often chance alone may raise an alarm of each kind, at most."
    )
    cool_down_ms: int = Field(
        3_600_000,
        ge=0,
        description="How long after an alarm no other is raised unless it is worse, by the times of events.",
    )
    webhooks: dict[WebhookName, WebhookConfig] = Field(
        {}, description="Where drift events are posted, by names of yours: `[drift.webhooks.ops]`."
    )


class LearnerSettings(Section):
    """Everything a learner needs to know."""

    kafka: dict[str, bool | int | float | str] = Field(
        {"bootstrap.servers": "127.0.0.1:9092"},
        description="Passed to librdkafka as it stands, security settings included; keys in quotes.",
    )
    topics: TopicsConfig = TopicsConfig()
    decode: DecodeConfig = DecodeConfig()
    model: ModelConfig = ModelConfig()
    learning: LearningConfig = LearningConfig()
    als: AlsConfig = AlsConfig()
    sgd: SgdConfig = SgdConfig()
    ranking: RankingConfig = RankingConfig()
    prequential: PrequentialConfig = PrequentialConfig()
    drift: DriftConfig = DriftConfig()
    state: StateConfig = StateConfig()
    rocksdb: dict[str, bool | int | float | str] = Field(
        {}, description="Options passed to RocksDB as they stand."
    )

    @property
    def blends(self) -> bool:
        """Whether items are ranked by the blend."""
        return self.ranking.model == "blend" and self.learning.feedback == "implicit"

    def aside(self, directory: Path) -> Self:
        """The same for a store of its own, which need not survive a power cut."""
        state = self.state.model_copy(update={"directory": directory, "sync": "never"})
        return self.model_copy(update={"state": state})

    @property
    def scoring(self) -> ScoringSpec:
        """What a scorer must know of these settings."""
        return ScoringSpec(
            rank=self.learning.rank,
            history_max=self.state.history_max,
            explicit=self.learning.feedback == "explicit",
            blends=self.blends,
            repeats=self.ranking.repeats,
        )
