"""threading, green: threads are greenthreads."""

from greenprobe.compat.eventlet.green.private import contents, green

globals().update(contents(green("threading")))
