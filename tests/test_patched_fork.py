"""Forks of a patched process that is busy: a hundred of them, with greenthreads, threads and sockets in it."""

import pytest
from patched import run


@pytest.mark.slow
def test_a_hundred_forks_of_a_busy_process_disturb_nobody() -> None:
    """Slow: a hundred processes."""
    lines = run(
        """
        import os, queue, select, socket, threading, time, warnings
        warnings.simplefilter("ignore")  # of forks with a real thread, and of sockets that daemons leave open
        import greenprobe
        from greenprobe import green_os
        real_sleep = greenprobe.patcher.original("time").sleep

        def echo(connection):
            while data := connection.recv(100):
                connection.sendall(data)

        def talk(connection, number):
            while not over.is_set():
                connection.sendall(b"%d" % number)
                if connection.recv(100) != b"%d" % number:
                    troubles.append(number)
                rounds[number] += 1
                time.sleep(0.001)

        def poll(number):
            while not over.is_set():
                select.select([idle[0]], [], [], 0.005)

        def sets():
            found = set()
            for fd in os.listdir("/proc/self/fd"):
                try:
                    if "eventpoll" in os.readlink("/proc/self/fd/" + fd):
                        found.add(int(fd))
                except OSError:
                    pass
            return found

        def child():
            # A hub of its own, a thread that ends, a socket that works, and no set but this hub's.
            thread = threading.Thread(target=time.sleep, args=(0.001,))
            thread.start()
            thread.join()
            one, other = socket.socketpair()
            threading.Timer(0.001, other.sendall, (b"x",)).start()
            fine = one.recv(1) == b"x" and threading.active_count() <= 2 and len(sets()) == 1
            os._exit(0 if fine else 1)

        over, troubles, rounds = threading.Event(), [], [0] * 50
        idle = socket.socketpair()
        for number in range(50):
            ours, theirs = socket.socketpair()
            greenprobe.spawn(echo, theirs)
            threading.Thread(target=talk, args=(ours, number), daemon=True).start()
        for number in range(10):
            threading.Thread(target=poll, args=(number,), daemon=True).start()
        pool = greenprobe.ThreadPool(2)
        pool.run(real_sleep, 0)
        time.sleep(0.01)
        statuses = []
        for _ in range(100):
            before = list(rounds)
            pid = os.fork()
            if not pid:
                child()
            statuses.append(os.waitpid(pid, 0)[1])
        while any(now == then for now, then in zip(rounds, before)):
            time.sleep(0.001)  # who talked goes on talking
        over.set()
        print(set(statuses), troubles)
        print(pool.run(int, "7"))
        """,
        timeout=50,
    )
    assert lines == ["{0} []", "7"]
