"""urllib.request on green sockets, under the name it had in Python 2."""

from greenprobe.compat.eventlet.green.private import contents, loaded

globals().update(contents(loaded("urllib.request")))
