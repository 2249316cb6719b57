"""kill -9 at a random moment of a process's work: of its work, so that it comes in time on a machine of any speed."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any

from fakes import Respond


class Killer:
    """A web server's answers, one of which kills who asks for it and is never given: no list is done before that."""

    def __init__(self, respond: Respond, seed: int) -> None:
        self.kills = 0
        self._respond = respond
        self._chance = Random(seed)
        self._lock = Lock()  # the server has a thread for each connection
        self._left = 0
        self._victim: subprocess.Popen[Any] | None = None

    def aim(self, victim: "subprocess.Popen[Any]", most: int) -> None:
        """Kill a process at one of its next `most` requests."""
        with self._lock:
            self._left = self._chance.randint(1, most)
            self._victim = victim

    def respond(self, path: str) -> bytes:
        with self._lock:
            self._left -= 1
            if self._left or self._victim is None:
                return self._respond(path)
            for _ in range(self._chance.randrange(5000)):
                os.sched_yield()  # it goes on with what it was told, to wherever it gets
            self._victim.kill()
            self.kills += 1
        return b""


def killed(start: Callable[[], "subprocess.Popen[Any]"], written: Path, most: int, chance: Random) -> None:
    """Kill a process that `start` starts, once it has written 1 to `most` bytes more; it must not end before."""
    wanted = chance.randint(1, most) + (written.stat().st_size if written.exists() else 0)
    with start() as process:
        while not (written.exists() and written.stat().st_size >= wanted):
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.001)
        process.kill()
        process.communicate()
