"""python-socketio in its eventlet mode, on the compatibility package's wsgi and websocket modules."""

import subprocess
import sys
from pathlib import Path

import pytest

SERVER = """
import eventlet
eventlet.monkey_patch()
import socketio, eventlet.wsgi
sio = socketio.Server(async_mode="eventlet")
@sio.event
def hello(sid, data):
    sio.emit("news", data, to=sid)
    return {"got": data}
listener = eventlet.listen(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
eventlet.wsgi.server(listener, socketio.WSGIApp(sio), log_output=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_socketio_server_written_for_eventlet_serves_its_clients(transport: str, tmp_path: Path) -> None:
    """Slow: a server in a process of its own, that imports and patches a lot."""
    socketio = pytest.importorskip("socketio")
    pytest.importorskip("websocket" if transport == "websocket" else "requests")
    (tmp_path / "server.py").write_text(SERVER)
    command = [sys.executable, "-m", "greenprobe.compat.eventlet", "server.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            client = socketio.SimpleClient()
            client.connect(f"http://127.0.0.1:{int(process.stdout.readline())}", transports=[transport])
            assert client.transport == transport
            assert client.call("hello", {"a": 1}, timeout=20) == {"got": {"a": 1}}
            assert client.receive(timeout=20) == ["news", {"a": 1}]
            client.disconnect()
        finally:
            process.terminate()
