"""`livefactor demo`: the whole of Livefactor in a few minutes, with nothing but this package.

Kafka is librdkafka's embedded cluster (real TCP, but forgetful and without durability); it, learner and
scorer are processes of their own, as they would be in production.

    1  start the three, and publish the first part of 100,000 film ratings
    2  a new visitor: what is popular, three clicks, and how the answers change
    3  publish the rest, and kill the learner in mid-stream
    4  replay the log and compare: nothing lost, nothing doubled
"""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

import orjson
from rich.console import Console
from rich.markup import escape

from livefactor.client import Client, Recommendations
from livefactor.demo.catalogue import Film, best_known, films, ratings
from livefactor.demo.children import Child
from livefactor.demo.watch import Seen, Watch
from livefactor.publish import Account, publish
from livefactor.settings import Settings, load, to_toml
from protos.events_pb2 import Interaction
from state.errors import LivefactorError, ScorerError
from stream.kafka import EmbeddedCluster, KafkaPublisher, KafkaSource

FIRST_PART = 0.7
REST_RATE = 10_000
LIKED_FROM = 7
LEARNING = (
    f"learning.min_value={LIKED_FROM}",
    # Measure one event in twenty, whatever the size of the catalogue.
    "prequential.work_max=1000000",
)
VISITOR = "new-visitor"
VISITOR_TASTE = "Western"
CLICKS = 3
SHOWN = 6
REPORT_EVERY_S = 0.25
POLL_S = 0.05
KEEP_SLEEP_S = 0.5
READY_TIMEOUT_S = 120.0
LEARN_TIMEOUT_S = 300.0
VERIFY_TIMEOUT_S = 300.0
BAR_WIDTH = 14
BAR_FULL = 0.4
COMPARED = {
    "live": ("live model", "green"),
    "popularity": ("popularity", "blue"),
    "neighbours": ("neighbours", "magenta"),
}
"""What guesses each event, as it is called and coloured."""


class DemoFailedError(LivefactorError):
    """Something the demo promises to show did not happen; the message says what."""


@dataclass
class Scene:
    """Everything that is on stage."""

    console: Console
    folder: Path
    cluster: EmbeddedCluster
    settings: Settings
    config: Path
    publisher: KafkaPublisher
    stack: ExitStack
    catalogue: dict[str, Film]
    published: int = 0
    address: str = ""
    summary: dict[str, str] = field(default_factory=dict)

    @property
    def topic(self) -> str:
        """Where the ratings go."""
        return self.settings.topics.interactions

    def start(self, name: str, *arguments: str) -> Child:
        """A `livefactor` process with the demo's settings, which ends with the demo at the latest."""
        child = Child(name, (*arguments, "--config", str(self.config)), self.folder / f"{name}.log")
        self.stack.callback(child.stop)
        return child

    def say(self, text: str = "") -> None:
        """One line."""
        self.console.print(text, soft_wrap=True)

    def title(self, number: int, text: str) -> None:
        """The head of a part."""
        self.say(f"\n[bold]{number}  {text}[/bold]")

    def film(self, item_id: str) -> str:
        """A film's title, safe to print."""
        return escape(self.catalogue[item_id].title if item_id in self.catalogue else item_id)


def run(console: Console, keep: bool) -> None:
    """Show everything; with `keep` leave it running until Ctrl-C. Raises DemoFailedError, ChildFailedError.

    Nothing stays behind, however it ends.
    """
    started_s = time.monotonic()
    with _terminated_like_interrupted(), ExitStack() as stack:
        scene = _prepare(console, stack)
        scene.say(
            "[bold]Livefactor[/bold]: events through Kafka into a learner, durably, and out of a scorer."
        )
        stream = ratings()
        cut = int(len(stream) * FIRST_PART)
        learner, watch = _start(scene)
        client = stack.enter_context(Client(scene.address, _producer_settings(scene.cluster), scene.topic))
        _first_part(scene, learner, watch, stream[:cut])
        _visitor(scene, client, stream[:cut])
        _kill_in_mid_stream(scene, learner, watch, client, stream[cut:])
        _check_log_is_whole(scene)
        _verify(scene)
        scene.summary["took"] = f"{time.monotonic() - started_s:.0f} s"
        _print_summary(scene)
        if keep:
            _keep(scene)


def _prepare(console: Console, stack: ExitStack) -> Scene:
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="livefactor-demo-")))
    cluster = stack.enter_context(EmbeddedCluster())
    overrides = [f"kafka.{name}={value}" for name, value in cluster.settings.items()]
    settings = load(
        None,
        {},
        [
            *overrides,
            f"state.directory={folder / 'state'}",
            "serving.listen=127.0.0.1:0",
            *LEARNING,
        ],
    )
    topics = settings.topics
    cluster.create_topics((topics.interactions, topics.dlq, topics.items, topics.control, topics.drift))
    config = folder / "livefactor.toml"
    config.write_text(to_toml(settings), encoding="utf-8")
    publisher = stack.enter_context(KafkaPublisher(_producer_settings(cluster)))
    return Scene(console, folder, cluster, settings, config, publisher, stack, films())


def _producer_settings(cluster: EmbeddedCluster) -> dict[str, str]:
    """Without the cluster's settings for consumers, of which librdkafka warns a producer."""
    return {"bootstrap.servers": cluster.bootstrap}


def _start(scene: Scene) -> tuple[Child, Watch]:
    """Bring up learner and scorer, and wait until the store is there."""
    scene.title(1, "Kafka, a learner and a scorer")
    learner, scorer = scene.start("learner", "learn"), scene.start("scorer", "serve")
    scene.say(f"   Kafka    process {scene.cluster.process_id}, {scene.cluster.bootstrap}, librdkafka's own")
    scene.say(f"   learner  process {learner.process_id}")
    with _waiting(scene, "starting; the very first time, kernels are compiled for half a minute"):
        scene.address = scorer.first_line(READY_TIMEOUT_S).removeprefix("listening on ")
        directory = scene.settings.state.directory
        watch = scene.stack.enter_context(Watch(directory, scene.topic, READY_TIMEOUT_S, learner.check))
    scene.say(f"   scorer   process {scorer.process_id}, {scene.address}")
    return learner, watch


def _first_part(scene: Scene, learner: Child, watch: Watch, part: Sequence[Interaction]) -> None:
    """Publish the first part and report while it is learnt."""
    scene.say(
        f"\n   {len(part):,} film ratings (MovieTweetings, 2013) go in; {LIKED_FROM} and above is liked."
    )
    scene.say(
        "   Before an event is learnt, the live model guesses it, and so do its two best ingredients alone,"
    )
    scene.say(
        "   what is popular and what people liked after the same films. A hit: it is among the best 10.\n"
    )
    before = watch.look()
    account = _publish(scene, part)
    scene.say(f"   published at {account.events_per_second:,.0f} events/s; learnt:\n")
    heads = "  ".join(f"{name:<{BAR_WIDTH + 6}}" for name, _ in COMPARED.values())
    scene.say(f"   {'events':>8} {'events/s':>9}   {heads.rstrip()}")
    with _waiting(scene, "learning"):
        events_per_second = _watch_learning(scene, learner, watch, before)
    scene.summary["learnt at"] = f"{events_per_second:,.0f} events/s, durably"


def _watch_learning(scene: Scene, learner: Child, watch: Watch, before: Seen) -> float:
    """Report now and then until everything is learnt; events/s since the first was."""
    reported = first = before
    for seen in _until_applied(scene, learner, watch):
        if seen.applied > first.applied == before.applied:
            first = reported = seen
        due = seen.monotonic_s - reported.monotonic_s >= REPORT_EVERY_S and seen.applied > reported.applied
        if due or seen.applied == scene.published:
            _report(scene, seen, _speed(reported, seen))
            reported = seen
    return _speed(first, reported)


def _speed(earlier: Seen, later: Seen) -> float:
    return (later.applied - earlier.applied) / max(later.monotonic_s - earlier.monotonic_s, 1e-9)


def _report(scene: Scene, seen: Seen, events_per_second: float) -> None:
    rates = {name: seen.hit_rates.get(name, 0.0) for name in COMPARED}
    bars = "  ".join(f"[{COMPARED[name][1]}]{_bar(rate)}[/] {rate:5.1%}" for name, rate in rates.items())
    scene.say(f"   {seen.applied:>8,} {events_per_second:>9,.0f}   {bars}")
    told = ", ".join(f"{name} {rate:.1%}" for name, rate in rates.items())
    scene.summary["hit rate at 10"] = f"{told}, on {seen.scored:,} events"


def _bar(rate: float) -> str:
    full = round(min(rate / BAR_FULL, 1.0) * BAR_WIDTH)
    return "█" * full + "·" * (BAR_WIDTH - full)


def _until_applied(scene: Scene, learner: Child, watch: Watch) -> Iterator[Seen]:
    """Looks at the store, the last one when everything published has been applied."""
    deadline_s = time.monotonic() + LEARN_TIMEOUT_S
    while True:
        seen = watch.look()
        yield seen
        if seen.applied == scene.published:
            return
        if seen.applied > scene.published:
            raise DemoFailedError(f"{seen.applied:,} events applied, but {scene.published:,} published")
        learner.check()
        if time.monotonic() > deadline_s:
            raise DemoFailedError(f"only {seen.applied:,} of {scene.published:,} events were learnt in time")
        time.sleep(POLL_S)


def _publish(scene: Scene, part: Sequence[Interaction], rate: float | None = None) -> Account:
    account = publish(part, scene.publisher, scene.topic, rate=rate)
    if not account.complete:
        raise DemoFailedError(f"not everything could be published: {account.failure or account.damage}")
    scene.published += account.events
    return account


def _visitor(scene: Scene, client: Client, seen: Sequence[Interaction]) -> None:
    """Someone new arrives, clicks three times, and is understood."""
    scene.title(2, "A new visitor")
    before = _ask_when_ready(client)
    _show(scene, "unknown, so offered what is popular:", before)
    times_ms = []
    for film in best_known(VISITOR_TASTE, scene.catalogue, seen, CLICKS):
        clicked_s = time.monotonic()
        position = client.publish(VISITOR, film.item_id, "click")
        answer = client.recommend(VISITOR, SHOWN, min_position=position)
        times_ms.append((time.monotonic() - clicked_s) * 1000)
        scene.published += 1
        scene.say(f"   clicks [bold]{escape(film.title)}[/bold]: answer with it in {times_ms[-1]:.0f} ms")
    reasons = [_reason(scene, client, item_id) for item_id in answer.item_ids]
    _show(
        scene, "now offered:", answer, [f"because of {reason}" if reason else "popular" for reason in reasons]
    )
    if answer.cold or answer.item_ids == before.item_ids or not any(reasons):
        raise DemoFailedError("three clicks did not change what is recommended")
    scene.summary["click to changed answer"] = ", ".join(f"{time_ms:.0f} ms" for time_ms in times_ms)


def _ask_when_ready(client: Client) -> Recommendations:
    """The first answer; a scorer that has just started may still be reading the store."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            return client.recommend(VISITOR, SHOWN)
        except ScorerError as error:
            if error.code != "UNAVAILABLE" or time.monotonic() > deadline_s:
                raise
            time.sleep(POLL_S)


def _show(scene: Scene, text: str, answer: Recommendations, reasons: Sequence[str] = ()) -> None:
    scene.say(f"   {text}")
    for item_id, reason in zip_longest(answer.item_ids, reasons, fillvalue=""):
        categories = scene.catalogue[item_id].categories if item_id in scene.catalogue else ()
        scene.say(
            f"      {scene.film(item_id)}  [dim]{escape(', '.join(categories))}[/dim]  {reason}".rstrip()
        )


def _reason(scene: Scene, client: Client, item_id: str) -> str:
    """The film clicked that added more to a film's score than being popular did, if one did."""
    why = client.explain(VISITOR, item_id)
    past, added = next(iter(why.because.items()), ("", 0.0))
    return scene.film(past) if added > max(why.popularity, 0.0) else ""


def _kill_in_mid_stream(
    scene: Scene, learner: Child, watch: Watch, client: Client, part: Sequence[Interaction]
) -> Child:
    """Publish the rest in two halves; kill the learner when some of the first has been applied."""
    scene.title(3, "SIGKILL in mid-stream")
    before = watch.look().applied
    half = len(part) // 2
    _publish(scene, part[:half])
    killed_at = _wait_for_progress(scene, learner, watch, before)
    learner.kill()
    scene.say(f"   learner killed after {killed_at - before:,} of {len(part):,} further events")
    _publish(scene, part[half:], REST_RATE)
    answer = client.recommend(VISITOR, SHOWN)
    scene.say(f"   the scorer still answers, from a state {answer.meta.staleness_ms:,} ms old")
    applied = watch.look().applied
    restarted_s = time.monotonic()
    learner = scene.start("learner", "learn")
    with _waiting(scene, "a new learner recovers and reads on"):
        looks = _until_applied(scene, learner, watch)
        moving_s = next(seen.monotonic_s for seen in looks if seen.applied > applied) - restarted_s
        seen = list(looks)[-1]
    scene.say(f"   a new learner went on after {moving_s:.1f} s and is at the end: {seen.applied:,} events")
    _report(scene, seen, _speed(Seen(restarted_s, applied, 0, 0, 0, {}), seen))
    scene.summary["killed"] = f"in mid-stream; learning again {moving_s:.1f} s after the restart"
    return learner


def _wait_for_progress(scene: Scene, learner: Child, watch: Watch, before: int) -> int:
    """How much has been applied when some, but not all, of what was published has been."""
    for seen in _until_applied(scene, learner, watch):
        if seen.applied > before:
            return seen.applied
    raise DemoFailedError("the learner made no step after more events were published")


def _check_log_is_whole(scene: Scene) -> None:
    """The embedded cluster keeps 5 MiB of each partition only; verification needs every record."""
    with closing(KafkaSource(scene.settings.kafka, "livefactor.demo", (scene.topic,))) as source:
        limits = source.limits(source.partitions())
    if (
        any(low != 0 for low, _ in limits.values())
        or sum(high for _, high in limits.values()) != scene.published
    ):
        raise DemoFailedError(f"the embedded cluster has lost records: {dict(limits)}")


def _verify(scene: Scene) -> None:
    """Replay the whole log under the recorded schedule, in a process of its own."""
    scene.title(4, "Proof")
    scene.say(f"   {scene.published:,} events published, {scene.published:,} applied; the log is whole.")
    started_s = time.monotonic()
    with _waiting(scene, "replaying the log and comparing"):
        check = scene.start("verification", "state", "verify", "--json")
        code = check.wait(VERIFY_TIMEOUT_S)
    verdict = orjson.loads(check.first_line(READY_TIMEOUT_S) or b"{}")
    if code != 0:
        reasons = "; ".join(verdict.get("spans", [])) or check.log_tail()
        raise DemoFailedError(f"state verify does not agree (exit code {code}): {reasons}")
    scene.say(
        f"   state verify agrees: {verdict['batches']:,} micro-batches replayed "
        f"in {time.monotonic() - started_s:.1f} s, digest {verdict['expected'][:16]}…"
    )
    scene.summary["proof"] = "state verify agrees, bit for bit: nothing lost, nothing doubled"


def _print_summary(scene: Scene) -> None:
    scene.say("\n[bold]Summary[/bold]")
    width = max(map(len, scene.summary))
    for name, text in scene.summary.items():
        scene.say(f"   {name:<{width}}  {escape(text)}")


def _keep(scene: Scene) -> NoReturn:
    scene.say("\n[bold]Still running[/bold], until Ctrl-C:")
    scene.say(f"   Kafka   {scene.cluster.bootstrap}")
    scene.say(f"   scorer  {scene.address}")
    scene.say(
        f"   livefactor recommend {VISITOR} --config {scene.config} --set serving.listen={scene.address}"
    )
    scene.say(f"   livefactor state inspect --config {scene.config}")
    while True:
        time.sleep(KEEP_SLEEP_S)


@contextmanager
def _waiting(scene: Scene, text: str) -> Iterator[None]:
    """A spinner with a text, for a person only."""
    if scene.console.is_terminal:
        with scene.console.status(text):
            yield
    else:
        yield


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that it cleans up."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
