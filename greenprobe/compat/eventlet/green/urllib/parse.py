"""urllib.parse."""

from greenprobe.compat.eventlet.green.private import contents, loaded

globals().update(contents(loaded("urllib.parse")))
