"""Why no broker can be talked to: what librdkafka says of it, and the setting to look at.

Some reasons come to a client's error callback, some are in its log alone: a listener that wants SASL or SSL
and is spoken to in plain text just closes the connection.
"""

import re

import confluent_kafka as ck

from stream.kafka.client import LOOK_AT, ClientLog

WANTS_OTHER_SETTINGS = frozenset(
    {ck.KafkaError._AUTHENTICATION, ck.KafkaError._SSL, ck.KafkaError.SASL_AUTHENTICATION_FAILED}
)

_HANDSHAKES = re.compile("SSL handshake failed|SASL")
_ADVICE = (
    (
        re.compile("SASL"),
        'check [kafka] "security.protocol", "sasl.mechanism", "sasl.username" and "sasl.password"',
    ),
    (
        re.compile("SSL"),
        'check [kafka] "security.protocol", and "ssl.ca.location" for a certificate of one\'s own',
    ),
    (
        re.compile("Disconnected"),
        'check [kafka] "security.protocol": the listener may want SASL_PLAINTEXT, SASL_SSL or SSL',
    ),
)
_THREAD = re.compile(r"^\[thrd:[^\]]*\]: ")


class Complaints(ClientLog):
    """Listens to one client, whose logger and error callback it is; both are heard when it is polled."""

    def __init__(self) -> None:
        self._latest = ""
        self.is_of_settings = False

    def forget(self) -> None:
        """Take for reasons what comes from now on."""
        self._latest, self.is_of_settings = "", False

    def note(self, error: ck.KafkaError) -> None:
        """librdkafka's `error_cb`."""
        if error.code() == ck.KafkaError._ALL_BROKERS_DOWN:
            return
        self._latest = str(error.str())
        self.is_of_settings = error.code() in WANTS_OTHER_SETTINGS or bool(_HANDSHAKES.search(self._latest))

    def log(self, level: int, message: str, *arguments: object) -> None:
        """Hand a line on, and remember why a connection failed."""
        if arguments and str(arguments[0]) == "FAIL":
            self._latest = _THREAD.sub("", str(arguments[-1]))
        super().log(level, message, *arguments)

    def describe(self) -> str:
        """The latest reason, in librdkafka's words, and what to look at; nothing if there was none."""
        if not self._latest:
            return ""
        advice = next((words for pattern, words in _ADVICE if pattern.search(self._latest)), LOOK_AT)
        return f"{self._latest}; {advice}"
