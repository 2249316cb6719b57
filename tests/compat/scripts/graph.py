"""dagpool."""

import eventlet
from eventlet import dagpool


def show(label, f, *a, **k):
    try:
        print(label, f(*a, **k))
    except BaseException as e:
        print(label, "raised", type(e).__name__, e)


# dag
d = dagpool.DAGPool({"a": 1})

print(d.get("a"), d.get("b"), d.get("b", 5), sorted(d.keys()), d.items(), d.running(), d.waiting(), d.running_keys())
log = []


def f(key, results, *args, **kw):
    got = dict(results)
    log.append((key, sorted(got.items()), args, kw))
    return key + "!"


r = d.spawn("c", ("a", "b"), f, 1, x=2)
print("spawn returns", type(r).__name__)

show("collision", d.spawn, "c", (), f)
show("collision", d.spawn, "a", (), f)
eventlet.sleep(0)
print(d.running(), d.waiting(), d.waiting_for("c"), d.waiting_for(), d.running_keys(), log)
show("waiting_for unknown", d.waiting_for, "zzz")
show("waiting_for done", d.waiting_for, "a")
d.post("b", 2)
eventlet.sleep(0)
print(log, d["c"], d.waiting())
show("post again", d.post, "b", 3)
show("post replace", d.post, "b", 3, replace=True)
print(d["b"])
show("post to spawned", d.post, "c", 5)
print(sorted(d.wait(("a", "c")).items()))
print(sorted(d.wait().items()))
print(sorted(d.wait_each()))


def bad(key, results):
    dict(results)
    raise KeyError("boom")


d.spawn("x", (), bad)
d.spawn("y", ("x",), f)
d.spawn("z", ("y",), f)
show("getitem x", d.__getitem__, "x")
show("wait y", d.wait, ("y",))
show("z", d.__getitem__, "z")
try:
    d["z"]
except Exception as e:
    print(type(e).__name__, e.key, type(e.exc).__name__, e.exc.key, type(e.exc.exc).__name__, repr(str(e)))
print(sorted(d.wait_each_success()), sorted((k, type(v).__name__) for k, v in d.wait_each_exception()))
show("each", lambda: list(d.wait_each(("x",))))
show("items", d.items)
show("keys", lambda: sorted(d.keys()))
show("get x", d.get, "x")
d2 = dagpool.DAGPool()


def slow(key, results):
    dict(results)
    eventlet.sleep(5)


d2.spawn("s", (), slow)
eventlet.sleep(0)
print(d2.running(), d2.running_keys())
try:
    d2.kill("s")
except KeyError:
    pass
show("s", d2.get, "s")
print(d2.running(), d2.running_keys(), sorted(d2.keys()))
show("kill unknown", d2.kill, "nope")
d2.post("p", 1)
show("kill posted", d2.kill, "p")
d2.spawn_many({"m1": ("p",), "m2": ("m1", "p")}, f, 7)
print(sorted(d2.wait(("m1", "m2")).items()), log[-2:])
show("spawn_many collision", d2.spawn_many, {"m1": ()}, f)
show("wait missing", eventlet.with_timeout, 0.01, d2.wait, ("never",), timeout_value="blocks")
show("str keys", lambda: d2.wait("p"))
show("getitem unknown", eventlet.with_timeout, 0.01, d2.__getitem__, "never2", timeout_value="blocks")


def order(key, results):
    seen = []
    for k, v in results:
        seen.append(k)
    return seen


d3 = dagpool.DAGPool()
d3.spawn("o", ("k1", "k2", "k3"), order)
eventlet.sleep(0)
d3.post("k2", 2)
eventlet.sleep(0)
d3.post("k3", 3)
eventlet.sleep(0)
d3.post("k1", 1)
print(d3["o"])
d3b = dagpool.DAGPool({"k1": 1})
d3b.spawn("same", ("k1", "k1"), order)
print(d3b["same"])
pre = dagpool.DAGPool([("a", 1), ("b", dagpool.PropagateError("b", ValueError("v")))])
show("preload exc", pre.__getitem__, "b")
show("post exc", pre.post, "e", dagpool.PropagateError("e", ValueError("v")))
show("e", pre.__getitem__, "e")
show("f on e", lambda: (pre.spawn("f", ("e",), f), pre["f"]))
