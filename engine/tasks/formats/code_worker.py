"""Calls a function that a model wrote, in a process that has locked itself in.

Run by path, so that it imports the standard library alone. One JSON object comes in: `code`, `function`, `arguments` (a
list for each call), `seconds` of CPU time, and `unconfined`, whether to go on where the system cannot confine it. One
JSON list a line goes out: ["ready", ""] or ["refused", why]; then for each call ["value", what it returned] or
["error", what was wrong]. What a call should return is not known here, so no code can find it out or forge it.

What the code may do: think, within limits of time and memory, and read the standard library. The kernel holds it to
that: Landlock keeps every other file from being read, seccomp leaves no system call that writes a file, opens a socket,
starts a process or thread, or reaches another process.
"""

import ctypes
import errno
import json
import os
import platform
import random
import struct
import sys
from collections.abc import Mapping
from typing import Any

MEMORY = 512 << 20  # bytes of address space
MAX_TEXT = 200  # characters of an error

# System calls that a thinking process needs, by architecture: its number in seccomp, `openat`, and all others. None of
# them waits for anything but a lock.
CALLS: Mapping[str, tuple[int, int, str]] = {
    "x86_64": (
        0xC000003E,
        257,
        "0 1 3 4 5 6 8 9 10 11 12 13 14 15 17 19 20 21 24 25 28 32 33 39 60 63 79 89 96 98 100 102 104 107 108 110 131 "
        "186 201 202 204 217 219 228 229 231 262 267 269 273 292 318 324 332 334 439",
    ),
    "aarch64": (
        0xC00000B7,
        56,
        "17 23 24 48 57 61 62 63 64 65 66 67 78 79 80 93 94 96 98 99 113 114 123 124 128 132 134 135 139 153 160 165 "
        "169 172 173 174 175 176 177 178 214 215 216 222 226 233 278 283 291 293 439",
    ),
}
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # Landlock's system calls, on every architecture
ALL_FILE_RIGHTS, READ_RIGHTS = (1 << 13) - 1, 0b1100  # those of its first version; to read a file or a folder
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/dev/urandom")


class Refused(Exception):
    """This system cannot confine a process; says why."""


def set_limits(seconds: int) -> None:
    """The kernel's own limits, which nothing the code does can raise; those that the system has."""
    try:
        import resource
    except ImportError:
        return
    limits = {"CORE": 0, "FSIZE": 0, "NOFILE": 32, "NPROC": 0, "CPU": seconds, "AS": MEMORY}
    for name, most in limits.items():
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
        except (AttributeError, ValueError, OSError):
            continue


def confine() -> None:
    """Give up all but thinking and reading the standard library, for good. Raises `Refused`."""
    if sys.platform != "linux" or platform.machine() not in CALLS:
        raise Refused(f"{platform.system()} on {platform.machine()} has no way to do so that is known here")
    libc = ctypes.CDLL(None, use_errno=True)
    _must(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
    _landlock(libc)
    _seccomp(libc)


def _landlock(libc: ctypes.CDLL) -> None:
    rights = struct.pack("=Q", ALL_FILE_RIGHTS)
    rules = _must(libc.syscall(CREATE_RULESET, rights, len(rights), 0), "Landlock")
    for folder in (os.path.dirname(os.__file__), *LIBRARIES):
        try:
            opened = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = READ_RIGHTS if os.path.isdir(folder) else READ_RIGHTS & 0b100
        _must(libc.syscall(ADD_RULE, rules, 1, struct.pack("=Qi", allowed, opened), 0), "Landlock")
        os.close(opened)
    _must(libc.syscall(RESTRICT_SELF, rules, 0), "Landlock")
    os.close(rules)


def _seccomp(libc: ctypes.CDLL) -> None:
    """A filter of the kernel's little machine: allowed calls pass, `openat` unless it writes, others get EPERM."""
    architecture, openat, others = CALLS[platform.machine()]
    allow, deny, kill = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
    load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, architecture),
        (give, 0, 0, kill),
        (load, 0, 0, 0),
        *(step for number in map(int, others.split()) for step in ((equal, 0, 1, number), (give, 0, 0, allow))),
        (equal, 0, 3, openat),
        (load, 0, 0, 32),  # its flags
        (any_bit, 1, 0, WRITING),
        (give, 0, 0, allow),
        (give, 0, 0, deny),
    ]
    steps = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    described = struct.pack("@HP", len(program), ctypes.addressof(steps))
    _must(libc.prctl(SET_SECCOMP, FILTER, described, 0, 0), "seccomp")


def _must(returned: int, what: str) -> int:
    if returned < 0:
        raise Refused(f"its kernel refuses {what}: {os.strerror(ctypes.get_errno())}")
    return returned


FORBIDDEN = (  # beginnings of Python's audit events
    *("socket.", "subprocess.", "ctypes.", "shutil.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn"),
    *("os.kill", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown"),
    *("os.truncate", "os.utime", "os.putenv", "signal.pthread_kill", "_thread.start"),
)


def watch() -> None:
    """Have Python itself refuse what is plainly forbidden: enough for a mistake, not for somebody who means it."""
    readable = tuple(os.path.realpath(folder) + os.sep for folder in (os.path.dirname(os.__file__), *LIBRARIES))

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN):
            raise PermissionError(errno.EPERM, f"not allowed here: {event}")
        if event == "open":
            path, mode, flags = arguments
            reads = isinstance(flags, int) and not flags & WRITING and not set(mode or "r") & set("wax+")
            if not reads or not os.path.realpath(os.fsdecode(path)).startswith(readable):
                raise PermissionError(errno.EPERM, "not allowed here: files")

    sys.addaudithook(refuse)


def call_all(code: str, function: str, arguments: list[list[Any]], say: Any) -> None:  # noqa: ANN401 - a stream's write
    """Define the function, then make every call."""
    names: dict[str, Any] = {"__name__": "answer"}
    random.seed(0)
    try:
        exec(compile(code, "answer", "exec"), names)  # noqa: S102 - what all this is for
        called = names[function]
    except BaseException as error:  # noqa: BLE001 - whatever the code does is told
        say(
            [
                "error",
                f"it defines no {function}" if isinstance(error, KeyError) and function not in names else told(error),
            ]
        )
        return
    for given in arguments:
        try:
            line = ["value", called(*given)]
            json.dumps(line)
        except BaseException as error:  # noqa: BLE001 - as above
            line = ["error", told(error)]
        say(line)


def told(error: BaseException) -> str:
    """What went wrong, in a line."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:MAX_TEXT]


def main() -> None:
    """Lock this process in, then run the code."""
    job = json.loads(sys.stdin.buffer.read())
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)

    def say(line: list[Any]) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    why = ""
    set_limits(job["seconds"])
    try:
        confine()
    except Refused as refused:
        why = str(refused)
        if not job["unconfined"]:
            say(["refused", why])
            return
        watch()
    say(["ready", why])
    call_all(job["code"], job["function"], job["arguments"], say)


if __name__ == "__main__":
    main()
