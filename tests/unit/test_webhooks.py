"""Webhooks, against a real HTTP server: what is posted, what is tried again, and what comes back."""

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
import pytest
from webhook_server import Answer, WebhookServer

from protos.events_pb2 import DRIFT_ACTION_ROLLBACK, SEVERITY_ERROR, DriftEvent
from state.store import OutboxRecord
from stream.cloud_events import cloud_event, webhook_destination
from stream.config import WebhookConfig
from stream.webhooks import WebhookSink, posting, sink
from stream.webhooks.formats import body_of, signed

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
EVENT = DriftEvent(
    id="e1",
    time_ms=1_600_000_000_123,
    model="films",
    action=DRIFT_ACTION_ROLLBACK,
    severity=SEVERITY_ERROR,
    reason="item_pumped",
    message="the item '<b>&' is pushed",
    segment="item <b>&",
)
NOW_S = 1_700_000_000
WAIT_MS = 20_000


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxy in between, and not much patience."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sink, "AGAIN_FIRST_S", 0.01)
    return


def record(event_id: str = "e1", name: str = "ops") -> OutboxRecord:
    event = DriftEvent()
    event.CopyFrom(EVENT)
    event.id = event_id
    return cloud_event(webhook_destination(name), "films", event_id, event)


def sink_to(url: str, **fields: Any) -> WebhookSink:
    return WebhookSink({"ops": WebhookConfig(url=url, **fields)})


def outcome(of: WebhookSink, wait_ms: int = WAIT_MS) -> list[Any]:
    """What comes first: ids that were taken, or reasons why not."""
    taken, undelivered = of.take(wait_ms)
    return [*taken, *(failed.reason for failed in undelivered)]


def outcomes(of: WebhookSink, count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        more = outcome(of)
        assert more, found
        found += more
    return found


def test_an_event_is_json_under_the_names_of_its_definition() -> None:
    found = orjson.loads(body_of(EVENT, "event", NOW_S))
    assert found["id"] == "e1"
    assert found["action"] == "DRIFT_ACTION_ROLLBACK"
    assert found["time_ms"] == "1600000000123"


def test_slack_gets_text_without_control_characters_of_its_own() -> None:
    found = orjson.loads(body_of(EVENT, "slack", NOW_S))
    first, second, third = found["text"].split("\n")
    assert first == "*ERROR: ROLLBACK films (item_pumped)*"
    assert second == "the item '&lt;b&gt;&amp;' is pushed"
    assert third == "`e1`"


def test_alertmanager_gets_an_alert_that_ends_by_itself() -> None:
    [found] = orjson.loads(body_of(EVENT, "alertmanager", NOW_S))
    assert found["labels"] == {
        "alertname": "LivefactorDrift",
        "model": "films",
        "reason": "item_pumped",
        "action": "ROLLBACK",
        "severity": "error",
    }
    assert found["annotations"]["summary"] == EVENT.message
    assert (found["startsAt"], found["endsAt"]) == ("2023-11-14T22:13:20Z", "2023-11-14T23:13:20Z")


def test_signatures_are_those_of_the_specification() -> None:
    """Its own example."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = signed(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_delivery_says_what_it_is_and_can_be_verified() -> None:
    with WebhookServer() as server, closing(sink_to(f"{server.url}/hook", secret=SECRET)) as hooks:
        assert hooks.send(7, record())
        assert outcome(hooks) == [7]
        posted = server.came.get_nowait()
        assert hooks.send(7, record()), "sent again once it has been taken"
        assert outcome(hooks) == [7]
    assert posted.path == "/hook"
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["ce-id"] == posted.headers["webhook-id"] == "e1"
    assert posted.headers["ce-type"] == "livefactor.v1.DriftEvent"
    signed_s = int(posted.headers["webhook-timestamp"])
    assert abs(signed_s - time.time()) < 60
    content = f"e1.{signed_s}.".encode() + posted.body
    digest = hmac.new(bytes(range(32)), content, hashlib.sha256).digest()
    assert posted.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_without_a_secret_nothing_is_signed() -> None:
    with WebhookServer() as server, closing(sink_to(server.url)) as hooks:
        hooks.send(1, record())
        assert outcome(hooks) == [1]
        assert "webhook-signature" not in server.came.get_nowait().headers


@pytest.mark.parametrize("status", [500, 503, 408, 429])
def test_what_may_pass_is_tried_again_in_order(status: int) -> None:
    answers = Answer(status, {"retry-after": "0"}), Answer(status, {"retry-after": "soon"}), Answer(204)
    with WebhookServer(*answers) as server, closing(sink_to(server.url)) as hooks:
        hooks.send(1, record("e1"))
        hooks.send(2, record("e2"))
        assert outcomes(hooks, 2) == [1, 2]
        ids = [server.came.get_nowait().headers["webhook-id"] for _ in range(4)]
    assert ids == ["e1", "e1", "e1", "e2"]
    assert hooks.problem() is None


def test_a_webhook_that_is_down_gets_its_events_when_it_is_up() -> None:
    with WebhookServer() as gone:
        port = gone.port
    with closing(sink_to(gone.url)) as hooks:
        hooks.send(1, record())
        assert outcome(hooks, 300) == []
        assert "webhook ops: ClientConnectorError" in (hooks.problem() or "")
        with WebhookServer(port=port):
            assert outcome(hooks) == [1]
    assert hooks.problem() is None


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_refused_and_nothing_follows_it(status: int) -> None:
    with WebhookServer() as elsewhere:
        answer = Answer(status, {"location": f"{elsewhere.url}/stolen"})
        with WebhookServer(answer) as server, closing(sink_to(server.url, secret=SECRET)) as hooks:
            hooks.send(1, record())
            [reason] = outcome(hooks)
        assert f"it redirects to {elsewhere.url}/stolen (HTTP {status})" in reason
        assert elsewhere.came.empty()


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_what_is_refused_for_good_comes_back_at_once(status: int) -> None:
    with (
        WebhookServer(Answer(status, body=b"no_such_channel\n" + b"x" * 10_000)) as server,
        closing(sink_to(server.url)) as hooks,
    ):
        hooks.send(1, record())
        [reason] = outcome(hooks)
        assert server.came.qsize() == 1
    assert f"HTTP {status}" in reason
    assert "no_such_channel" in reason
    assert len(reason) < 300


def test_a_slow_webhook_is_given_up_and_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "ATTEMPT_S", 0.2)
    hold = threading.Event()
    with WebhookServer(Answer(hold=hold)) as slow, WebhookServer() as quick:
        hooks = WebhookSink(
            {
                "slow": WebhookConfig(url=slow.url, give_up_ms=500),
                "quick": WebhookConfig(url=quick.url),
            }
        )
        with closing(hooks):
            hooks.send(1, record(name="slow"))
            hooks.send(2, record(name="quick"))
            assert outcome(hooks) == [2]
            [reason] = outcome(hooks)
            hold.set()
        assert "no answer within" in reason
        assert "given up after" in reason
        assert slow.came.qsize() > 1


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "WAITING_MAX", 2)
    hold = threading.Event()
    with WebhookServer(Answer(hold=hold), Answer()) as server, closing(sink_to(server.url)) as hooks:
        hooks.send(0, record())
        server.came.get(timeout=WAIT_MS / 1_000)
        for n in range(1, 5):
            hooks.send(n, record())
        assert outcomes(hooks, 2) == ["2 events wait for it already"] * 2
        hold.set()
        assert outcomes(hooks, 3) == [0, 1, 2]


def test_an_event_for_a_webhook_that_is_no_longer_configured_comes_back() -> None:
    with closing(WebhookSink({})) as hooks:
        hooks.send(1, record())
        assert outcome(hooks) == ["there is no [drift.webhooks.ops] any more"]


def test_a_record_that_cannot_be_posted_at_all_comes_back_and_the_next_goes_on() -> None:
    broken = OutboxRecord(webhook_destination("ops"), b"films", b"\xff no event", ())
    with WebhookServer() as server, closing(sink_to(server.url)) as hooks:
        hooks.send(1, broken)
        hooks.send(2, record())
        [reason] = outcome(hooks)
        assert reason.startswith("posting failed in an unexpected way: DecodeError")
        assert outcome(hooks) == [2]


def test_closing_waits_for_nobody() -> None:
    hold = threading.Event()
    before = threading.active_count()
    with WebhookServer(Answer(hold=hold)) as server:
        hooks = sink_to(server.url)
        hooks.send(1, record())
        server.came.get(timeout=WAIT_MS / 1_000)
        started_s = time.monotonic()
        hooks.close()
        assert time.monotonic() - started_s < sink.CLOSE_S
        assert not [thread for thread in threading.enumerate() if thread.name == "webhooks"]
        hold.set()
    assert threading.active_count() <= before + 2
