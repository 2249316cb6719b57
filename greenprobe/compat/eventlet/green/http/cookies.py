"""http.cookies."""

from greenprobe.compat.eventlet.green.private import contents, loaded

globals().update(contents(loaded("http.cookies")))
