"""socket, green; eventlet has it apart for the look-up of names, which is green here in any case."""

from greenprobe.compat.eventlet.green.private import contents, green

globals().update(contents(green("socket")))
