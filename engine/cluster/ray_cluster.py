"""Parts on the nodes of a Ray cluster.

Ray starts a task of a lost node again by itself; what the part had been answered by then is in the shared cache.
"""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from metaspo.engine.cluster import node
from metaspo.engine.cluster.node import MISTAKE, Outcome, Part, run_part
from metaspo.engine.cluster.parts import copy_project
from metaspo.engine.errors import ConfigError
from metaspo.scheduling import RunStopped

TRIES = 10  # nodes that may be lost under one part
CLIENT = "ray://"
ANSWERS = 10.0  # seconds that a head has for it; Ray itself would try for half a minute, or for two
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # of HTTP/2, which Ray speaks; and settings
KIND, SETTINGS = 3, 4  # where a frame says of which kind it is, and that of the first one which a server sends
TLS = ("1", "true")  # by which Ray is told to encrypt, and then says nothing to who does not
LOOK = 1.0  # seconds between two looks for Ctrl-C
QUIET = 15  # such looks without news after which it is told if no node is left
STOPPED = 3  # exit status of what may go on, as of the command line
Told = Callable[[Part, Outcome], None]


def run_on(
    address: str, parts: Sequence[Part], *, project: Path, parallel: int, told: Told, warn: Callable[[str], None]
) -> list[Outcome]:
    """Run parts on the nodes of a cluster, so many at a time; outcomes in the order of the parts.

    Args:
        address: as Ray writes it: "ray://HOST:10001", "HOST:6379", or "auto" on a node of the cluster.
        project: the folder that goes to the nodes.
        told: hears of each part that has ended, in the order in which they end.
        warn: is told once if the cluster has no core, and the parts wait for a node.

    Raises:
        ConfigError: where `address` is none, Ray is not installed, or the cluster cannot be reached.
        RunStopped: where the cluster is lost on the way.
        KeyboardInterrupt: after Ctrl-C, once the parts that were under way have stopped cleanly; `told` has heard.
    """
    check_reached(address)
    try:
        import ray
    except ModuleNotFoundError:
        raise ConfigError("--on needs 'ray': pip install 'metaspo[ray]'") from None
    with tempfile.TemporaryDirectory(prefix="metaspo-") as copy:
        copy_project(project, Path(copy))
        with _connected(ray, address, working_dir=copy):
            return _Tasks(ray, parts, told, warn).run(parallel)


def check_reached(address: str) -> None:
    """Raises `ConfigError` where an address is none of Ray's, nobody listens there, or another kind of server does."""
    place = address.removeprefix(CLIENT)
    host, _, port = place.rpartition(":")
    if address == "auto":
        return
    if not host or "/" in host or not (port.isdecimal() and port.isascii() and 0 < int(port) <= 65_535):
        raise ConfigError(f"--on {address!r}: a cluster is ray://HOST:10001, HOST:6379, or auto on one of its nodes")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS) as connection:
            first = b"" if os.environ.get("RAY_USE_TLS", "").lower() in TLS else _greeted(connection)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"--on {address}: the cluster cannot be reached: {why.lower()}: is it running?") from None
    if first and first[KIND] != SETTINGS:
        who = "a Redis server" if first.startswith(b"-") else "another program"
        raise ConfigError(f"--on {address}: {who} answers there, and no head of a Ray cluster: name that one's address")


def _greeted(connection: socket.socket) -> bytes:
    """The first bytes of what a server says to a client of Ray's kind; padded where it hangs up. Raises `OSError`."""
    connection.sendall(GREETING)
    said = b""
    while len(said) <= KIND and (more := connection.recv(64)):
        said += more
    return said.ljust(KIND + 1, b"\0")


@contextmanager
def _connected(ray: Any, address: str, *, working_dir: str) -> Iterator[None]:  # noqa: ANN401 - the module `ray`
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of what concerns no one here
    ends = signal.getsignal(signal.SIGTERM)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # Ray says there which nodes were lost
        try:
            ray.init(address, runtime_env={"working_dir": working_dir}, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
            first = str(error).strip().split("\n", 1)[0]
            raise ConfigError(f"--on {address}: the cluster cannot be reached: {first}") from None
        finally:
            if ends is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, ends)  # Ray's own prints where its C++ was, and ends the command there
        ray.cloudpickle.register_pickle_by_value(node)  # so that a node need not have this version to say so
        try:
            yield
        finally:
            ray.cloudpickle.unregister_pickle_by_value(node)
            ray.shutdown()  # what Ray has held back it says now


@contextmanager
def _may_be_lost() -> Iterator[None]:
    """Raises `RunStopped` where the cluster does not answer any more."""
    try:
        yield
    except (ConnectionError, RuntimeError) as error:
        raise RunStopped(f"the cluster is lost: {error}") from None


class _Tasks:
    """The tasks of some parts: those under way, and how the others ended."""

    def __init__(
        self,
        ray: Any,  # noqa: ANN401 - the module `ray`
        parts: Sequence[Part],
        told: Told,
        warn: Callable[[str], None],
    ) -> None:
        self._ray, self._parts, self._told, self._warn = ray, parts, told, warn
        self._task = ray.remote(num_cpus=1, max_retries=TRIES)(run_part)
        self._under_way: dict[Any, int] = {}
        self._ended: dict[int, Outcome] = {}

    def run(self, parallel: int) -> list[Outcome]:
        waiting = list(reversed(range(len(self._parts))))
        quiet = 0
        try:
            while waiting or self._under_way:
                while waiting and len(self._under_way) < parallel:
                    number = waiting.pop()
                    self._under_way[self._task.remote(self._parts[number])] = number
                quiet = 0 if self._take(timeout=LOOK) else quiet + 1
                if quiet == QUIET and not self._has_core():
                    self._warn("no node of the cluster has a core, and nothing begins before one comes")
        except KeyboardInterrupt:
            self._stop()
            raise
        return [self._ended[number] for number in range(len(self._parts))]

    def _take(self, *, timeout: float) -> bool:
        """Take what has ended; false if nothing has within so many seconds."""
        with _may_be_lost():
            done, _ = self._ray.wait(list(self._under_way), num_returns=1, timeout=timeout)
        for reference in done:
            number = self._under_way.pop(reference)
            self._ended[number] = self._outcome(reference)
            self._told(self._parts[number], self._ended[number])
        return bool(done)

    def _has_core(self) -> bool:
        with _may_be_lost():
            return bool(self._ray.cluster_resources().get("CPU"))

    def _outcome(self, reference: Any) -> Outcome:  # noqa: ANN401 - one of Ray's
        try:
            outcome: Outcome = self._ray.get(reference)
        except self._ray.exceptions.TaskCancelledError:
            return Outcome(node="", status=STOPPED, said="broken off before it began")
        except self._ray.exceptions.RayTaskError as fault:
            return Outcome(node="", status=MISTAKE, said=str(fault.cause if hasattr(fault, "cause") else fault))
        except self._ray.exceptions.RayError as fault:
            return Outcome(node="", status=STOPPED, said=f"lost {TRIES + 1} times: {str(fault).splitlines()[0]}")
        return outcome

    def _stop(self) -> None:
        """Break off what is under way, and wait until it has stopped."""
        for reference in self._under_way:
            self._ray.cancel(reference, force=False)
        while self._under_way and self._take(timeout=node.GRACE):
            pass
