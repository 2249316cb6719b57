"""socket, green; `socket.socket` is GreenSocket."""

from typing import TYPE_CHECKING

from greenprobe.compat.eventlet.green.private import contents, green
from greenprobe.compat.eventlet.greenio.base import GreenSocket

if not TYPE_CHECKING:
    globals().update(contents(green("socket")))

GreenSSLObject = None
socket = GreenSocket
