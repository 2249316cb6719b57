"""A headless Chromium: found, started, connected to, and ended with all of its processes.

It is given no way to the network: its proxy is a port where nobody listens, and what it asks for is answered over the
DevTools socket (`rendering.py`). Its profile is a temporary folder, and so is that of its own temporary files, which it
leaves behind when it is killed. It dies when we do, also of kill -9: the launcher asks the kernel for that (prctl(2),
PR_SET_PDEATHSIG), looks whether we live still, and becomes the browser.
"""

import os
import shutil
import signal
import sys
from contextlib import suppress
from typing import Final

from greenprobe.engine.devtools import DevTools, check_socket
from greenprobe.errors import RenderError
from greenprobe.hub import Hub
from greenprobe.lazy import Lazy

__all__ = ["Browser", "find_browser"]

subprocess = Lazy("subprocess")
tempfile = Lazy("tempfile")

NAMES: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "chrome-headless-shell",
)
VARIABLE: Final = "GREENPROBE_CHROMIUM"
LAUNCHER: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
START_SECONDS: Final = 30.0
MAX_FOLDER_CHARS: Final = 33  # that leave room, of 107, for the profile's name and that of a Unix socket in it
FLAGS: Final = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--proxy-server=http://127.0.0.1:9",  # discard: nobody listens
    "--proxy-bypass-list=<-loopback>",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-site-isolation-trials",  # frames of other sites stay in the session that is listened to
    "--disable-features=IsolateOrigins,site-per-process,Translate,MediaRouter",
    "--disable-sync",
    "--mute-audio",
    "--password-store=basic",
    "about:blank",
)


def folder_of_profiles() -> str:
    """Return where profiles go: the usual folder for temporary files, or /tmp if a socket below it has no name."""
    usual: str = tempfile.gettempdir()
    return usual if len(usual) <= MAX_FOLDER_CHARS else "/tmp"


def find_browser() -> str:
    """Return the path of a Chromium that can be talked to. Raises RenderError, which says what is missing."""
    check_socket()
    named = os.environ.get(VARIABLE)
    candidates = (named,) if named else NAMES
    found = next(filter(None, map(shutil.which, candidates)), None)
    if found is None:
        where = f"{VARIABLE}={named} is none" if named else f"none of {', '.join(NAMES[:3])} is in PATH"
        raise RenderError(
            f"--render needs a Chromium, and {where}; install one (apt install chromium), or set {VARIABLE}"
        )
    return found


class Browser:
    """A Chromium that runs, and the socket to it."""

    def __init__(self, hub: Hub, path: str) -> None:
        """Start it. Raises RenderError."""
        self._profile = tempfile.mkdtemp(prefix="greenprobe-chromium-", dir=folder_of_profiles())
        flags = [*FLAGS, f"--user-data-dir={self._profile}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # Chromium refuses to run as root with it
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-c", LAUNCHER, str(os.getpid()), path, *flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
                env={**os.environ, "TMPDIR": self._profile},
            )
        except BaseException:
            shutil.rmtree(self._profile, ignore_errors=True)
            raise
        try:
            self.tools = DevTools(self._address(hub, path))
        except OSError as exc:
            self.kill()
            raise RenderError(f"{path} cannot be talked to: {exc}") from exc
        except BaseException:
            self.kill()
            raise

    def close(self) -> None:
        """End it."""
        self.tools.close()
        self.kill()

    def kill(self) -> None:
        """Kill all of its processes and drop the profile."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def _address(self, hub: Hub, path: str) -> str:
        """Wait until it has written down where its socket is, and return that."""
        deadline = hub.clock() + START_SECONDS
        while hub.clock() < deadline:
            with suppress(OSError, ValueError):
                with open(os.path.join(self._profile, "DevToolsActivePort"), encoding="ascii") as file:
                    port, target = file.read().split()
                return f"ws://127.0.0.1:{int(port)}{target}"
            if self._process.poll() is not None:
                raise RenderError(f"{path} ended at once, with {self._process.returncode}")
            hub.sleep(0.02)
        raise RenderError(f"{path} did not start in {START_SECONDS:g} s")
