"""select, green: select, poll and epoll park."""

from greenprobe.compat.eventlet.green.private import contents, green

globals().update(contents(green("select")))
