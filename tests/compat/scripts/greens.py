"""eventlet.green: every module, and a client and a server on them."""

import sys
from importlib import import_module

import eventlet
from show import show

eventlet.sleep(0)
NAMES = {
    "os": "fdopen read write wait waitpid open",
    "select": "select error",
    "selectors": "SelectSelector DefaultSelector",
    "socket": "socket socketpair fromfd timeout create_connection getaddrinfo gethostbyname gethostbyname_ex getnameinfo",
    "ssl": "wrap_socket SSLContext create_default_context GreenSSLSocket GreenSSLContext CERT_NONE",
    "subprocess": "Popen call check_call check_output run PIPE",
    "thread": "start_new_thread allocate_lock get_ident exit stack_size LockType error",
    "threading": "Thread Lock RLock Condition Event Semaphore Timer local current_thread",
    "time": "sleep",
    "Queue": "Queue LifoQueue PriorityQueue Full Empty",
    "builtin": "open",
    "http": "HTTPStatus",
    "http.client": "HTTPConnection HTTPSConnection HTTPResponse",
    "http.server": "HTTPServer BaseHTTPRequestHandler SimpleHTTPRequestHandler",
    "httplib": "HTTPConnection HTTPSConnection",
    "BaseHTTPServer": "HTTPServer BaseHTTPRequestHandler",
    "SocketServer": "TCPServer BaseRequestHandler",
    "ftplib": "FTP",
    "urllib": "",
    "urllib.request": "urlopen Request",
    "urllib.parse": "urlparse quote",
    "urllib.error": "URLError HTTPError",
    "urllib.response": "addinfourl",
    "profile": "Profile run runctx",
}
for name, expected in NAMES.items():
    module = import_module(f"eventlet.green.{name}")
    print(name, [each for each in expected.split() if not hasattr(module, each)])

# a client and a server
from eventlet.green import BaseHTTPServer, socket
from eventlet.green.http import client
from eventlet.green.urllib import request


class Handler(BaseHTTPServer.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        eventlet.sleep(0.001)
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


server = BaseHTTPServer.HTTPServer(("127.0.0.1", 0), Handler)


def serve() -> None:
    while True:
        server.process_request(*server.get_request())


eventlet.spawn(serve)
port = server.server_address[1]


def fetch(path: str) -> bytes:
    return request.urlopen(f"http://127.0.0.1:{port}{path}").read()


opener = request.build_opener(request.ProxyHandler({}))
request.install_opener(opener)
print(list(eventlet.GreenPool(5).imap(fetch, ["/1", "/2", "/3"])))
connection = client.HTTPConnection("127.0.0.1", port)
connection.request("GET", "/direct")
print(connection.getresponse().read())
connection.close()
print(isinstance(server.socket, socket.socket))
import socket as plain

print(plain.socket is socket.socket)

# threads and queues
from eventlet.green import Queue, thread, threading, time

log: list[object] = []


def work(number: int) -> None:
    time.sleep(0.001)
    log.append(number)


threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for each in threads:
    each.start()
for each in threads:
    each.join()
print(sorted(log))  # type: ignore[type-var]
q = Queue.Queue()
eventlet.spawn_after(0.001, q.put, "item")
print(q.get(), q.maxsize in (0, None))
lock = thread.allocate_lock()
with lock:
    print(lock.locked())
event = threading.Event()
eventlet.spawn_after(0.001, event.set)
print(event.wait(1))
condition = threading.Condition()
with condition:
    print(condition.wait(0.001))

# subprocesses and pipes
from eventlet.green import os, subprocess

print(subprocess.check_output([sys.executable, "-c", "print('child')"]))
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(child.communicate(b"through"), child.returncode)
show("late", subprocess.Popen(["sleep", "5"]).wait, timeout=0.01)
read, write = os.pipe()
eventlet.spawn_after(0.001, os.write, write, b"pipe")
print(os.read(read, 10))
pid = os.fork()
if not pid:
    os._exit(3)
print(os.waitpid(pid, 0)[1] >> 8)
from eventlet.green import builtin

read, write = os.pipe()
os.write(write, b"line\n")
with builtin.open(read) as file:
    print(file.readline())
