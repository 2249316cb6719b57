"""An SSH server that takes any password and answers a command with the command and its input. Prints its port.

usage: ssh_server.py CLIENTS

It answers none of the first CLIENTS commands before all of them have come.
"""

import socket
import sys
import threading

import paramiko


class Interface(paramiko.ServerInterface):
    """What one client may do."""

    def __init__(self, gate: threading.Barrier) -> None:
        self.gate = gate

    def check_auth_password(self, username: str, password: str) -> int:
        """Let everybody in."""
        return int(paramiko.AUTH_SUCCESSFUL)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Allow sessions."""
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        """Run a command."""
        threading.Thread(target=self.answer, args=(channel, command), daemon=True).start()
        return True

    def answer(self, channel: paramiko.Channel, command: bytes) -> None:
        """Read what the client sends, as it does when it knows that the command runs; wait for the others; answer."""
        said = channel.makefile("rb").read()
        self.gate.wait()
        channel.sendall(command + b" " + said)
        channel.send_exit_status(0)
        channel.close()


def main(clients: int) -> None:
    """Serve for ever."""
    key, gate = paramiko.ECDSAKey.generate(), threading.Barrier(clients)
    transports = []
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            client, _ = listener.accept()
            transport = paramiko.Transport(client)
            transport.add_server_key(key)
            transport.start_server(event=threading.Event(), server=Interface(gate))
            transports.append(transport)


if __name__ == "__main__":
    main(int(sys.argv[1]))
