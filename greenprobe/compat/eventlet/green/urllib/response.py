"""urllib.response."""

from greenprobe.compat.eventlet.green.private import contents, loaded

globals().update(contents(loaded("urllib.response")))
