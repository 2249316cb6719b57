"""pools: Pool and TokenPool."""

import eventlet
from eventlet import pools


def show(label, f, *a, **k):
    try:
        print(label, f(*a, **k))
    except BaseException as e:
        print(label, "raised", type(e).__name__, e)


# pools
class P(pools.Pool):
    n = 0

    def create(self):
        self.n += 1
        return self.n


p = P(min_size=1, max_size=2)
print(p.free(), p.waiting(), p.n, p.current_size, p.max_size, list(p.free_items))
a = p.get()
b = p.get()
print(a, b, p.free())
show("timeout", eventlet.with_timeout, 0.01, p.get, timeout_value="late")
print(p.waiting(), p.free())
got = []
eventlet.spawn(lambda: got.append(p.get()))
eventlet.sleep(0)
print(p.waiting(), p.free())
p.put(a)
eventlet.sleep(0)
print(got)
p.put(b)
p.put(got[0])
print(p.free(), list(p.free_items))
with p.item() as i:
    print("item", i, p.free())
p.resize(1)
print(p.max_size, p.free(), list(p.free_items))
x = p.get()
p.put(x)
print(p.current_size, p.free())
p.resize(3)
print(p.free())
s = pools.Pool(create=lambda: object(), order_as_stack=True, max_size=3)
a, b = s.get(), s.get()
s.put(a)
s.put(b)
print(s.get() is b)
f = pools.Pool(create=lambda: object(), max_size=3)
a, b = f.get(), f.get()
f.put(a)
f.put(b)
print(f.get() is a)


def boom():
    raise ValueError("create")


q = pools.Pool(create=boom, max_size=1)
show("create fails", q.get)
print(q.free(), q.current_size)
show("again", q.get)
t = pools.TokenPool(max_size=2)
print(type(t.get()).__name__, t.free())
