"""Fetching through proxies that others wrote, and from servers that want something of us first."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET
from threading import Thread

import pytest
import trustme
from fakes import ok, web_server
from real_servers import answers, free_port, private_folder, program, running

from greenprobe.errors import ProxyError, TlsError
from greenprobe.http.client import Client
from greenprobe.http.options import ClientOptions
from greenprobe.http.proxy import NoProxy, Proxies, read_proxy
from greenprobe.http.trust import TlsOptions, tls_context
from greenprobe.hub import Hub

pytestmark = pytest.mark.slow  # starts the programs

USER = "me:s%33cret"


class Web:
    """A site over HTTP and over TLS, and who vouches for it."""

    def __init__(self, plain: str, secure: str, ca_file: str) -> None:
        self.plain = plain
        self.secure = secure
        self.ca_file = ca_file

    def get(self, url: str, proxy: str) -> tuple[int, bytes]:
        options = ClientOptions(proxies=Proxies.always(read_proxy(proxy), NoProxy("")), connect_timeout=20.0)
        with Client(options, trust=lambda: tls_context(TlsOptions(ca_file=self.ca_file))) as client:
            first = client.get(url)
            assert client.get(url).content == first.content  # on a connection that was kept
            return first.status, first.content


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def web(hub: Hub, authority: trustme.CA, tmp_path: Path) -> Iterator[Web]:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with ExitStack() as stack:
        plain = stack.enter_context(web_server(lambda path: ok(b"plain " + path.encode())))
        secure = stack.enter_context(
            web_server(lambda path: ok(b"secure " + path.encode()), context=server_context(authority))
        )
        yield Web(f"http://127.0.0.1:{plain}/x", f"https://localhost:{secure}/x", str(ca_file))


@contextmanager
def microsocks() -> Iterator[int]:
    """Yield the port of a SOCKS5 proxy that wants USER."""
    name, port = program("microsocks"), free_port()
    with private_folder() as folder:
        command = [name, "-i", "127.0.0.1", "-p", str(port), "-u", "me", "-P", "s3cret"]
        with running(command, folder, answers(AF_INET, ("127.0.0.1", port))):
            yield port


@contextmanager
def tinyproxy() -> Iterator[int]:
    """Yield the port of an HTTP proxy that wants USER."""
    name, port = program("tinyproxy"), free_port()
    with private_folder() as folder:
        lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 20", "BasicAuth me s3cret"]
        (folder / "conf").write_text("\n".join([*lines, ""]))
        with running([name, "-d", "-c", str(folder / "conf")], folder, answers(AF_INET, ("127.0.0.1", port))):
            yield port


@contextmanager
def stunnel(to_port: int, authority: trustme.CA) -> Iterator[int]:
    """Yield a port where TLS is spoken in front of another port."""
    name, port = program("stunnel4"), free_port()
    with private_folder() as folder:
        (folder / "pem").write_bytes(authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes())
        (folder / "pem").chmod(0o644)
        lines = ["foreground = yes", "pid =", "[p]", f"accept = 127.0.0.1:{port}", f"connect = 127.0.0.1:{to_port}"]
        (folder / "conf").write_text("\n".join([*lines, f"cert = {folder / 'pem'}", ""]))
        with running([name, str(folder / "conf")], folder, answers(AF_INET, ("127.0.0.1", port))):
            yield port


@pytest.mark.parametrize("kind", ("socks5", "socks5h"))
def test_socks_with_credentials_leads_to_http_and_https(web: Web, kind: str) -> None:
    """Slow: starts a proxy."""
    with microsocks() as port:
        assert web.get(web.plain, f"{kind}://{USER}@127.0.0.1:{port}") == (200, b"plain /x")
        assert web.get(web.secure, f"{kind}://{USER}@127.0.0.1:{port}") == (200, b"secure /x")
        with pytest.raises(ProxyError, match="user"):
            web.get(web.plain, f"{kind}://me:wrong@127.0.0.1:{port}")


def test_an_http_proxy_forwards_and_tunnels(web: Web) -> None:
    """Slow: starts a proxy."""
    with tinyproxy() as port:
        assert web.get(web.plain, f"http://{USER}@127.0.0.1:{port}") == (200, b"plain /x")
        assert web.get(web.secure, f"http://{USER}@127.0.0.1:{port}") == (200, b"secure /x")
        with pytest.raises(ProxyError, match="answers 4"):
            web.get(web.secure, f"http://me:wrong@127.0.0.1:{port}")


def test_an_https_proxy_is_spoken_to_in_tls_and_carries_tls(web: Web, authority: trustme.CA) -> None:
    """Slow: starts two proxies."""
    with tinyproxy() as behind, stunnel(behind, authority) as port:
        assert web.get(web.plain, f"https://{USER}@127.0.0.1:{port}") == (200, b"plain /x")
        assert web.get(web.secure, f"https://{USER}@127.0.0.1:{port}") == (200, b"secure /x")


def test_an_https_proxy_that_nobody_vouches_for_is_refused(web: Web) -> None:
    """Slow: starts two proxies."""
    stranger = trustme.CA()
    with tinyproxy() as behind, stunnel(behind, stranger) as port, pytest.raises(ProxyError, match="CERTIFICATE"):
        web.get(web.plain, f"https://{USER}@127.0.0.1:{port}")


def test_a_server_that_wants_our_certificate_gets_it(authority: trustme.CA, tmp_path: Path, hub: Hub) -> None:
    """Slow: with the others, though it starts nothing."""
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ours = authority.issue_cert("me.example")
    ours.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    known = TlsOptions(str(tmp_path / "ca.pem"), True, str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    with web_server(lambda path: ok(b"come in"), context=context) as port:
        url = f"https://localhost:{port}/"
        with Client(trust=lambda: tls_context(known)) as client:
            assert [client.get(url).content for _ in range(2)] == [b"come in"] * 2
        stranger = TlsOptions(ca_file=str(tmp_path / "ca.pem"))
        with Client(trust=lambda: tls_context(stranger)) as client, pytest.raises(TlsError, match="REQUIRED"):
            client.get(url)


class Upload(BaseHTTPRequestHandler):
    """Takes what is sent to /yes and refuses the rest before it is sent."""

    protocol_version = "HTTP/1.1"

    def handle_expect_100(self) -> bool:
        if self.path == "/yes":
            return super().handle_expect_100()
        self.send_error(417)
        return False

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_body_is_sent_when_the_server_asks_for_it_and_not_before(hub: Hub) -> None:
    """Slow: with the others, though it starts nothing."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Upload) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            with Client() as client:
                taken = client.put(f"{url}/yes", b"x" * 100_000, expects_continue=True)
                assert (taken.status, len(taken.content)) == (200, 100_000)
                refused = client.put(f"{url}/no", b"x" * 100_000, expects_continue=True)
                assert refused.status == 417
                assert refused.trace.sent_bytes < 1000
        finally:
            server.shutdown()
            thread.join()
