"""Signals: the standard library's handlers in a patched process, and `greenprobe.signal`."""

import os
import signal as stdlib
from collections.abc import Iterator

import pytest
from patched import run

from greenprobe.green_signal import signal
from greenprobe.greenthread import sleep
from greenprobe.hub import Hub
from greenprobe.testing import wait_all_blocked

SETUP = """
import os, signal, socket, threading, time
from greenprobe.testing import JumpClock
def soon(signum=signal.SIGALRM): greenprobe.spawn_after(0.01, os.kill, os.getpid(), signum)
"""


WAITS = (
    "lock.acquire()",
    "threading.Event().wait()",
    "time.sleep(1000)",
    "mine.recv(1)",
    "signal.pause()",
    "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start(); threading.enumerate()[1].join()",
)


def test_a_handler_runs_while_the_main_thread_waits_and_what_it_raises_ends_the_wait() -> None:
    lines = run(f"""{SETUP}
class Alarm(Exception): pass
def handler(signum, frame):
    time.sleep(0.001)
    print(threading.current_thread() is threading.main_thread(), frame.f_code.co_name)
    raise Alarm
signal.signal(signal.SIGALRM, handler)
lock = threading.Lock(); lock.acquire()
mine, other = socket.socketpair()
for wait in {WAITS}:
    soon()
    try:
        exec(wait)
        print(wait)
    except Alarm:
        print("alarm")
mine.close(); other.close()
import sys; sys.stdout.flush(); os._exit(0)
""")
    assert [line.split()[0] for line in lines[::2]] == ["True"] * len(WAITS)
    assert lines[1::2] == ["alarm"] * len(WAITS)


def test_a_handler_that_returns_leaves_the_wait_waiting() -> None:
    lines = run(f"""{SETUP}
seen = []
signal.signal(signal.SIGALRM, lambda *args: seen.append(args[0] == signal.SIGALRM))
lock = threading.Lock(); lock.acquire()
with JumpClock():
    soon()
    print(lock.acquire(timeout=60), seen)
print(signal.getsignal(signal.SIGALRM)(signal.SIGALRM), len(seen))
""")
    assert lines == ["False [True]", "None 2"]


def test_a_handler_runs_at_once_in_the_code_of_the_main_thread() -> None:
    lines = run(f"""{SETUP}
def handler(signum, frame): raise LookupError
before = signal.signal(signal.SIGUSR1, handler)
try: os.kill(os.getpid(), signal.SIGUSR1); print("not raised")
except LookupError: print("raised", before is signal.SIG_DFL)
""")
    assert lines == ["raised True"]


def test_ctrl_c_is_raised_in_the_main_thread_wherever_it_came() -> None:
    lines = run(f"""{SETUP}
soon(signal.SIGINT)
busy = greenprobe.spawn(lambda: [greenprobe.sleep() for _ in iter(int, 1)])
try: time.sleep(1000)
except KeyboardInterrupt: print("interrupted", busy.ready())
import _thread
try: _thread.interrupt_main()
except KeyboardInterrupt: print("and again", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
busy.kill()
""")
    assert lines == ["interrupted False", "and again True"]


def test_handlers_set_before_the_patch_run_as_those_set_after_and_are_given_back() -> None:
    lines = run(
        """
import signal, os, time
seen = []
def handler(signum, frame): time.sleep(0.001); seen.append(signum)
signal.signal(signal.SIGALRM, handler)
greenprobe.monkey_patch()
greenprobe.spawn_after(0.01, os.kill, os.getpid(), signal.SIGALRM)
while not seen: time.sleep(0.001)
print(len(seen), signal.getsignal(signal.SIGALRM) is handler)
greenprobe.restore()
print(signal.getsignal(signal.SIGALRM) is handler, signal.getsignal(signal.SIGINT).__class__.__name__)
""",
        patch="import greenprobe\n",
    )
    assert lines[0] == "1 True"
    assert lines[1].startswith("True ")


def test_waits_for_blocked_signals_let_others_run() -> None:
    lines = run(f"""{SETUP}
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
for wait in (signal.sigwait, signal.sigwaitinfo, lambda each: signal.sigtimedwait(each, 5)):
    soon(signal.SIGUSR1)
    print(getattr(wait([signal.SIGUSR1]), "si_signo", "SIGUSR1"))
print(signal.sigtimedwait([signal.SIGUSR1], 0.01))
""")
    assert lines == ["SIGUSR1", str(int(stdlib.SIGUSR1)), str(int(stdlib.SIGUSR1)), "None"]


def test_a_thread_that_blocks_signals_blocks_them_for_nobody_else() -> None:
    lines = run(f"""{SETUP}
import threading
def work():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    now = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    print(before, signal.SIGUSR1 in now, signal.SIGKILL in now)
    print(signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_SETMASK, []))
    for how, mask in ((99, []), (signal.SIG_BLOCK, [0])):
        try: signal.pthread_sigmask(how, mask)
        except (OSError, ValueError) as error: print(error)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
thread = threading.Thread(target=work); thread.start(); thread.join()
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
""")
    assert lines == [
        "set() True False",
        "False",
        "[Errno 22] Invalid argument",
        f"signal number 0 out of range [1; {stdlib.NSIG - 1}]",
        "set()",
    ]


# -- greenprobe.signal, in this process


@pytest.fixture
def user_signal() -> Iterator[int]:
    """A signal whose handler is put back."""
    before = stdlib.getsignal(stdlib.SIGUSR2)
    yield stdlib.SIGUSR2
    stdlib.signal(stdlib.SIGUSR2, before)


def test_a_function_runs_in_a_greenthread_for_each_signal(hub: Hub, user_signal: int) -> None:
    seen: list[object] = []

    def note(word: str, *, more: int) -> None:
        sleep()  # which a plain handler could not do in the loop
        seen.append((word, more))

    assert signal(user_signal, note, "word", more=1) is stdlib.SIG_DFL
    for _ in range(2):
        os.kill(os.getpid(), user_signal)
        wait_all_blocked()
    assert seen == [("word", 1), ("word", 1)]


def test_a_signal_is_given_back_to_the_default(hub: Hub, user_signal: int) -> None:
    signal(user_signal, print)
    signal(user_signal, None)
    assert stdlib.getsignal(user_signal) is stdlib.SIG_DFL
    signal(user_signal, stdlib.SIG_IGN)
    assert stdlib.getsignal(user_signal) is stdlib.SIG_IGN


def test_what_cannot_be_called_is_refused_by_its_type(hub: Hub, user_signal: int) -> None:
    with pytest.raises(TypeError, match="a handler of type int"):
        signal(user_signal, 5)  # type: ignore[arg-type]
