"""asyncore on green sockets, where Python still has it (up to 3.11)."""

from greenprobe.compat.eventlet.green.private import contents, loaded

globals().update(contents(loaded("asyncore")))
