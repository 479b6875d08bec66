"""A Kafka broker that also listens with SASL_PLAINTEXT and with SSL, for clients with wrong settings."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka_broker import KafkaBroker, free_port

USER, PASSWORD = "alice", "wonderland-7"


@dataclass(frozen=True)
class SecuredBroker:
    """Addresses by protocol, and the certificate that the SSL listener shows (PEM).

    `lost` is one where the broker answers, and says to be reached at `elsewhere`, where nobody is.
    """

    broker: KafkaBroker
    plaintext: str
    sasl: str
    ssl: str
    lost: str
    elsewhere: str
    certificate: Path


@contextmanager
def secured_broker() -> Iterator[SecuredBroker]:
    """A running broker with three listeners on loopback."""
    with tempfile.TemporaryDirectory() as folder:
        store, certificate = Path(folder, "keys.p12"), Path(folder, "certificate.pem")
        secret = ["-keystore", str(store), "-storepass", PASSWORD, "-alias", "broker"]
        _keytool(
            "-genkeypair",
            *secret,
            "-keyalg",
            "RSA",
            "-storetype",
            "PKCS12",
            "-dname",
            "CN=127.0.0.1",
            "-ext",
            "san=ip:127.0.0.1",
            "-validity",
            "2",
        )
        _keytool("-exportcert", *secret, "-rfc", "-file", str(certificate))
        plaintext, sasl, ssl, lost, elsewhere, controller = (f"127.0.0.1:{free_port()}" for _ in range(6))
        addresses = f"PLAINTEXT://{plaintext},SASL_PLAINTEXT://{sasl},SSL://{ssl}"
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        settings = {
            "listeners": f"{addresses},LOST://{lost},CONTROLLER://{controller}",
            "advertised.listeners": f"{addresses},LOST://{elsewhere}",
            "controller.quorum.voters": f"1@{controller}",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
            "LOST:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{login} user_{USER}="{PASSWORD}";',
            "ssl.keystore.location": str(store),
            "ssl.keystore.password": PASSWORD,
            "ssl.keystore.type": "PKCS12",
        }
        with KafkaBroker(settings, port=int(plaintext.rpartition(":")[2])) as broker:
            yield SecuredBroker(broker, plaintext, sasl, ssl, lost, elsewhere, certificate)


def _keytool(*arguments: str) -> None:
    subprocess.run(["keytool", *arguments], check=True, capture_output=True, timeout=60)
