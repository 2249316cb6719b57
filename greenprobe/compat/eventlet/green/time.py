"""time, green."""

from greenprobe.compat.eventlet.green.private import contents, green

globals().update(contents(green("time")))
