"""The frames and events of WebSockets: wsproto's, and what to do where it is not installed.

Raises ImportError, when it is imported, with the command that installs it.
"""

try:
    from wsproto import WSConnection
    from wsproto.connection import Connection as Frames, ConnectionState, ConnectionType
    from wsproto.events import (
        AcceptConnection,
        BytesMessage,
        CloseConnection,
        Event,
        Message,
        Ping,
        RejectConnection,
        Request,
        TextMessage,
    )
    from wsproto.extensions import PerMessageDeflate
    from wsproto.frame_protocol import CloseReason
    from wsproto.utilities import RemoteProtocolError as RejectedByWsproto
except ImportError as exc:
    raise ImportError(
        "WebSockets need the package wsproto: pip install 'greenprobe[websocket]'", name="wsproto"
    ) from exc

__all__ = [
    "AcceptConnection",
    "BytesMessage",
    "CloseConnection",
    "CloseReason",
    "ConnectionState",
    "ConnectionType",
    "Event",
    "Frames",
    "Message",
    "PerMessageDeflate",
    "Ping",
    "RejectConnection",
    "RejectedByWsproto",
    "Request",
    "TextMessage",
    "WSConnection",
]
