"""A key that is pressed while a command runs prints how far it is; the work goes on. Some keys may do more.

The terminal is told to hand over single keys (and to go on making signals of Ctrl-C), and put back in the end, also
after an error. Where standard input is no terminal, or is read by the command, nothing happens.
"""

import os
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click

from greenprobe.commands.options import Reader
from greenprobe.commands.plain_progress import line_of
from greenprobe.greenthread import spawn
from greenprobe.hub import get_hub

__all__ = ["Key", "status_on_key"]

Key = tuple[Callable[[], object], str]  # what it does, and what is said about it


@contextmanager
def status_on_key(read: Reader, fd: int = 0, *, keys: Mapping[str, Key] | None = None) -> Iterator[None]:
    """Print what `read` says at each key, on standard error, until the block ends. `fd` is standard input.

    A key of `keys` does what that says first.
    """
    if not _is_ours(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    own = os.dup(fd)  # so that what the hub keeps of it ends with it
    watcher = spawn(_watch, own, read, keys or {})
    try:
        tty.setcbreak(fd, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)
        watcher.kill()
        get_hub().poller.forget(own)
        os.close(own)


def _watch(fd: int, read: Reader, keys: Mapping[str, Key]) -> None:
    hub = get_hub()
    side = hub.poller.adopt(fd).read
    while True:
        hub.wait(side)
        pressed = os.read(fd, 1024).decode("ascii", "replace")
        if not pressed:
            return
        for act, said in [keys[each] for each in pressed if each in keys]:
            act()
            click.echo(said, err=True)
        click.echo(line_of(read()), err=True)


def _is_ours(fd: int) -> bool:
    """Tell whether a descriptor is the terminal that controls us, and we are in its foreground."""
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False  # another's terminal
