"""One connect at a time: real sockets on loopback, each end of a connect."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import AF_INET, AF_INET6, IPPROTO_IP, create_server, socket

import pytest
from core_tools import needs_ipv6

from greenprobe.engine.connector import PENDING, Connector, is_routed, met_itself
from greenprobe.hub import Hub, get_hub

SILENT = -100

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


@pytest.fixture
def connector(hub: Hub) -> Iterator[Connector]:
    one = Connector(hub)
    yield one
    one.close()


def ask(connector: Connector, address: tuple[str, int], *, is_near: bool = True, timeout: float = 5.0) -> int:
    """Return how a connect ends, or SILENT."""
    code = connector.start(AF_INET6 if ":" in address[0] else AF_INET, address, is_near=is_near)
    if code in PENDING:
        code = connector.wait(get_hub().clock() + timeout)
    if code in PENDING:
        connector.close()
        return SILENT
    return code


@contextmanager
def closed_port(host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """Give an address that refuses: bound, so that nobody else gets it, and not listening."""
    with socket(AF_INET6 if ":" in host else AF_INET) as sock:
        sock.bind((host, 0))
        yield sock.getsockname()[:2]


@contextmanager
def silent_port() -> Iterator[tuple[str, int]]:
    """Give an address that answers nothing: its accept queue is full, so the kernel drops what comes."""
    with ExitStack() as stack:
        server = stack.enter_context(create_server(("127.0.0.1", 0), backlog=0))
        address = server.getsockname()
        for _ in range(2):
            client = stack.enter_context(socket())
            client.setblocking(False)
            client.connect_ex(address)
        yield address


def sockets_of_this_process() -> int:
    return sum(
        os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        for fd in map(int, os.listdir("/proc/self/fd"))
        if os.path.exists(f"/proc/self/fd/{fd}")
    )


@pytest.mark.parametrize("is_near", (True, False))
def test_a_listening_port_ends_with_zero(connector: Connector, is_near: bool) -> None:
    with create_server(("127.0.0.1", 0)) as server:
        assert ask(connector, server.getsockname(), is_near=is_near) == 0
    assert connector.icmp is None


@pytest.mark.parametrize("is_near", (True, False))
def test_a_closed_port_ends_with_econnrefused_and_no_icmp_error(connector: Connector, is_near: bool) -> None:
    with closed_port() as address:
        assert ask(connector, address, is_near=is_near) == errno.ECONNREFUSED
    assert connector.icmp is None


def test_a_near_answer_needs_no_wait(connector: Connector) -> None:
    with closed_port() as address:
        assert connector.start(AF_INET, address, is_near=True) == errno.ECONNREFUSED


def test_a_silent_port_is_still_pending_at_the_deadline(connector: Connector, hub: Hub) -> None:
    with silent_port() as address:
        started = hub.clock()
        assert ask(connector, address, timeout=0.02) == SILENT
        assert hub.clock() - started >= 0.02


def test_a_wait_may_go_on_after_its_deadline(connector: Connector, hub: Hub) -> None:
    with silent_port() as address:
        assert connector.start(AF_INET, address, is_near=True) in PENDING
        assert connector.wait(hub.clock() + 0.005) in PENDING
        assert connector.wait(hub.clock() + 0.005) in PENDING


def test_a_refused_socket_is_used_again(connector: Connector) -> None:
    with closed_port() as first, closed_port() as second:
        before = sockets_of_this_process()
        for address in (first, second, first):
            assert ask(connector, address) == errno.ECONNREFUSED
            assert sockets_of_this_process() == before + 1


def test_a_socket_used_again_tells_the_states_apart_whatever_came_before(connector: Connector) -> None:
    """Edges of an earlier connect must not be taken for an answer to a later one."""
    with create_server(("127.0.0.1", 0)) as server, closed_port() as closed, silent_port() as silent:
        opened = server.getsockname()
        expected = {opened: 0, closed: errno.ECONNREFUSED, silent: SILENT}
        for address in (closed, silent, closed, closed, opened, silent, closed, opened, opened, closed, silent):
            timeout = 0.01 if address is silent else 5.0
            assert ask(connector, address, is_near=False, timeout=timeout) == expected[address]


@needs_ipv6
def test_families_may_alternate(connector: Connector) -> None:
    with closed_port() as four, closed_port("::1") as six:
        for address in (four, six, four):
            assert ask(connector, address) == errno.ECONNREFUSED


def test_an_open_port_is_closed_by_a_reset(connector: Connector) -> None:
    with create_server(("127.0.0.1", 0)) as server:
        ask(connector, server.getsockname())
        accepted, _ = server.accept()
        with accepted, pytest.raises(ConnectionResetError):
            accepted.recv(1)


def test_nothing_is_left_open_after_an_open_or_silent_port(connector: Connector, hub: Hub) -> None:
    with create_server(("127.0.0.1", 0)) as server, silent_port() as silent:
        before = sockets_of_this_process(), len(hub.poller.slots)
        ask(connector, server.getsockname(), is_near=False)
        ask(connector, silent, timeout=0.01)
        assert (sockets_of_this_process(), len(hub.poller.slots)) == before


def test_an_address_that_cannot_be_connected_to_is_told_at_once(connector: Connector) -> None:
    """The broadcast address of loopback: the kernel refuses before it sends anything."""
    assert ask(connector, ("127.255.255.255", 9)) in (errno.ENETUNREACH, errno.EACCES)


def test_a_socket_that_met_itself_is_noticed() -> None:
    with create_server(("127.0.0.1", 0)) as server, socket() as itself, socket() as other:
        itself.bind(("127.0.0.1", 0))
        itself.connect(itself.getsockname())
        other.connect(server.getsockname())
        assert met_itself(itself)
        assert not met_itself(other)


def test_loopback_is_routed() -> None:
    assert is_routed(AF_INET, ("127.0.0.1", 9))


def test_a_connector_closed_in_the_middle_is_usable_again(connector: Connector) -> None:
    with silent_port() as silent, closed_port() as closed:
        assert connector.start(AF_INET, silent, is_near=False) in PENDING
        connector.close()
        assert ask(connector, closed) == errno.ECONNREFUSED


def test_close_without_a_socket_does_nothing(connector: Connector) -> None:
    connector.close()
    connector.close()


def test_sockets_report_errors_of_ipv4(connector: Connector) -> None:
    """Without IP_RECVERR an ICMP error that comes inside connect() is noticed a second later."""
    with closed_port() as address:
        ask(connector, address)
        sock = connector._sock
        assert sock is not None
        assert sock.getsockopt(IPPROTO_IP, 11) == 1
