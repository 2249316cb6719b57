"""Later handshakes with an origin that resumes no sessions: its certificate is recognized, and nothing else is."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from fakes import ok, web_server

from greenprobe.errors import TlsError
from greenprobe.http.client import Client
from greenprobe.http.lanes import Lane
from greenprobe.http.options import ClientOptions
from greenprobe.http.trust import TlsOptions, Trust

HANDSHAKES = 5  # after which a server is known to resume nothing, and its certificate is known


class Origin:
    """A server that resumes nothing and closes after each answer, and who trusts it."""

    def __init__(self, ca_file: str) -> None:
        self.ca_file = ca_file
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(ca_file)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.num_tickets = 0
        self.shows(self.authority)
        self.port = 0

    def shows(self, authority: trustme.CA) -> None:
        """Show a new certificate from now on."""
        authority.issue_cert("127.0.0.1").configure_cert(self.context)

    def client(self, *, verify: bool = True, pins: frozenset[bytes] = frozenset()) -> Client:
        trust = Trust(TlsOptions(ca_file=self.ca_file, verify=verify))
        return Client(ClientOptions(pins=pins), trust=trust)

    def fetch(self, client: Client, times: int = 1) -> Lane:
        for _ in range(times):
            assert client.get(f"https://127.0.0.1:{self.port}/").status == 200
        (lane,) = client.lanes.by_key.values()
        return lane


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    origin = Origin(str(tmp_path / "ca.pem"))
    with web_server(lambda _: ok(b"", "Connection: close"), context=origin.context) as port:
        origin.port = port
        yield origin


def test_a_certificate_that_was_verified_is_recognized(origin: Origin) -> None:
    with origin.client() as client:
        assert origin.fetch(client).certificate is None  # to most origins there is one handshake
        lane = origin.fetch(client, HANDSHAKES)
        assert lane.certificate is not None
        Path(origin.ca_file).unlink()  # what follows verifies nothing
        origin.fetch(client)


def test_another_certificate_is_verified_on_a_connection_of_its_own(origin: Origin) -> None:
    with origin.client() as client:
        known = origin.fetch(client, HANDSHAKES).certificate
        origin.shows(origin.authority)
        lane = origin.fetch(client)
        assert lane.certificate is not None
        assert lane.certificate != known
        origin.fetch(client)


def test_a_certificate_of_nobody_is_refused_also_where_another_was_recognized(origin: Origin) -> None:
    with origin.client() as client:
        origin.fetch(client, HANDSHAKES)
        origin.shows(trustme.CA())
        for _ in range(2):
            with pytest.raises(TlsError, match="not to be trusted"):
                origin.fetch(client)


def test_what_was_recognized_is_verified_again_after_a_while(origin: Origin) -> None:
    with origin.client() as client:
        lane = origin.fetch(client, HANDSHAKES)
        until = lane.certificate_until
        origin.fetch(client, 2)
        assert lane.certificate_until == until, "recognizing is no verifying"
        lane.certificate_until = 0.0
        origin.fetch(client)
        assert lane.certificate_until >= until


def test_who_verifies_nothing_or_pins_recognizes_nothing(origin: Origin) -> None:
    with origin.client(verify=False) as client:
        assert origin.fetch(client, HANDSHAKES).certificate is None
    with origin.client(pins=frozenset({bytes(32)})) as client, pytest.raises(TlsError, match="pinned"):
        origin.fetch(client)
