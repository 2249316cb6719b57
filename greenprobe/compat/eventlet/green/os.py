"""os, green: reads, writes and waits park."""

from greenprobe.compat.eventlet.green.private import contents, green

globals().update(contents(green("os")))
