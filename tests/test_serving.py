"""Where and what to serve: places, applications by name, the plan; and workers that come and go."""

import os
import socket as stdlib
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from greenprobe import serving
from greenprobe.app_loader import load_app
from greenprobe.errors import TargetError
from greenprobe.greenthread import spawn
from greenprobe.hub import Hub
from greenprobe.listeners import Bind, inherited_listeners, open_listener, read_bind, url_of
from greenprobe.module_watch import watch_modules
from greenprobe.serving import ServePlan
from greenprobe.static_files import StaticFiles
from greenprobe.supervisor import LONGEST_PAUSE, pause_before_start
from greenprobe.testing import JumpClock

# -- places


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:80", Bind(stdlib.AF_INET, "127.0.0.1", 80)),
        (":80", Bind(stdlib.AF_INET, "127.0.0.1", 80)),
        ("80", Bind(stdlib.AF_INET, "127.0.0.1", 80)),
        ("localhost:0", Bind(stdlib.AF_INET, "localhost", 0)),
        ("[::1]:80", Bind(stdlib.AF_INET6, "::1", 80)),
        ("unix:/a/b", Bind(stdlib.AF_UNIX, "/a/b", 0)),
        ("fd:3", Bind(stdlib.AF_UNSPEC, "", 3)),
    ],
)
def test_a_place_to_listen_at(text: str, bind: Bind) -> None:
    assert read_bind(text) == bind


@pytest.mark.parametrize(
    "text", ["", "a", "a:", "a:b", "a:70000", "::1:80", "unix:", "fd:x", "fd:2147483648", "xn--ä:80", "a:-1"]
)
def test_what_is_no_place_is_named(text: str) -> None:
    with pytest.raises(TargetError, match=repr(text) if text else "''"):
        read_bind(text)


def test_listeners_say_their_url(tmp_path: Path) -> None:
    with open_listener(read_bind("127.0.0.1:0")) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener, is_secure=True) == f"https://127.0.0.1:{port}/"
        with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1:{port}"):
            open_listener(Bind(stdlib.AF_INET, "127.0.0.1", port))
    with open_listener(read_bind(f"unix:{tmp_path}/s")) as listener:
        assert url_of(listener, is_secure=False) == f"http+unix:{tmp_path}/s"


def test_two_may_share_a_port_if_both_say_so() -> None:
    with (
        open_listener(read_bind("127.0.0.1:0"), reuse_port=True) as first,
        open_listener(read_bind(f"127.0.0.1:{first.getsockname()[1]}"), reuse_port=True) as second,
    ):
        assert first.getsockname() == second.getsockname()


def test_a_path_is_taken_over_only_when_nobody_listens_there(tmp_path: Path) -> None:
    bind = read_bind(f"unix:{tmp_path}/s")
    with open_listener(bind), pytest.raises(OSError, match="Address already in use"):
        open_listener(bind)
    open_listener(bind).close()
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OSError, match="Address already in use"):
        open_listener(read_bind(f"unix:{tmp_path}/file"))


def test_a_path_where_somebody_listens_who_is_too_busy_to_answer_is_theirs(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with stdlib.socket(stdlib.AF_UNIX) as busy, ExitStack() as queue:
        busy.bind(path)
        busy.listen(0)
        with suppress(BlockingIOError):
            while True:
                sock = queue.enter_context(stdlib.socket(stdlib.AF_UNIX))
                sock.setblocking(False)
                sock.connect(path)
        with pytest.raises(OSError, match="Address already in use"):
            open_listener(read_bind(f"unix:{path}"))


def test_a_service_manager_may_pass_the_sockets() -> None:
    assert inherited_listeners({}) == []
    assert inherited_listeners({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    assert inherited_listeners({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"}) == []


def test_what_a_service_manager_promised_and_did_not_pass_is_named() -> None:
    script = (
        "import os; from greenprobe.listeners import inherited_listeners\n"
        "inherited_listeners({'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr.endswith("OSError: descriptor 3 was not passed as LISTEN_FDS=1 says: Bad file descriptor\n")


def test_a_descriptor_can_be_listened_at() -> None:
    with open_listener(read_bind("127.0.0.1:0")) as first, open_listener(read_bind(f"fd:{first.fileno()}")) as second:
        assert first.getsockname() == second.getsockname()


# -- workers


def test_a_worker_that_dies_again_and_again_is_started_ever_later_but_for_ever() -> None:
    pauses = [pause_before_start(failures) for failures in (0, 1, 2, 20, 5000)]
    assert pauses == [0.0, 0.5, 1.0, LONGEST_PAUSE, LONGEST_PAUSE]


# -- applications


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def test_an_application_is_found_by_its_name(here: Path) -> None:
    (here / "site_a.py").write_text("app = len\nclass a:\n    b = max\ndef make(): return min\n")
    assert load_app("site_a") is len
    assert load_app("site_a:app") is len
    assert load_app("site_a:a.b") is max
    assert load_app("site_a:make()") is min


@pytest.mark.parametrize("name", ["no_such_module", "no_such_module:app", "", ":app", "site_b:nothing", "os.nope:app"])
def test_what_is_not_there_is_said_in_one_line(here: Path, name: str) -> None:
    (here / "site_b.py").write_text("")
    with pytest.raises(TargetError, match="write"):
        load_app(name)


def test_a_module_that_misses_another_says_so_itself(here: Path) -> None:
    (here / "site_c.py").write_text("import missing_thing")
    with pytest.raises(ModuleNotFoundError, match="missing_thing"):
        load_app("site_c")


def test_a_folder_is_served_as_files_and_what_cannot_be_called_is_refused(here: Path) -> None:
    assert isinstance(serving.application_of(ServePlan(".", ())), StaticFiles)
    (here / "site_d.py").write_text("app = 5")
    with pytest.raises(TargetError, match="int"):
        serving.application_of(ServePlan("site_d", ()))


def test_a_wrong_certificate_is_named(here: Path) -> None:
    (here / "cert.pem").write_text("nonsense")
    with pytest.raises(TargetError, match=r"cert\.pem"):
        serving.context_of(ServePlan(".", (), tls_cert="cert.pem"))


def test_a_change_of_a_module_is_seen(here: Path, clock: JumpClock, hub: Hub) -> None:
    (here / "site_e.py").write_text("app = 1")
    load_app("site_e")
    changes: list[Any] = []
    watch = spawn(watch_modules, lambda: changes.append(clock.now()))
    hub.sleep(5)
    assert changes == []
    os.utime(here / "site_e.py", (1, 1))
    hub.sleep(5)
    assert len(changes) == 1
    watch.kill()
