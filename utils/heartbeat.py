"""The ranks of a run hear from each other: one that is killed, stopped or cut off ends the others in bounded time.

Paddle's launcher ends the processes of its own machine when one of them dies; those of other machines would wait in a
message for half an hour. Rank 0 therefore holds a TCP connection to every other rank. Both ends send a byte every
BEAT_SECONDS, and a farewell with its exit status when the process ends in order. A connection that closes without one,
or on which nothing comes for SILENCE_SECONDS, is a lost rank. When rank 0 ends for that, so do the others.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import selectors
import signal
import socket
import threading
import time
from typing import Any

from utils.errors import RunError
from utils.i18n import tr

BEAT_SECONDS = 5.0
SILENCE_SECONDS = 300.0  # a stopped or overloaded process; one that died or a machine that is off is noticed earlier
KEEPALIVE_SECONDS = 60  # a machine that is off or cut off: asked by the kernel
JOIN_SECONDS = 300  # from the first process that is ready to the last
GRACE_SECONDS = 30.0  # from a lost rank to the end of this process, wherever it stands: as long as the launcher waits
ADDRESS_KEY = "nonlocal/heartbeat"
TOKEN_BYTES = 16
BEAT = 255  # other bytes are farewells: the exit status


class Heartbeat:
    """The connections of this process, watched by a thread.

    connections: by the other end's rank; rank 0 has world_size - 1 of them, each other rank one. places: "host:port"
    of all ranks, for messages. The thread ends the process GRACE_SECONDS after a rank is lost, because it may hang in
    a message that cannot be broken off.
    """

    def __init__(self, connections: dict[int, socket.socket], places: list[str]):
        self.connections, self.places = connections, places
        self.loss: RunError | None = None  # why the run cannot go on
        self.departure: RunError | None = None  # a rank has ended with status 0, which is wrong if it is waited for
        self.closing = threading.Lock()
        threading.Thread(target=self._watch, daemon=True, name="heartbeat").start()

    def loss_soon(self) -> RunError | None:
        """The loss, which may be noticed a moment after a message has broken off."""
        deadline = time.monotonic() + 1.0
        while not self.loss and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.loss

    def farewell(self, status: int) -> None:
        """Tell the others that this process ends in order, with an exit status."""
        with self.closing:
            for connection in self.connections.values():
                with contextlib.suppress(OSError):
                    connection.sendall(bytes([min(status, BEAT - 1)]))
                    connection.shutdown(socket.SHUT_WR)

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # they are the main thread's
        selector = selectors.DefaultSelector()
        for rank, connection in self.connections.items():
            selector.register(connection, selectors.EVENT_READ, rank)
        last_turn = next_beat = time.monotonic()
        heard = dict.fromkeys(self.connections, last_turn)
        while selector.get_map() and not self.loss:
            now = time.monotonic()
            if now - last_turn > 2 * BEAT_SECONDS:  # this process was stopped: what the others sent is still to be read
                heard = dict.fromkeys(heard, now)
            last_turn = now
            if now >= next_beat:
                self._beat()
                next_beat = now + BEAT_SECONDS
            for key, _ in selector.select(max(0.0, next_beat - time.monotonic())):
                heard[key.data] = time.monotonic()
                if self._read(key.fileobj, key.data):
                    selector.unregister(key.fileobj)
            for key in selector.get_map().values():
                if last_turn - heard[rank := key.data] > SILENCE_SECONDS and not self.loss:
                    self.loss = RunError(
                        f"process {rank} of this run ({self.places[rank]}) has not answered for "
                        f"{SILENCE_SECONDS:.0f} s: it is stopped, or its machine is overloaded"
                    )
        if self.loss:
            time.sleep(GRACE_SECONDS)
            os.write(2, f"{tr('error: ')}{tr(str(self.loss))}\n".encode())
            os._exit(self.loss.status)

    def _beat(self) -> None:
        with self.closing:
            for connection in self.connections.values():
                with contextlib.suppress(OSError):  # reading tells what is wrong with it
                    connection.send(bytes([BEAT]), socket.MSG_DONTWAIT)

    def _read(self, connection: socket.socket, rank: int) -> bool:
        """Take what a rank has sent; whether nothing more will come."""
        try:
            received = connection.recv(4096)
        except OSError:
            received = b""
        statuses = [byte for byte in received if byte != BEAT]
        if received and not statuses:
            return False
        if not received:
            self.loss = RunError(
                f"process {rank} of this run ({self.places[rank]}) was killed, or its machine is out of reach"
            )
        elif statuses[0]:
            self.loss = RunError(
                f"process {rank} of this run ({self.places[rank]}) has ended with exit status {statuses[0]}; its "
                "message says why"
            )
            self.loss.status = statuses[0]
        else:
            self.departure = RunError(f"process {rank} of this run ({self.places[rank]}) has ended before this one")
        return True


def join_heartbeat(store: Any, rank: int, places: list[str], master: str) -> Heartbeat:
    """Connect the ranks of a run, which all call this.

    store: Paddle's, in which rank 0 leaves its port and a token that only the run's processes can read. places:
    "host:port" of all ranks. master: the host of rank 0, where the store is. Raises RunError when one does not come.
    """
    try:
        if rank:
            port, token = store.get(ADDRESS_KEY).decode().split()
            connection = socket.create_connection((master, int(port)), timeout=JOIN_SECONDS)
            connection.sendall(bytes.fromhex(token) + rank.to_bytes(4, "big"))
            return Heartbeat({0: _kept_alive(connection)}, places)
        secret = secrets.token_bytes(TOKEN_BYTES)
        with socket.create_server(("", 0), backlog=len(places)) as listener:
            listener.settimeout(JOIN_SECONDS)
            store.set(ADDRESS_KEY, f"{listener.getsockname()[1]} {secret.hex()}")
            connections: dict[int, socket.socket] = {}
            while len(connections) < len(places) - 1:
                connection, _ = listener.accept()
                if (number := _introduced(connection, secret)) is None:
                    connection.close()
                else:
                    connections[number] = _kept_alive(connection)
        return Heartbeat(connections, places)
    except (OSError, RuntimeError) as error:
        raise RunError(f"the processes of this run do not find each other through {master}: {error}") from error


def _introduced(connection: socket.socket, secret: bytes) -> int | None:
    """The rank of a process that knows the token."""
    connection.settimeout(10)
    received = b""
    with contextlib.suppress(OSError):
        while len(received) < TOKEN_BYTES + 4 and (part := connection.recv(TOKEN_BYTES + 4 - len(received))):
            received += part
    is_own = len(received) == TOKEN_BYTES + 4 and hmac.compare_digest(received[:TOKEN_BYTES], secret)
    return int.from_bytes(received[TOKEN_BYTES:], "big") if is_own else None


def _kept_alive(connection: socket.socket) -> socket.socket:
    """The connection; the kernel asks whether the other machine is there, and breaks it when it is not."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_SECONDS // 4),
        ("TCP_KEEPINTVL", KEEPALIVE_SECONDS // 4),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 1000 * KEEPALIVE_SECONDS),
    ):
        if hasattr(socket, name):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection
