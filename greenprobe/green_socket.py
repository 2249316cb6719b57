"""A socket that parks its greenthread instead of blocking its OS thread.

`socket` is a real subclass of the standard library's, with every method of it, so that isinstance checks, `ssl` and
foreign C code hold. The kernel's socket never blocks; the timeout that users set and see is ours.

Every blocking call has one shape: try the system call, and wait only if it would block.

The short-read hint
    A stream read that returns less than was asked for has emptied the receive buffer (epoll(7), on edge-triggered
    use). The next read then waits at once, and is spared a system call that would say EAGAIN: 6 system calls a round
    trip instead of 8. The hint does not hold after a hang-up or urgent data (`Slot.hangup`), for datagrams, for Unix
    sockets (a read stops at a message that carries descriptors), or for a read with flags (MSG_PEEK).
Fairness
    A peer that is always faster than we are never makes us wait, and a greenthread that never waits starves all
    others. After STREAK calls that needed no wait, a call lets the others run first.
Descriptors
    A socket keeps its slot of the hub it was used with. Another thread's hub gets a slot of its own; closing closes
    all of them. A dup'ed or inheritable socket is taken out of the epoll set explicitly (see `poller.py`).
"""

import os
import socket as stdlib
from _socket import socket as kernel, socketpair as kernel_socketpair
from collections.abc import Callable, Iterable
from errno import EAGAIN, EALREADY, EINPROGRESS, EISCONN
from os import strerror
from typing import IO, TYPE_CHECKING, Any, Final, cast

from greenprobe.hub import Hub, get_hub
from greenprobe.names import is_numeric, resolve
from greenprobe.poller import READY, Slot

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["fromfd", "socket", "socketpair"]

STREAK: Final = 64
SENDFILE_MAX_BYTES: Final = 1 << 30
CONNECTING: Final = frozenset({EINPROGRESS, EALREADY})
INTERNET: Final = frozenset({int(stdlib.AF_INET), int(stdlib.AF_INET6)})
SOCK_STREAM: Final = int(stdlib.SOCK_STREAM)
MSG_DONTWAIT: Final = int(stdlib.MSG_DONTWAIT)
MSG_WAITALL: Final = int(stdlib.MSG_WAITALL)
ALL_OR_NOW: Final = MSG_WAITALL | MSG_DONTWAIT | int(stdlib.MSG_PEEK)
IPPROTO_SCTP: Final = int(stdlib.IPPROTO_SCTP)
UNIX_RETRY: Final = 0.01  # seconds between connects to a Unix socket whose backlog is full; no event tells of room
Address = Any

kernel_accept = kernel._accept  # type: ignore[attr-defined]
kernel_connect_ex = kernel.connect_ex
kernel_recv = kernel.recv
kernel_recv_into = kernel.recv_into
kernel_send = kernel.send
kernel_family = kernel.family.__get__
kernel_proto = kernel.proto.__get__
kernel_type = kernel.type.__get__


class socket(stdlib.socket):  # noqa: N801 - stands in for socket.socket
    """`socket.socket`, green. Arguments, methods and errors are those of the standard library."""

    __slots__ = (
        "_drained",
        "_elsewhere",
        "_greedy",
        "_hinted",
        "_hub",
        "_internet",
        "_listens",
        "_shared",
        "_slot",
        "_timeout",
    )

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        if fileno is None:
            kind = stdlib.SOCK_STREAM if type == -1 else type
            super().__init__(family, kind | stdlib.SOCK_NONBLOCK, proto)
        else:
            super().__init__(family, type, proto, fileno)
            kernel.setblocking(self, False)
        self._timeout: float | None = 0.0 if type != -1 and type & stdlib.SOCK_NONBLOCK else stdlib.getdefaulttimeout()
        # Asked of the kernel's class: the properties of the stdlib's make an enum each time, half a microsecond each.
        streams = kernel_type(self) == SOCK_STREAM
        self._internet = kernel_family(self) in INTERNET
        self._hinted = streams and self._internet and kernel_proto(self) != IPPROTO_SCTP
        self._drained = False
        self._greedy = STREAK
        self._hub: Any = None  # the Hub it waits on, once it has waited
        self._slot: Any = None  # its Slot there
        self._elsewhere: list[tuple[Hub, Slot]] | None = None
        self._shared = False
        self._listens = not streams

    # -- waiting

    def _wait_read(self, deadline: float | None, error: BlockingIOError | None = None) -> float | None:
        """Park until a read may succeed; return the call's deadline. Raises TimeoutError; `error` if not to wait."""
        hub, slot, deadline = self._about_to_wait(deadline, error)
        if not hub.wait(slot.read, deadline):
            raise TimeoutError("timed out")
        return deadline

    def _wait_write(self, deadline: float | None, error: BlockingIOError | None = None) -> float | None:
        """Park until a write may succeed; return the call's deadline. Raises TimeoutError; `error` if not to wait."""
        hub, slot, deadline = self._about_to_wait(deadline, error)
        if not hub.wait(slot.write, deadline):
            raise TimeoutError("timed out")
        return deadline

    def _about_to_wait(self, deadline: float | None, error: BlockingIOError | None) -> tuple[Hub, Slot, float | None]:
        if error is not None and self._timeout == 0:
            raise error
        hub = get_hub()
        slot = self._slot if hub is self._hub else self._settle_on(hub)
        if deadline is None and self._timeout is not None:
            deadline = hub.clock() + self._timeout
        return hub, slot, deadline

    def _settle_on(self, hub: Hub) -> Slot:
        """Make `hub`, of another thread or of a forked child, the one whose slot is at hand."""
        slot = self._move_to(hub) if self._hub is not None else None
        self._hub = hub
        slot = self._slot = slot if slot is not None else hub.poller.adopt(kernel.fileno(self))
        slot.shared = slot.shared or self._listens
        return slot

    def _move_to(self, hub: Hub) -> Slot | None:
        """Put the slot at hand aside, and return the one that `hub` has of this socket, if it has one."""
        aside = self._elsewhere or []
        if self._hub is not None and self._slot is not None and not self._hub.closed:
            aside.append((self._hub, self._slot))
        self._elsewhere = [pair for pair in aside if pair[0] is not hub]
        return next((slot for other, slot in aside if other is hub), None)

    def _give_way(self) -> None:
        """Let the others run, after a streak of calls that needed no wait."""
        self._greedy = STREAK
        if self._timeout != 0 and (hub := get_hub()).in_greenthread():
            hub.sleep()

    def _read(self, operation: Callable[..., Any], *args: Any, flags: int = 0) -> Any:
        """Do a read that never gives a hint: datagrams, messages, reads with flags."""
        self._drained = False
        return self._attempt(self._wait_read, operation, args, flags)

    def _write(self, operation: Callable[..., Any], *args: Any, flags: int = 0) -> Any:
        return self._attempt(self._wait_write, operation, args, flags)

    def _attempt(self, wait: Callable[..., Any], operation: Callable[..., Any], args: Iterable[Any], flags: int) -> Any:
        self._greedy -= 1
        if self._greedy < 0:
            self._give_way()
        deadline = None
        while True:
            try:
                return operation(self, *args)
            except BlockingIOError as error:
                if flags & MSG_DONTWAIT:
                    raise
                deadline = wait(deadline, error)

    def _note_short_read(self) -> None:
        """Remember that the receive buffer is empty: the next read need not try before it waits."""
        slot = self._slot
        if slot is None or slot.hangup:
            self._greedy -= 1
            return
        if slot.read.waiter is READY and self._hub is get_hub():  # another hub's READY may be newer than our read
            slot.read.waiter = None
        self._drained = self._timeout != 0

    # -- reading

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        slot = deadline = None
        if self._drained and bufsize > 0 and not flags:  # then it has a hub; `_wait_read` would be a frame more
            self._drained = False
            hub, slot = self._hub, self._slot
            if self._timeout is not None:
                deadline = hub.clock() + self._timeout
            if not hub.wait(slot.read, deadline):
                raise TimeoutError("timed out")
        elif flags or not self._hinted:
            return self._recv_unhinted(bufsize, flags)
        elif self._greedy < 0:
            self._give_way()
        while True:
            try:
                data = kernel_recv(self, bufsize)
            except BlockingIOError as error:
                slot, deadline = None, self._wait_read(deadline, error)
            else:
                break
        if len(data) == bufsize:
            self._greedy -= 1
        elif data:
            if slot is not None and not slot.hangup:
                self._drained = True
            else:
                self._note_short_read()
        return data

    def _recv_unhinted(self, bufsize: int, flags: int) -> bytes:
        if flags & ALL_OR_NOW == MSG_WAITALL and bufsize > 0:
            buffer = bytearray(bufsize)
            return bytes(buffer[: self.recv_into(buffer, 0, flags)])
        return cast(bytes, self._read(kernel_recv, bufsize, flags, flags=flags))

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        if flags or not self._hinted:
            if flags & ALL_OR_NOW == MSG_WAITALL and self._timeout is None and kernel_type(self) == SOCK_STREAM:
                return self._fill(buffer, nbytes, flags)
            return cast(int, self._read(kernel_recv_into, buffer, nbytes, flags, flags=flags))
        size = nbytes or memoryview(buffer).nbytes
        deadline = None
        if self._drained and size > 0:
            self._drained = False
            deadline = self._wait_read(None)
        elif self._greedy < 0:
            self._give_way()
        while True:
            try:
                received = kernel_recv_into(self, buffer, nbytes)
            except BlockingIOError as error:
                deadline = self._wait_read(deadline, error)
            else:
                break
        if received == size:
            self._greedy -= 1
        elif received:
            self._note_short_read()
        return received

    def _fill(self, buffer: "WriteableBuffer", nbytes: int, flags: int) -> int:
        """Read until the buffer is full or the stream ends: the kernel heeds MSG_WAITALL only where it may block."""
        with memoryview(buffer) as view, view.cast("B") as whole, whole[: nbytes or None] as wanted:
            filled = received = self._read(kernel_recv_into, wanted, 0, flags)
            while received and filled < len(wanted):
                filled += (received := self._read(kernel_recv_into, wanted[filled:], 0, flags))
            return cast(int, filled)

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Address]:
        return cast(tuple[bytes, Address], self._read(kernel.recvfrom, bufsize, flags, flags=flags))

    def recvfrom_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> tuple[int, Address]:
        return cast(tuple[int, Address], self._read(kernel.recvfrom_into, buffer, nbytes, flags, flags=flags))

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        return self._read(kernel.recvmsg, bufsize, ancbufsize, flags, flags=flags)

    def recvmsg_into(self, buffers: "Iterable[WriteableBuffer]", ancbufsize: int = 0, flags: int = 0, /) -> Any:
        return self._read(kernel.recvmsg_into, list(buffers), ancbufsize, flags, flags=flags)

    # -- writing

    def send(self, data: "ReadableBuffer", flags: int = 0, /) -> int:
        self._greedy -= 1
        if self._greedy < 0:
            self._give_way()
        deadline = None
        while True:
            try:
                return kernel_send(self, data, flags)
            except BlockingIOError as error:
                if flags & MSG_DONTWAIT:
                    raise
                deadline = self._wait_write(deadline, error)

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        sent = 0
        if type(data) is bytes:  # needs no view if all of it goes at once, as nearly always
            self._greedy -= 1
            if self._greedy < 0:
                self._give_way()
            try:
                sent = kernel_send(self, data, flags)
            except BlockingIOError:
                pass  # asked again below
            if sent == len(data):
                return
        with memoryview(data) as view, view.cast("B") as rest:
            self._send_rest(rest, sent, flags)

    def _send_rest(self, rest: memoryview, sent: int, flags: int) -> None:
        """Send what of `rest` has not been `sent`; the timeout is for the whole of it."""
        size = len(rest)
        deadline = None
        while True:
            self._greedy -= 1
            if self._greedy < 0:
                self._give_way()
            try:
                sent += kernel_send(self, rest[sent:] if sent else rest, flags)
            except BlockingIOError as error:
                if flags & MSG_DONTWAIT:
                    raise
                deadline = self._wait_write(deadline, error)
            else:
                if sent == size:
                    return

    def sendto(self, data: "ReadableBuffer", *args: Any) -> int:
        if not args:
            raise TypeError("sendto() takes 2 or 3 arguments (1 given)")
        *flags, address = args
        return cast(int, self._write(kernel.sendto, data, *flags, self._numeric(address), flags=sum(flags[:1])))

    def sendmsg(
        self,
        buffers: "Iterable[ReadableBuffer]",
        ancdata: Any = (),
        flags: int = 0,
        address: Any = None,
        /,
    ) -> int:
        target = () if address is None else (self._numeric(address),)
        return cast(int, self._write(kernel.sendmsg, list(buffers), list(ancdata), flags, *target, flags=flags))

    def sendmsg_afalg(self, *args: Any, **kwargs: Any) -> int:
        return cast(int, self._write(lambda sock: kernel.sendmsg_afalg(sock, *args, **kwargs)))

    def _sendfile_use_sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send a regular file by sendfile(2); raises what makes the standard library fall back to send()."""
        self._check_sendfile_params(file, offset, count)  # type: ignore[attr-defined]
        if self._timeout == 0:
            raise ValueError("non-blocking sockets are not supported")
        try:
            source = file.fileno()
            size = os.fstat(source).st_size
        except (AttributeError, OSError) as error:
            raise stdlib._GiveupOnSendfile(error) from error  # type: ignore[attr-defined]
        if not size:
            return 0
        left = size - offset if count is None else min(count, size - offset)
        start = offset
        try:
            while left > 0:
                sent = self._write(_sendfile, source, offset, min(left, SENDFILE_MAX_BYTES))
                if not sent:
                    break
                offset += sent
                left -= sent
        except OSError as error:
            if offset == start and not isinstance(error, TimeoutError):
                raise stdlib._GiveupOnSendfile(error) from error  # type: ignore[attr-defined]
            raise
        finally:
            if offset > start and hasattr(file, "seek"):
                file.seek(offset)
        return offset - start

    # -- connecting

    def connect(self, address: Address, /) -> None:
        error = self._connect(address)
        if error:
            raise OSError(error, strerror(error))

    def connect_ex(self, address: Address, /) -> int:
        try:
            return self._connect(address)
        except TimeoutError:
            return EAGAIN

    def _connect(self, address: Address) -> int:
        """Connect and return 0 or an errno. Raises TimeoutError, and gaierror if a name has no address."""
        address = self._numeric(address)
        self._drained = False
        deadline = None
        code = kernel_connect_ex(self, address)
        if code == EINPROGRESS and self._timeout != 0:
            # Without a wire in between the answer is there before connect() returns: ask at once, and spare the wait.
            code = kernel_connect_ex(self, address)
        while code in CONNECTING or (code == EAGAIN and self.family == stdlib.AF_UNIX):
            if self._timeout == 0:
                return code
            if code == EAGAIN:
                deadline = self._pause(deadline)
            else:
                deadline = self._wait_write(deadline)
            # A second connect() tells how the first one ended; SO_ERROR cannot tell "connected" from "not yet".
            code = kernel_connect_ex(self, address)
        return 0 if code == EISCONN and deadline is not None else code

    def _pause(self, deadline: float | None) -> float | None:
        hub = get_hub()
        if deadline is None and self._timeout is not None:
            deadline = hub.clock() + self._timeout
        if deadline is not None and hub.clock() >= deadline:
            raise TimeoutError("timed out")
        hub.sleep(UNIX_RETRY)
        return deadline

    def _numeric(self, address: Address) -> Address:
        """Return an address whose host is a number; names are looked up without blocking the thread."""
        if not self._internet or not isinstance(address, tuple) or is_numeric(address[0]):
            return address
        found = resolve(address[0], address[1], self.family, self.type)
        return (*found[0][4][:2], *address[2:])

    # -- listening

    def listen(self, backlog: int = stdlib.SOMAXCONN, /) -> None:
        self._listens = True
        if self._slot is not None:
            self._slot.shared = True
        kernel.listen(self, backlog)

    def accept(self) -> tuple["socket", Address]:
        fd, address = self._read(kernel_accept)
        return socket(self.family, self.type, self.proto, fileno=fd), address

    # -- timeouts

    def settimeout(self, value: float | None, /) -> None:
        if value is not None:
            value = value + 0.0
            if not value >= 0:
                raise ValueError("Timeout value out of range")
        self._timeout = value
        self._drained = self._drained and value != 0

    def gettimeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool, /) -> None:
        kernel.setblocking(self, False)  # as it is; but who closed the descriptor finds out here
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        return self._timeout != 0

    @property
    def timeout(self) -> float | None:
        """The timeout in seconds, as `gettimeout` returns it."""
        return self._timeout

    # -- the descriptor

    def _forget(self, *, shared: bool) -> None:
        """Leave all hubs, before the descriptor is closed or given away."""
        slot, hub = self._slot, self._hub
        self._drained = False
        if slot is None or hub is None:
            return
        self._slot = self._hub = None
        here = get_hub()
        for owner, known in [*(self._elsewhere or ()), (hub, slot)]:
            if owner.closed:
                continue
            if owner is here:
                owner.poller.close(known, shared=shared)
            else:
                owner.poller.leave(known)
                owner.call_threadsafe(owner.poller.close, known)
        self._elsewhere = None

    def _real_close(self) -> None:
        self._forget(shared=self._shared)
        kernel.close(self)

    def detach(self) -> int:
        """Give the descriptor away, blocking if the socket was so to its user, who may go on with `os.read`."""
        self._forget(shared=True)
        if self._timeout is None and not self._shared and kernel.fileno(self) >= 0:
            try:
                kernel.setblocking(self, True)
            except OSError:
                pass  # somebody has closed it
        return super().detach()

    def dup(self) -> "socket":
        self._shared = True
        twin = type(self)(self.family, self.type, self.proto, fileno=os.dup(self.fileno()))
        twin._shared = True
        twin._timeout = self._timeout
        return twin

    def set_inheritable(self, inheritable: bool) -> None:
        self._shared = self._shared or inheritable
        super().set_inheritable(inheritable)


def _sendfile(sock: socket, source: int, offset: int, count: int) -> int:
    return os.sendfile(kernel.fileno(sock), source, offset, count)


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> socket:
    """Return a green socket on a duplicate of `fd`."""
    sock = socket(family, type, proto, fileno=os.dup(fd))
    sock._shared = True
    return sock


def socketpair(family: int = stdlib.AF_UNIX, type: int = stdlib.SOCK_STREAM, proto: int = 0) -> tuple[socket, socket]:
    """Return two green sockets that are connected to each other."""
    one, other = kernel_socketpair(family, type, proto)
    return socket(family, type, proto, one.detach()), socket(family, type, proto, other.detach())
