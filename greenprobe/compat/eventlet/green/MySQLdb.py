"""MySQLdb, if it is installed, with connections whose calls are made in the thread pool."""

import MySQLdb

from greenprobe.compat.eventlet.green.private import contents
from greenprobe.compat.eventlet.optional import green_mysqldb

globals().update(contents(green_mysqldb(MySQLdb)))
