"""queue, green, under the name it had in Python 2."""

from greenprobe.compat.eventlet.green.private import contents, green

globals().update(contents(green("queue")))
