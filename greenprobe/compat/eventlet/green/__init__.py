"""eventlet.green: the standard library on green sockets, locks and time, whatever is patched in the process."""
