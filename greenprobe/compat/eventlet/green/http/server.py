"""http.server on green sockets."""

from greenprobe.compat.eventlet.green.private import contents, loaded

globals().update(contents(loaded("http.server")))
