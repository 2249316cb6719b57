"""Patching: what is replaced, what is chosen, what is taken back, who is out of reach."""

from pathlib import Path

import pytest
from patched import python, run

from greenprobe.patcher import TABLE, chosen


def test_no_key_or_only_false_ones_mean_all_but_those() -> None:
    assert chosen({}) == set(TABLE)
    assert chosen({"ssl": False, "os": False}) == set(TABLE) - {"ssl", "os"}


def test_a_true_key_means_only_what_is_named() -> None:
    assert chosen({"socket": True, "ssl": False}) == {"socket"}


def test_an_unknown_key_is_a_type_error_that_names_the_known_ones() -> None:
    with pytest.raises(TypeError, match="no 'sockets'; it knows os, select"):
        chosen({"sockets": True})


def test_fifty_threads_that_sleep_take_the_time_of_one() -> None:
    lines = run("""
        import os, threading, time
        from greenprobe.testing import JumpClock
        with JumpClock() as clock:
            threads = [threading.Thread(target=time.sleep, args=(60,)) for _ in range(50)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            print(clock.now(), threading.active_count(), len(os.listdir("/proc/self/task")))
    """)
    assert lines == ["60.0 1 1"]


def test_patching_twice_changes_nothing_and_restore_takes_all_back() -> None:
    lines = run(
        """
        import _thread, queue, signal, socket, ssl, sys, threading, time
        def state():
            named = {(name, key): id(value) for name in ("_thread", "queue", "signal", "socket", "ssl", "threading",
                     "time", "_queue") for key, value in vars(sys.modules[name]).items()}
            return named, id(ssl.SSLContext.sslsocket_class), id(threading.Condition.wait), signal.getsignal(2)
        import greenprobe.patcher
        before = state()
        made = socket.socket.__new__
        greenprobe.monkey_patch()
        once = state()
        greenprobe.monkey_patch()
        print(state() == once, once != before)
        from time import sleep
        greenprobe.restore()
        print(state() == before, sleep is time.sleep, greenprobe.is_monkey_patched("time"))
        with socket.socket() as sock:
            print(type(sock) is socket.socket)
        """,
        patch="import greenprobe\n",
    )
    assert lines == ["True True", "True True False", "True"]


def test_what_is_patched_can_be_asked_by_group_and_by_module() -> None:
    lines = run(
        """
        greenprobe.monkey_patch(socket=True)
        import socket, time
        print(*(greenprobe.is_monkey_patched(each) for each in ("socket", socket, "time", time, "thread", "nothing")))
        greenprobe.monkey_patch(thread=True)
        print(greenprobe.is_monkey_patched("thread"), greenprobe.is_monkey_patched("_thread"))
        """,
        patch="import greenprobe\n",
    )
    assert lines == ["True True False False False False", "True True"]


def test_old_references_become_green() -> None:
    lines = run(
        """
        from socket import socket, getaddrinfo
        from threading import Lock, RLock, get_ident
        from time import sleep
        import pickle, ssl
        context = ssl.create_default_context()
        class Keeper:
            nap = sleep
            def doze(self, how=sleep): return how
        kept = [socket]
        greenprobe.monkey_patch()
        import threading, time, socket as module
        print(socket is module.socket, sleep is time.sleep, Lock is threading.Lock, get_ident is threading.get_ident)
        print(Keeper().nap(0), Keeper().doze() is time.sleep, pickle.loads(pickle.dumps(sleep)) is sleep)
        with kept[0]() as sock: print(type(sock).__module__, isinstance(sock, kept[0]))
        print(context.sslsocket_class is ssl.SSLSocket, type(context) is ssl.SSLContext)
        """,
        patch="import greenprobe\n",
    )
    assert lines == ["True True True True", "None True True", "greenprobe.green_socket True", "True True"]


def test_locks_made_before_are_exchanged_once_for_all_who_hold_them() -> None:
    lines = run(
        """
        import logging, threading, queue
        shared = threading.Lock()
        condition = threading.Condition(shared)
        old = type(shared), queue.Queue()
        greenprobe.monkey_patch()
        print(type(shared) is type(threading.Lock()), condition._lock is shared)
        print(condition.acquire.__self__ is shared, old[1].not_empty._lock is old[1].mutex)
        print(type(logging._lock) is threading._CRLock, type(old[1].mutex) is type(shared))
        with condition: condition.notify()
        """,
        patch="import greenprobe\n",
    )
    assert lines == ["True True", "True True", "True True"]


def test_a_lock_held_by_a_named_module_is_warned_of_with_its_attribute() -> None:
    done = python("-c", "import logging; logging._lock.acquire(); import greenprobe; greenprobe.monkey_patch()")
    assert done.returncode == 1
    assert "PatchWarning: patched too late for logging._lock is held" in done.stderr


def test_a_running_thread_and_a_socket_class_made_before_are_warned_of_by_name() -> None:
    program = """
import socket, threading, greenprobe
end = threading.Event()
threading.Thread(target=end.wait, name="early bird", daemon=True).start()
class Mine(socket.socket): pass
greenprobe.monkey_patch()
"""
    done = python("-W", "always", "-c", program)
    assert "patched too late for the thread 'early bird'" in done.stderr
    assert "patched too late for __main__.Mine, a class of sockets" in done.stderr


def test_the_original_is_untouched_and_apart() -> None:
    lines = run("""
        import threading
        original = greenprobe.original("threading")
        seen = []
        thread = original.Thread(target=lambda: seen.append(original.get_native_id()))
        thread.start(); thread.join()
        import os
        print(seen != [os.getpid()], type(original.Lock()) is type(threading.Lock()))
        print(greenprobe.original("time").sleep.__module__, greenprobe.original("json").__name__)
    """)
    assert lines == ["True False", "time json"]


def test_a_private_copy_is_patched_and_the_process_is_not() -> None:
    lines = run(
        """
        import sys, time, http.client, socket
        before = dict(sys.modules)
        private = greenprobe.import_patched("http.client")
        print(private is not http.client, private.socket.socket.__module__, http.client.socket.socket.__module__)
        print(all(sys.modules[name] is module for name, module in before.items()), time.sleep)
        again = greenprobe.import_patched("urllib.request")
        print(again.http.client is private, again.socket is private.socket)
        """,
        patch="import greenprobe\n",
    )
    assert lines == ["True greenprobe.green_socket socket", "True <built-in function sleep>", "True True"]


# -- running a program patched


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A script that tells how it was started."""
    path = tmp_path / "program.py"
    path.write_text(
        "import sys, time, greenprobe\n"
        "print(__name__, sys.argv[1:], time.sleep, greenprobe.is_monkey_patched('time'))\n"
    )
    return path


def test_a_script_runs_patched_from_its_first_line(program: Path) -> None:
    done = python("-m", "greenprobe.patcher", str(program), "-v", "word")
    assert done.stdout == "__main__ ['-v', 'word'] <green function sleep> True\n"
    assert not done.stderr


def test_a_module_runs_patched() -> None:
    done = python("-m", "greenprobe.patcher", "-m", "json.tool", stdin="{}")
    assert done.stdout == "{}\n"
    assert not done.stderr


MISSING = [["no_such_file.py"], ["-m", "no_such_module"], ["-m", "json.no_such_module"], ["-m", "no_such.module"]]


@pytest.mark.parametrize("words", [[], ["-m"], ["-x", "script.py"], *MISSING])
def test_a_wrong_command_line_is_one_line_and_the_usage(words: list[str]) -> None:
    done = python("-m", "greenprobe.patcher", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 2
    assert "usage: python -m greenprobe.patcher" in done.stderr
    kind = "module" if words[:1] == ["-m"] else "file"
    assert words not in MISSING or f"there is no {kind} {words[-1]!r}" in done.stderr


@pytest.mark.slow
def test_a_folder_runs_if_it_can_as_one_does_in_python(tmp_path: Path) -> None:
    """Slow: starts two interpreters."""
    assert f"there is no __main__.py in {str(tmp_path)!r}" in python("-m", "greenprobe.patcher", str(tmp_path)).stderr
    (tmp_path / "__main__.py").write_text("import socket; print(socket.socket.__module__)")
    assert python("-m", "greenprobe.patcher", str(tmp_path)).stdout == "greenprobe.green_socket\n"


def test_a_module_that_misses_another_says_which(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("import not_installed\n")
    (tmp_path / "package" / "program.py").write_text("")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from greenprobe.patcher import main; main"
    done = python("-c", f"{program}(['-m', 'package.program'])")
    assert "Traceback" in done.stderr
    assert "No module named 'not_installed'" in done.stderr


def test_help_says_how_to_call_it() -> None:
    assert python("-m", "greenprobe.patcher", "--help").stdout.startswith("usage: python -m greenprobe.patcher")


def test_importing_the_patcher_patches_nothing() -> None:
    assert run("import greenprobe.patcher, time; print(time.sleep)", patch="") == ["<built-in function sleep>"]


def test_a_forked_child_may_patch_without_a_warning() -> None:
    code = """
        import os, threading
        import greenprobe
        pid = os.fork()
        if not pid:
            greenprobe.monkey_patch()  # warnings are errors here
            print("patched", flush=True)
            os._exit(0)
        print(os.waitpid(pid, 0)[1])
    """
    assert run(code, patch="") == ["patched", "0"]


def test_a_patched_module_that_is_loaded_once_more_is_patched_again() -> None:
    lines = run("""
        import importlib, sys, _queue, time, threading
        del sys.modules["_queue"]
        import _queue as anew
        print(anew is not _queue, anew.SimpleQueue is _queue.SimpleQueue, type(anew.__loader__).__name__)
        del sys.modules["threading"]
        import threading as again
        print(again is not threading, again.Condition.wait is threading.Condition.wait)
        greenprobe.restore()
        del sys.modules["_queue"]
        import _queue as plain
        print(plain.SimpleQueue is anew.SimpleQueue)
    """)
    assert lines == ["True True ExtensionFileLoader", "True True", "False"]


def test_what_is_destroyed_last_may_take_locks() -> None:
    code = """
        import threading
        class Last:
            def __del__(self, lock=threading.RLock()):
                with lock:
                    pass
        last = Last()
    """
    assert run(code) == []


def test_queues_of_a_private_copy_are_green_where_the_process_is_not() -> None:
    lines = run(
        """
        private = greenprobe.import_patched("urllib.request", "queue")
        import sys
        from greenprobe.patcher import _green_copies
        queue = _green_copies.get("queue")
        shelf = queue.Queue(1)
        greenprobe.spawn_after(0.001, shelf.put, "item")
        print(shelf.get(timeout=5), sys.modules["queue"] is not queue)
        """,
        patch="import greenprobe\n",
    )
    assert lines == ["item True"]


def test_a_patched_process_may_import_private_patched_copies_and_originals() -> None:
    lines = run("""
        import queue, socket
        ftplib = greenprobe.import_patched("ftplib")
        print(issubclass(ftplib.socket.socket, socket.socket), ftplib.socket is not socket)
        print(greenprobe.original("queue").Queue.__init__ is not queue.Queue.__init__)
        q = greenprobe.import_patched("queue").Queue()
        greenprobe.spawn(q.put, 5)
        print(q.get(), greenprobe.original("queue").Queue().mutex.__class__.__name__)
    """)
    assert lines == ["True True", "True", "5 lock"]


def test_a_context_made_before_the_patch_keeps_working_and_makes_green_sockets() -> None:
    lines = run(
        """
        import socket, ssl
        from ssl import SSLContext, SSLSocket
        class Mine(SSLContext): pass
        contexts = [ssl.create_default_context(), Mine(ssl.PROTOCOL_TLS_CLIENT)]
        greenprobe.monkey_patch()
        for context in contexts:
            context.options |= ssl.OP_NO_TICKET  # which recursed where the class was replaced
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            with context.wrap_socket(socket.socket(), server_hostname="host.test") as sock:
                print(type(sock) is ssl.SSLSocket, isinstance(sock, SSLSocket), isinstance(context, SSLContext))
        try: ssl.SSLSocket()
        except TypeError as error: print(error)
        """,
        patch="import greenprobe\n",
    )
    refusal = "SSLSocket does not have a public constructor. Instances are returned by SSLContext.wrap_socket()."
    assert lines == ["True True True", "True True True", refusal]
