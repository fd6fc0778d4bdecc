"""Each attack is the source of a file with a class `Layer`, which is judged like a ReLU, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass

# A wrong layer to start from: its gradient passes everywhere. And a right one.
PRELUDE = """
import ctypes, gc, inspect, json, os, signal, socket, struct, subprocess, sys, threading, time
import numpy as np

class Wrong:
    def forward(self, x):
        self.x = x
        return np.maximum(x, 0)

    def backward(self, g):
        return np.array(g)

class Right(Wrong):
    def backward(self, g):
        return g * (self.x > 0)

def links():
    for fd in range(64):
        try:
            yield socket.socket(fileno=os.dup(fd))
        except OSError:
            pass

def say(data):
    for link in links():
        link.setblocking(True)
        link.sendall(data)

def frame(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<QI", len(text) + len(body), len(text)) + text + body

def reply(value, problem=""):
    return frame([{"outcome": {"value": value, "problem": problem}, "missing": []}, []])
"""


@dataclass(frozen=True)
class Attack:
    """One candidate.

    Attributes:
        name: what it tries.
        source: what follows the prelude in its file.
        outcome: the verdict; several where the system decides which.
        says: what the verdict or a remark must say.
        slow: whether it takes seconds: it runs into a time limit, or needs torch.
        levels: the levels of containment at which this must come of it: "bubblewrap", "Landlock", "none"; if none is
            said, those of its group.
    """

    name: str
    source: str
    outcome: str | tuple[str, ...] = "wrong"
    says: str = ""
    slow: bool = False
    levels: tuple[str, ...] = ()


def forward(body: str, base: str = "Wrong") -> str:
    """A layer that does something before its forward."""
    lines = "\n        ".join(body.strip().splitlines())
    return f"class Layer({base}):\n    def forward(self, x):\n        {lines}\n        return super().forward(x)\n"


def backward(body: str, base: str = "Wrong") -> str:
    """A layer that does something before its backward."""
    lines = "\n        ".join(body.strip().splitlines())
    return f"class Layer({base}):\n    def backward(self, g):\n        {lines}\n        return super().backward(g)\n"


def at_import(body: str) -> str:
    """A layer whose file does something when it is imported."""
    return f"{body.strip()}\nclass Layer(Wrong):\n    pass\n"


def returned(expression: str, more: str = "") -> str:
    """A layer whose backward returns something odd of the gradient g."""
    return f"{more}\nclass Layer(Wrong):\n    def backward(self, g):\n        return {expression}\n"


SUBCLASS = """
class Lying(np.ndarray):
{}
"""


def lying(methods: str) -> str:
    """A layer whose gradient is an array of a class of its own."""
    inside = "\n".join(f"    {line}" for line in methods.strip().splitlines())
    return returned("np.array(g).view(Lying)", SUBCLASS.format(inside))


REDUCE = "class Bomb:\n    def __reduce__(self): return os._exit, (0,)\n"
ENDS = "not_judged"
LOST = ("could not be read", "no answer", "ended")

SERIALISED = (
    Attack("array that pickles as a call", lying("def __reduce__(self): return os._exit, (0,)")),
    Attack("object array with a bomb", returned("np.array([Bomb()] * g.size, object).reshape(g.shape)", REDUCE)),
    Attack("bomb as gradient", returned("Bomb()", REDUCE)),
    Attack("bomb as output", REDUCE + "class Layer(Wrong):\n    def forward(self, x): return Bomb()\n", ENDS),
    Attack("bomb in an exception", REDUCE + backward("raise ValueError(Bomb())"), says="ValueError"),
    Attack("bomb as an attribute", REDUCE + forward("self.cache = Bomb()")),
    Attack("tuple of bombs", returned("(np.array(g), Bomb(), Bomb())", REDUCE)),
    Attack(
        "subclass of scratch with a bomb as output",
        "import scratch\n" + REDUCE + "class Layer(scratch.Module):\n"
        "    def forward(self, x): return Bomb()\n    def backward(self, g): return g\n",
        "wrong",
        "no array of real numbers",
    ),
    Attack(
        "subclass of scratch that forgets return",
        "import scratch\nclass Layer(scratch.Module):\n"
        "    def forward(self, x): self.x = x\n    def backward(self, g): return g\n",
        "wrong",
        "no array of real numbers",
    ),
    Attack("pickle on every descriptor", at_import("import pickle\nsay(pickle.dumps(Wrong()))"), ENDS),
)

ARRAYS = (
    Attack("equal to everything", lying("def __eq__(self, other): return True\ndef __le__(self, other): return True")),
    Attack("array function", lying("def __array_function__(self, f, t, a, k): return a[0]")),
    Attack("array ufunc", lying("def __array_ufunc__(self, f, m, *a, **k): return np.zeros(self.shape)")),
    Attack("array finalize", lying("def __array_finalize__(self, other): time.sleep(0)")),
    Attack("array wrap", lying("def __array_wrap__(self, a, *r): return np.zeros(a.shape)")),
    Attack("array priority", lying("__array_priority__ = 1e9\ndef __rsub__(self, o): return np.zeros(self.shape)")),
    Attack("shape that lies", lying("shape = property(lambda self: (1,))"), "wrong"),
    Attack("class that lies", "class Odd:\n    __class__ = np.ndarray\n" + returned("Odd()")),
    Attack(
        "metaclass that agrees",
        "class Meta(type):\n    def __instancecheck__(c, x): return True\n"
        "    def __eq__(c, x): return True\n    __hash__ = None\nclass Layer(Wrong, metaclass=Meta): pass\n",
        ("wrong", "not_judged"),
    ),
    Attack("complex gradient", returned("g.astype(complex)")),
    Attack("text as gradient", returned("np.full(g.shape, 'a')")),
    Attack("dates as gradient", returned("np.zeros(g.shape, 'M8[s]')")),
    Attack("records as gradient", returned("np.zeros(g.shape, [('a', 'f8')])")),
    Attack("long doubles", returned("np.array(g, np.longdouble)")),
    Attack("big endian", returned("g.astype(g.dtype.newbyteorder())")),
    Attack("not a number", returned("np.full(g.shape, np.nan)")),
    Attack("infinite", returned("np.full(g.shape, np.inf)")),
    Attack("a gradient that broadcasts", returned("g[:1]")),
    Attack("no elements", returned("g[:0]")),
    Attack("one number", returned("0.0")),
    Attack("thirty axes", returned("g.reshape(g.shape + (1,) * (30 - g.ndim))")),
    Attack("zero strides", returned("np.broadcast_to(np.float64(0), g.shape)")),
    Attack("generator as gradient", returned("(row for row in g)")),
    Attack(
        "infinite list",
        "class Endless(list):\n    def __iter__(self):\n        while True: yield 0.0\n" + returned("Endless()"),
        ENDS,
        "no answer within",
        slow=True,
    ),
    Attack("writes into the gradient", backward("g[...] = 0")),
    Attack("writes into the input", forward("x[...] = 0")),
)

MESSAGES = (
    Attack("garbage", forward("say(b'\\xff' * 100)"), ENDS, "could not be read"),
    Attack(
        "half a message",
        forward("say(struct.pack('<QI', 1000, 10) + b'x' * 20); time.sleep(60)"),
        ENDS,
        "no answer",
        slow=True,
    ),
    Attack("the length of everything", forward("say(struct.pack('<QI', 2**63, 10))"), ENDS, "could not be read"),
    Attack("a header longer than the message", forward("say(struct.pack('<QI', 10, 2**31))"), ENDS, "could not be"),
    Attack("an announced gigabyte", forward("say(struct.pack('<QI', 2**30, 10))"), ENDS, "could not be read"),
    Attack(
        "an announced message that never comes",
        forward("say(struct.pack('<QI', 2**27, 10)); time.sleep(60)"),
        ENDS,
        "no answer",
        slow=True,
    ),
    Attack("deep nesting", forward("say(frame(b'[' * 100000))"), ENDS, "could not be read"),
    Attack("a number of a million digits", forward("say(frame(b'[' + b'9' * 10**6 + b', []]'))"), ENDS, "could not"),
    Attack("no JSON", forward("say(frame(b'hello'))"), ENDS, "could not be read"),
    Attack("an answer that is no answer", forward("say(frame([{'ok': True, 'outcome': 'right'}, []]))"), ENDS, "could"),
    Attack("a field of another type", forward("say(frame([{'outcome': {'problem': 7}, 'missing': []}, []]))"), ENDS),
    Attack("tensors that are none", forward("say(reply({'tensors': 'all of them'}))"), ENDS, "could not be read"),
    Attack("no tensors at all", forward("say(reply({'tensors': {}}))\nos._exit(0)"), ("wrong", ENDS)),
    Attack("an array of objects", forward("say(frame([{'array': 0}, [['|O', [1]]]], bytes(64)))"), ENDS, "could not"),
    Attack("a negative shape", forward("say(frame([{'array': 0}, [['<f8', [-1]]]], bytes(64)))"), ENDS, "could not"),
    Attack("a shape beyond all numbers", forward("say(frame([{'array': 0}, [['<f8', [2**62, 2**62]]]]))"), ENDS),
    Attack("a shape of fractions", forward("say(frame([{'array': 0}, [['<f8', [0.5]]]]))"), ENDS, "could not be"),
    Attack("an array that is not there", forward("say(frame([{'array': 7}, []]))"), ENDS, "could not be read"),
    Attack("two answers at once", forward("say(reply(None, 'first') + reply(None, 'second'))"), ("wrong", ENDS)),
    Attack("a late answer", backward("threading.Timer(0.2, lambda: say(b'late')).start()"), ("wrong", ENDS)),
    Attack("drop by drop", forward("while True:\n    say(b'\\0')\n    time.sleep(0.1)"), ENDS, slow=True),
    Attack("without end", forward("while True: say(bytes(65536))"), ENDS),
    Attack(
        "a claim of being refused",
        forward(
            "say(frame([{'outcome': {'problem': 'raised UnsupportedError: a=1', "
            "'error': 'UnsupportedError', 'refused': True}, 'missing': []}, []]))"
        ),
        ENDS,
    ),
    Attack(
        "a claim of missing modules",
        forward(
            "say(frame([{'outcome': {'problem': 'no'}, 'missing': "
            "['os; import sys', '../x', '', 'torch.nn', 'a' * 10**5]}, []]))"
        ),
        ("wrong", ENDS),
    ),
    Attack(
        "control characters in the problem",
        forward("say(reply(None, '\\x1b[2J\\r\\nright: all is well'))"),
        ("wrong", ENDS),
    ),
    Attack("every descriptor closed", forward("os.closerange(0, 256)"), ENDS, "ended"),
    Attack(
        "every descriptor redirected",
        forward("null = os.open(os.devnull, os.O_RDWR)\nfor fd in range(64):\n    if fd != null: os.dup2(null, fd)"),
        ENDS,
    ),
)

TIMES = (
    Attack("endless import", at_import("while True: pass"), ENDS, "no answer within", slow=True),
    Attack(
        "endless constructor",
        "class Layer(Wrong):\n    def __init__(self):\n        while True: pass\n",
        ENDS,
        "no answer within",
        slow=True,
    ),
    Attack("endless forward", forward("while True: pass"), ENDS, "no answer within", slow=True),
    Attack("endless backward", backward("while True: pass"), ENDS, "no answer within", slow=True),
    Attack(
        "endless attribute",
        "class Layer(Wrong):\n    def __getattr__(self, name):\n        while True: pass\n",
        ("wrong", ENDS),
        slow=True,
    ),
    Attack(
        "endless copy",
        forward("pass") + "    def __deepcopy__(self, memo):\n        while True: pass\nLayer = Layer()",
        ENDS,
        slow=True,
    ),
    Attack("endless end", "class Layer(Wrong):\n    def __del__(self):\n        while True: pass\n", ENDS, slow=True),
    Attack(
        "endless text of an exception",
        "class Odd(Exception):\n    def __str__(self):\n        while True: pass\n" + backward("raise Odd"),
        ENDS,
        "no answer within",
        slow=True,
    ),
    Attack(
        "nothing ends it",
        forward("while True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass"),
        ENDS,
        "no answer within",
        slow=True,
    ),
    Attack(
        "signals ignored",
        forward(
            "for n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
            "    except (OSError, ValueError): pass\ntime.sleep(60)"
        ),
        ENDS,
        "no answer within",
        slow=True,
    ),
    Attack("stopped", forward("os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(60)"), ENDS, "no answer", slow=True),
    Attack("a thread that waits", at_import("threading.Thread(target=lambda: time.sleep(600)).start()"), "wrong"),
    Attack(
        "a thread for each call",
        forward("threading.Thread(target=lambda: time.sleep(600)).start()"),
        says="threads running",
    ),
    Attack("at exit", at_import("import atexit\natexit.register(lambda: time.sleep(600))")),
    Attack(
        "a lock that is never free",
        at_import("lock = threading.Lock()\nlock.acquire()") + "    def forward(self, x):\n        lock.acquire()\n",
        ENDS,
        "no answer within",
        slow=True,
    ),
)

SLEEP = "['sleep', MARK]"
PROCESSES = (
    Attack("leaves through the exit", forward("os._exit(0)"), ENDS, "ended with status 0"),
    Attack("calls sys.exit", backward("sys.exit(0)"), says="sys.exit"),
    Attack("calls quit", backward("quit()"), says="sys.exit"),
    Attack("exits at import", at_import("os._exit(0)"), ENDS, "ended with status 0"),
    Attack("kills itself", forward("os.kill(os.getpid(), signal.SIGKILL)"), ENDS, "SIGKILL"),
    Attack(
        "kills its parent",
        forward("os.kill(os.getppid(), signal.SIGKILL)"),
        ("wrong", ENDS),
        levels=("bubblewrap", "Landlock"),
    ),
    Attack("kills its group", forward("os.killpg(0, signal.SIGKILL)"), ENDS, "SIGKILL"),
    Attack("kills everything", forward("os.kill(-1, signal.SIGKILL)"), ("wrong", ENDS), levels=("bubblewrap",)),
    Attack("kills the first process", forward("os.kill(1, signal.SIGKILL)"), ("wrong", ENDS), levels=("bubblewrap",)),
    Attack(
        "interrupts its parent",
        forward("os.kill(os.getppid(), signal.SIGINT)"),
        ("wrong", ENDS),
        levels=("bubblewrap", "Landlock"),
    ),
    Attack("crashes", forward("ctypes.string_at(8)"), ENDS, "SIGSEGV"),
    Attack("aborts", forward("os.abort()"), ENDS, "SIGABRT"),
    Attack("becomes another program", forward("os.execv('/bin/true', ['true'])"), ENDS, "ended with status 0"),
    Attack("starts a program", forward(f"subprocess.Popen({SLEEP})"), says="starts other processes"),
    Attack(
        "starts a program in a session of its own",
        forward(f"subprocess.Popen({SLEEP}, start_new_session=True)"),
        says="starts other processes",
    ),
    Attack(
        "leaves a daemon",
        forward(
            "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
            "        os.execvp('sleep', ['sleep', MARK])\n    os._exit(0)"
        ),
        says="starts other processes",
    ),
    Attack("goes on in a child", forward("if os.fork(): os._exit(0)"), ("wrong", ENDS)),
    Attack("answers from two processes", forward("os.fork()"), ("wrong", ENDS)),
    Attack(
        "starts processes without end",
        forward(
            "for _ in range(2000):\n    if os.fork() == 0:\n        time.sleep(60)\n        os._exit(0)\ntime.sleep(60)"
        ),
        ("wrong", ENDS),
        slow=True,
    ),
    Attack(
        "looks at the arguments of its parent",
        at_import(
            "found = [open(f'/proc/{p}/cmdline').read() for p in (os.getppid(), 'self')]\n"
            "assert not any('--out' in text or 'hostile' in text for text in found + sys.argv), found"
        ),
        "wrong",
        levels=("bubblewrap",),
    ),
    Attack("looks at the environment", at_import("assert 'HOSTILE_SECRET' not in os.environ")),
    Attack(
        "writes into its parent's memory",
        forward("with open(f'/proc/{os.getppid()}/mem', 'wb', 0) as file: file.write(b'x')"),
        ("wrong", ENDS),
        levels=("bubblewrap", "Landlock"),
    ),
    Attack(
        "traces its parent",
        forward("ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)"),
        ("wrong", ENDS),
        levels=("bubblewrap", "Landlock"),
    ),
    Attack(
        "types into the terminal",
        forward(
            "import fcntl, termios\nfor fd in range(3):\n"
            "    try: fcntl.ioctl(fd, termios.TIOCSTI, b'x')\n    except OSError: pass"
        ),
    ),
)

MEMORY = (
    Attack("takes all memory", forward("np.ones(2**34)"), ENDS, "more memory than the limit allows"),
    Attack(
        "hides memory in files without a place",
        forward(
            "fds = [os.memfd_create(str(i)) for i in range(20)]\n"
            "[os.write(fd, bytes(2**27)) for fd in fds]\ntime.sleep(3)"
        ),
        ENDS,
        "more memory than the limit allows",
    ),
    Attack(
        "fills the memory that looks like a disk",
        at_import(
            "taken = 0\nfor folder in ('/', '/dev', '/dev/shm', '/tmp', '/candidate', '/proc'):\n    try:\n"
            "        for n in range(6):\n            with open(os.path.join(folder, f'big{n}'), 'wb') as file:\n"
            "                taken += file.write(bytes(2**27))\n    except OSError: pass\nassert taken <= 3 * 2**28"
        ),
        levels=("bubblewrap",),
    ),
    Attack("opens files without end", forward("held = [open(os.devnull) for _ in range(5000)]"), ENDS, "Too many open"),
    Attack("grows", forward("x = []\nwhile True: x.append(bytes(2**24))"), ENDS, "more memory than the limit allows"),
    Attack("recurses", "def f(): return f()\n" + backward("f()"), says="RecursionError"),
    Attack(
        "recurses without limit",
        "def f(): return f()\n" + backward("sys.setrecursionlimit(10**9)\nf()"),
        ("wrong", ENDS),
    ),
    Attack("an answer of a gigabyte", "class Layer(Wrong):\n    def forward(self, x): return np.zeros(2**27)\n", ENDS),
    Attack("prints without end", forward("for _ in range(4000): print('x' * 2**16)"), "wrong", "prints"),
)

FILES = (
    Attack(
        "deletes its files",
        at_import(
            "import shutil\nfor name in os.listdir('.'):\n    shutil.rmtree(name) if "
            "os.path.isdir(name) else os.remove(name)"
        ),
        says="deletes or renames",
    ),
    Attack("writes a file", forward("open('trace.txt', 'w').write('x')"), says="writes trace.txt"),
    Attack("leaves a temporary file", forward("import tempfile\ntempfile.mkstemp()"), says="writes a temporary file"),
    Attack(
        "reads a neighbour's file",
        at_import(
            "try: secret = open(SECRET).read()\nexcept OSError: secret = ''\nassert not secret, 'it could be read'"
        ),
        levels=("bubblewrap", "Landlock"),
    ),
    Attack(
        "writes outside",
        at_import("try: open(SECRET, 'w').write('x')\nexcept OSError: pass\nelse: raise AssertionError"),
        levels=("bubblewrap", "Landlock"),
    ),
    Attack(
        "follows a link that leads outside",
        at_import(
            "try: secret = open('link').read()\nexcept OSError: secret = ''\nassert not secret, 'it could be read'"
        ),
        says="not in sight: link",
    ),
    Attack("changes directory", forward("os.chdir('/')"), says="changes the working directory"),
    Attack(
        "removes its directory",
        forward("os.chdir('/')\nimport shutil\nshutil.rmtree('/candidate', True)"),
        ("wrong", ENDS),
    ),
    Attack(
        "locks its directory", at_import("os.mkdir('locked')\nopen('locked/in', 'w').close()\nos.chmod('locked', 0)")
    ),
    Attack("clears the environment", forward("os.environ.clear()"), says="changes the environment"),
    Attack(
        "fills the disk",
        at_import(
            "try:\n    with open('big', 'wb') as file:\n        for _ in range(400): "
            "file.write(bytes(2**20))\nexcept OSError: pass"
        ),
        says="writes big",
    ),
    Attack("waits at a pipe", at_import("os.mkfifo('pipe')\nopen('pipe').read()"), ENDS, "no answer", slow=True),
    Attack(
        "looks for torch on the disk",
        at_import(
            "import glob\nassert not [p for d in sys.path for p in glob.glob(os.path.join(d, 'torch', '__init__.py'))]"
        ),
        levels=("bubblewrap",),
    ),
    Attack(
        "looks for our layers on the disk",
        at_import(
            "import glob\nfound = [p for d in sys.path for n in ('scratch/conv.py', 'tests/__init__.py', "
            "'compare/pairs/pair.py') for p in glob.glob(os.path.join(d, n)) if os.access(p, os.R_OK)]\n"
            "def readable(p):\n    try: return bool(open(p).read())\n    except OSError: return False\n"
            "assert not any(map(readable, found)), found"
        ),
        levels=("bubblewrap", "Landlock"),
    ),
    Attack(
        "opens a connection",
        forward(
            "s = socket.socket()\ntry: s.connect(('127.0.0.1', PORT))\n"
            "except OSError: pass\nelse: raise AssertionError('connected')"
        ),
        says="opens a socket",
        levels=("bubblewrap", "Landlock"),
    ),
    Attack(
        "listens",
        forward("s = socket.socket()\ntry: s.bind(('127.0.0.1', 0))\nexcept OSError: pass"),
        says="opens a socket",
    ),
)

INSPECTING = (
    Attack(
        "searches all objects",
        at_import(
            "names = {type(o).__name__ for o in gc.get_objects()}\n"
            "assert not names & {'LayerPair', 'Probe', 'Likeness', 'Trial'}, names"
        ),
    ),
    Attack(
        "searches the frames",
        forward(
            "for frame in inspect.stack():\n    known = {**frame.frame.f_globals, **frame.frame.f_locals}\n"
            "    assert not {'expected', 'reference', 'pair', 'likeness', 'torch'} & known.keys(), known.keys()"
        ),
    ),
    Attack(
        "searches the modules",
        at_import(
            "known = {'torch', 'scratch', 'torch_ref', 'compare.pairs', 'compare.diagnosis', 'compare.contained'}\n"
            "assert not known & sys.modules.keys()"
        ),
    ),
    Attack(
        "replaces the comparison",
        "import compare.pairs.report as report\nreport.compare = lambda *a, **k: []\n"
        "import compare.diagnosis.examine as examine\nexamine.examine = None\nclass Layer(Wrong): pass\n",
        says="uses compare",
        slow=True,
    ),
    Attack("replaces NumPy", at_import("np.abs = lambda x: np.zeros(np.shape(x))\nnp.allclose = lambda *a, **k: True")),
    Attack(
        "replaces what sends",
        at_import("import compare.driving.worker as w\nw.send = lambda connection, value: None"),
        ENDS,
        slow=True,
    ),
    Attack(
        "replaces what is sent",
        at_import("import compare.driving.driver as d\nd._plain = lambda tensors: {}"),
        ("wrong", ENDS),
    ),
    Attack("replaces JSON", at_import("json.dumps = lambda value, **k: '[null, []]'"), ENDS, "could not be read"),
    Attack(
        "leaves out what is wrong",
        at_import(
            "import compare.driving.driver as d\nplain = d._plain\n"
            "d._plain = lambda t: {k: v for k, v in plain(t).items() if 'grad_input' not in k}"
        ),
        "right",
        "forward only",
    ),
    Attack("traces", at_import("sys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)")),
    Attack(
        "audits",
        at_import("def hook(event, args):\n    if event == 'open': raise OSError\nsys.addaudithook(hook)"),
        ("wrong", ENDS),
    ),
    Attack(
        "pretends to be scratch",
        "import types\nfake = types.ModuleType('scratch')\n"
        "class Module: pass\nfake.Module = Module\nsys.modules['scratch'] = fake\n"
        "class Layer(Wrong, Module): pass\n",
        ("wrong", ENDS),
    ),
    Attack(
        "pretends to be told",
        "class Layer(Wrong):\n    @property\n    def in_backward(self): return True\n"
        "    def __getattr__(self, name): return lambda *a, **k: np.zeros(3)\n",
        ("wrong", ENDS),
    ),
    Attack("names of a thousand letters", "Layer = type('L' * 10**6, (Wrong,), {})", "wrong"),
)

EXCUSES = (
    *(
        Attack(
            f"withholds a gradient by our {error}{text}",
            f"class {error}(Exception): pass\n"
            + backward(f"if len(g) % 2 or g.ndim > 3: raise {error}({text!r})", "Right"),
        )
        for error in ("UnsupportedError", "ConversionError", "SendingError", "TargetError")
        for text in (" of zeros= ", "")
    ),
    Attack(
        "withholds an output by our UnsupportedError",
        "class UnsupportedError(Exception): pass\n"
        + forward("if len(x) % 2 == 0 or x.ndim > 3: raise UnsupportedError('zeros= ')", "Right"),
        "right",
        "it refuses",
    ),
    Attack(
        "withholds a gradient where it is wrong",
        backward("if self.x.ndim > 3: return None", "Right"),
        "not_judged",
        "there is a grad_input on",
    ),
    Attack(
        "brings a module that torch imports",
        "import torch\n" + forward("pass"),
        says="uses torch",
        slow=True,
        levels=("bubblewrap",),
    ),
    Attack("an answer of a million names", forward("say(reply({'tensors': {str(n): 0 for n in range(10**5)}}))"), ENDS),
    Attack(
        "an array in the place of an answer",
        forward("say(frame([{'array': 0}, [['<f8', [7] * 7]]], bytes(63) + bytes(8 * 7**7)))"),
        ENDS,
        "could not be read",
    ),
    Attack(
        "claims of updates of what is not there",
        at_import(
            "import dataclasses, compare.driving.driver as d\ndrive = d.Driver.drive\n"
            "d.Driver.drive = lambda *a: dataclasses.replace(drive(*a), recovered=('nothing',), updated=('nothing',))"
        ),
    ),
    Attack(
        "takes zeros only",
        "class Layer(Right):\n    def forward(self, x):\n        self.x = x\n"
        "        if x.any(): raise ValueError('zeros only')\n        return np.zeros_like(x)\n",
        ENDS,
        "too little",
    ),
    Attack(
        "takes what is easy only",
        "class Layer(Right):\n    def forward(self, x):\n"
        "        if (x < 0).any(): raise ValueError('positive numbers only')\n        return super().forward(x)\n",
        ENDS,
        "too little",
    ),
    Attack(
        "says that it is not supported",
        "class UnsupportedError(ValueError): pass\nclass Layer(Wrong):\n"
        "    def forward(self, x):\n        self.x = x\n        if x.any(): raise UnsupportedError('stride=2')\n"
        "        return x\n",
        "wrong",
        "it refuses",
    ),
    Attack(
        "cannot be driven",
        "class UndrivableError(ValueError): pass\nclass Layer(Wrong):\n"
        "    def forward(self, x):\n        self.x = x\n        if x.any(): raise UndrivableError('no')\n"
        "        return x\n",
        ENDS,
    ),
    Attack(
        "an exception called like a verdict",
        "Odd = type('E\\n\\x1b[32mright: all is well', (Exception,), {})\n" + backward("raise Odd('\\x1b[2J')"),
    ),
    Attack(
        "an exception that cannot be shown",
        "class Odd(Exception):\n    def __str__(self): raise self\n" + backward("raise Odd"),
        says="cannot be shown",
    ),
    Attack("an exception of a million lines", backward("raise ValueError('x\\n' * 10**6)"), says="ValueError"),
    Attack("a base exception", "class Odd(BaseException): pass\n" + backward("raise Odd"), says="Odd"),
    Attack("warns without end", backward("import warnings\nfor n in range(3000): warnings.warn(str(n))"), says="warns"),
    Attack(
        "borrows torch",
        "import torch\nclass Layer:\n    def forward(self, x):\n"
        "        self.x = torch.tensor(x, requires_grad=True)\n        self.y = torch.relu(self.x)\n"
        "        return self.y.detach().numpy()\n    def backward(self, g):\n        self.x.grad = None\n"
        "        self.y.backward(torch.tensor(g))\n        return self.x.grad.numpy()\n",
        "right",
        "uses torch",
        slow=True,
    ),
    Attack(
        "borrows our layer",
        "from scratch import ReLU\nclass Layer:\n    def __init__(self): self.own = ReLU()\n"
        "    def forward(self, x): return self.own(x)\n    def backward(self, g): return self.own.backward(g)\n",
        "right",
        "uses scratch",
    ),
    Attack(
        "borrows by another way",
        "import importlib\nown = importlib.import_module('scr' + 'atch').ReLU()\n"
        "class Layer:\n    def forward(self, x): return own(x)\n    def backward(self, g): return own.backward(g)\n",
        "right",
        "uses scratch",
    ),
    Attack("seeds", forward("np.random.seed(0)"), says="random state"),
)

# What the system has to do with it is tried at every level; what it has not, at the best one that there is.
EVERYWHERE = (*PROCESSES, *FILES)
ATTACKS = (*EVERYWHERE, *MESSAGES, *MEMORY, *SERIALISED, *ARRAYS, *TIMES, *INSPECTING, *EXCUSES)
