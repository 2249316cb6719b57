"""eventlet.backdoor: a Python prompt for each connection. See `greenprobe.backdoor`.

The caller brings the socket, and so decides who can reach it.
"""

from typing import Any

from greenprobe.acceptor import connections
from greenprobe.backdoor import converse
from greenprobe.greenthread import spawn

__all__ = ["backdoor", "backdoor_server"]


def backdoor_server(sock: Any, locals: dict[str, Any] | None = None) -> None:
    """Serve prompts on a listening socket, until it is closed; `locals` are shared by all of them."""
    try:
        for connection, address in connections(sock):
            backdoor((connection, address), locals)
    finally:
        sock.close()


def backdoor(conn_info: tuple[Any, Any], locals: dict[str, Any] | None = None) -> None:
    """Serve a prompt on a connected socket, in a greenthread of its own."""
    connection, _ = conn_info
    spawn(hold, connection, locals)


def hold(connection: Any, names: dict[str, Any] | None) -> None:
    """Hold a session, and close its socket."""
    with connection:
        converse(connection, names)
