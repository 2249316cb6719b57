"""eventlet.green modules that are loaded when the process has been patched."""

import eventlet

eventlet.monkey_patch()

from eventlet.green import Queue, socket, threading, time

done = []
thread = threading.Thread(target=lambda: (time.sleep(0.01), done.append(1)))
thread.start()
thread.join()
items = Queue.Queue(1)
eventlet.spawn(items.put, "item")
print(done, items.get(), items.empty())
one, other = socket.socketpair()
one.sendall(b"x")
print(other.recv(1))
