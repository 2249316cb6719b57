"""`subprocess`, green: the standard library's behaviour, and nobody else stands still."""

import os
import subprocess as stdlib
import sys
from typing import Any

import pytest
from core_tools import turns
from patched import run as run_patched

from greenprobe import green_subprocess
from greenprobe.greenthread import GreenThread, spawn
from greenprobe.timeout import Timeout

subprocess: Any = green_subprocess
CAT = ["cat"]
MORE_THAN_A_PIPE_HOLDS = 1 << 20


def test_waiting_for_a_child_parks_only_its_own_greenthread() -> None:
    child = subprocess.Popen(CAT, stdin=stdlib.PIPE)
    waiters = [spawn(child.wait), spawn(child.wait, 30)]
    turns()
    assert not any(waiter.ready() for waiter in waiters)
    child.stdin.close()
    assert [waiter.wait(30) for waiter in waiters] == [0, 0]
    assert child.poll() == 0


def test_children_run_at_the_same_time() -> None:
    gates: list[int] = []
    runs: list[GreenThread] = []
    for _ in range(5):
        read, write = os.pipe()
        runs.append(spawn(subprocess.run, ["cat"], stdin=read, stdout=stdlib.PIPE))
        turns()
        os.close(read)
        gates.append(write)
    for index, write in reversed(list(enumerate(gates))):  # the last that began ends first
        os.write(write, str(index).encode())
        os.close(write)
        assert runs[index].wait(30).stdout == str(index).encode()


def test_communicate_moves_more_than_pipes_hold() -> None:
    data = os.urandom(MORE_THAN_A_PIPE_HOLDS)
    with subprocess.Popen(CAT, stdin=stdlib.PIPE, stdout=stdlib.PIPE) as child:
        assert child.communicate(data, timeout=30) == (data, None)
    assert child.returncode == 0


def test_a_timeout_of_wait_is_timeout_expired_at_its_deadline(clock: Any) -> None:
    with subprocess.Popen(CAT, stdin=stdlib.PIPE) as child:
        with pytest.raises(stdlib.TimeoutExpired, match=r"'\['cat'\]' timed out after 5 seconds"):
            child.wait(5)
        assert clock.now() == 5
        child.stdin.close()
        assert child.wait() == 0


def test_a_timeout_of_run_kills_the_child() -> None:
    read, write = os.pipe()
    with pytest.raises(stdlib.TimeoutExpired) as caught:
        subprocess.run(["sh", "-c", "echo started; cat"], stdin=read, capture_output=True, timeout=0.05)
    assert caught.value.timeout == 0.05
    os.close(read)
    os.close(write)


def test_a_green_timeout_goes_through(clock: Any) -> None:
    with subprocess.Popen(CAT, stdin=stdlib.PIPE, stdout=stdlib.PIPE) as child:
        with pytest.raises(Timeout), Timeout(5):
            child.stdout.read()
        with pytest.raises(Timeout), Timeout(5):
            child.wait()
        child.stdin.close()


def test_the_functions_of_the_module_are_there_and_green() -> None:
    assert subprocess.call(["sh", "-c", "exit 3"]) == 3
    with pytest.raises(stdlib.CalledProcessError, match="exit status 3"):
        subprocess.check_call(["sh", "-c", "exit 3"])
    assert subprocess.check_output(["echo", "words"], text=True) == "words\n"
    assert subprocess.getoutput("echo words") == "words"
    assert subprocess.getstatusoutput("exit 4") == (4, "")
    assert subprocess.PIPE == stdlib.PIPE


def test_a_shell_s_output_is_read_and_its_input_written() -> None:
    with subprocess.popen("echo words") as file:
        assert file.read() == "words\n"
    assert file.close() is None
    file = subprocess.popen("cat >/dev/null; exit 5", "w")
    file.write("words")
    assert file.close() == 5 << 8
    with pytest.raises(ValueError, match="mode"):
        subprocess.popen("true", "rw")
    with pytest.raises(ValueError, match="unbuffered"):
        subprocess.popen("true", "r", 0)


def test_a_missing_program_is_file_not_found() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        subprocess.run(["no-such-program"])


def test_popen_is_the_standard_library_s_in_kind() -> None:
    with subprocess.Popen(["true"], stdout=stdlib.PIPE) as child:
        assert issubclass(subprocess.Popen, stdlib.Popen)
        child.stdout.read()
    assert repr(child) == "<Popen: returncode: 0 args: ['true']>"


def test_a_pipeline_s_pipes_stay_blocking_for_its_programs() -> None:
    first: Any
    second: Any
    with (
        subprocess.Popen([sys.executable, "-c", "print('x' * 300000)"], stdout=stdlib.PIPE) as first,
        subprocess.Popen(["cat"], stdin=first.stdout, stdout=stdlib.PIPE) as second,
    ):
        assert os.get_blocking(first.stdout.fileno())
        first.stdout.close()
        assert len(second.stdout.read()) == 300001


def test_a_child_that_somebody_else_reaped_has_status_0() -> None:
    child = subprocess.Popen(CAT, stdin=stdlib.PIPE)
    waiter = spawn(child.wait)
    turns()
    child.stdin.close()
    os.waitpid(child.pid, 0)
    assert waiter.wait(30) == 0


# -- patched


def test_a_patched_subprocess_keeps_the_class_and_runs_children_at_once() -> None:
    lines = run_patched(
        """
        import io, subprocess, threading, time
        from subprocess import Popen
        from greenprobe import green_files
        print(Popen is subprocess.Popen, subprocess.io is green_files, io is not green_files)
        reads = [__import__("os").pipe() for _ in range(3)]
        def use(index):
            done = subprocess.run(["cat"], stdin=reads[index][0], capture_output=True)
            print(done.stdout)
        threads = [threading.Thread(target=use, args=(index,)) for index in range(3)]
        for thread in threads: thread.start()
        for index, thread in reversed(list(enumerate(threads))):
            import os
            os.write(reads[index][1], b"%d" % index)
            os.close(reads[index][1])
            thread.join()
        try:
            subprocess.run(["sleep", "9"], timeout=0.05)
        except subprocess.TimeoutExpired as error:
            print(error.cmd)
        with os.popen("echo words") as file:
            print(file.read().strip(), os.system("exit 3") >> 8)
        """
    )
    assert lines == ["True True True", "b'2'", "b'1'", "b'0'", "['sleep', '9']", "words 3"]


def test_restoring_gives_subprocess_back() -> None:
    lines = run_patched(
        """
        import io, os, select, selectors, subprocess
        before = [os.read, subprocess.Popen._wait, subprocess.io, selectors.EpollSelector._selector_cls, select.epoll]
        import greenprobe
        greenprobe.monkey_patch()
        print(subprocess.io is io, os.read is before[0])
        greenprobe.restore()
        after = [os.read, subprocess.Popen._wait, subprocess.io, selectors.EpollSelector._selector_cls, select.epoll]
        print(before == after)
        """,
        patch="",
    )
    assert lines == ["False False", "True"]


def test_a_private_copy_of_subprocess_is_green_and_the_process_is_not() -> None:
    lines = run_patched(
        """
        import io, subprocess
        from greenprobe import green_files, import_patched
        copy = import_patched("subprocess")
        print(copy.io is green_files, subprocess.io is io, copy.Popen is subprocess.Popen)
        print(copy.run(["echo", "words"], capture_output=True, text=True).stdout.strip())
        """,
        patch="",
    )
    assert lines == ["True True False", "words"]
