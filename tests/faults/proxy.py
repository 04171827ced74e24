"""A TCP proxy before PostgreSQL that cuts connections around COMMIT, by a plan."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from threading import Lock, Thread
from types import TracebackType
from typing import BinaryIO, Self

HOST = "127.0.0.1"
ENCRYPTION_REQUESTS = frozenset({80877103, 80877104})
"""SSLRequest and GSSENCRequest: answered with a single byte, not with a message."""
QUERY, COMMAND_COMPLETE, READY = b"Q", b"C", b"Z"
JOIN_LIMIT_S = 10.0


class Cut(StrEnum):
    """What happens to one COMMIT."""

    NONE = "passes"
    BEFORE = "cut before the server sees COMMIT"
    AFTER = "cut when the server has committed, before the client hears of it"
    AFTER_AND_AWAY = "the same, and nobody gets through any more until `let_in`"


class CommitProxy:
    """Cuts as the plan says, one entry per COMMIT of a transaction that said `marked`.

    Transactions without the mark pass; so does everything when the plan has ended.
    """

    def __init__(self, server_port: int, *, marked: bytes, plan: Iterable[Cut]) -> None:
        self._server_port = server_port
        self.marked = marked
        self._plan = iter(plan)
        self._lock = Lock()
        self._away = False
        self.done: Counter[Cut] = Counter()
        """How often each thing has been done."""
        self._listener = socket.create_server((HOST, 0))
        self._sessions: list[_Session] = []
        self._accepting = Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self._listener.getsockname()[1])

    def let_in(self) -> None:
        """Accept connections again."""
        self._away = False

    def next_cut(self) -> Cut:
        """What the plan has for the COMMIT that is coming now."""
        with self._lock:
            return next(self._plan, Cut.NONE)

    def note(self, cut: Cut) -> None:
        """The cut is done; from here on the proxy may be away."""
        with self._lock:
            self.done[cut] += 1
            self._away = self._away or cut is Cut.AFTER_AND_AWAY

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(JOIN_LIMIT_S)
        self._listener.close()
        for session in self._sessions:
            session.end()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._away:
                client.close()
                continue
            self._sessions = [each for each in self._sessions if each.alive]
            server = socket.create_connection((HOST, self._server_port))
            self._sessions.append(_Session(self, client, server))


class _Session:
    """One connection: a thread for each direction; when either ends, both do."""

    def __init__(self, proxy: CommitProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._sockets = (client, server)
        for each in self._sockets:  # messages go out one by one and must not wait for each other
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client, self._server = client, server
        self._withheld: Cut | None = None
        """Set before COMMIT is forwarded, when its reply must not come through."""
        self._down = Thread(target=self._run, args=(self._server_to_client,), daemon=True)
        self._up = Thread(target=self._run, args=(self._client_to_server,), daemon=True)
        self._up.start()

    @property
    def alive(self) -> bool:
        return self._up.is_alive() or self._down.is_alive()

    def end(self) -> None:
        """Cut, and return when both threads are gone."""
        self._hang_up()
        self._up.join(JOIN_LIMIT_S)
        if self._down.ident is not None:
            self._down.join(JOIN_LIMIT_S)

    def _run(self, direction: object) -> None:
        with suppress(OSError, EOFError):
            direction()  # type: ignore[operator]
        self._hang_up()

    def _hang_up(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _client_to_server(self) -> None:
        with self._client.makefile("rb") as stream:
            self._greet(stream)
            self._down.start()
            marked = False
            while True:
                message = _message(stream)
                marked = marked or self._proxy.marked in message
                if marked and message.startswith(QUERY) and b"COMMIT" in message[5:]:
                    marked = False
                    if not self._commit(message):
                        return
                else:
                    self._server.sendall(message)

    def _commit(self, message: bytes) -> bool:
        """Forward a marked COMMIT, or not; False ends the connection at once."""
        cut = self._proxy.next_cut()
        if cut in {Cut.NONE, Cut.BEFORE}:
            self._proxy.note(cut)
        else:
            self._withheld = cut
        if cut is not Cut.BEFORE:
            self._server.sendall(message)
        return cut is not Cut.BEFORE

    def _server_to_client(self) -> None:
        committed = False
        with self._server.makefile("rb") as stream:
            while True:
                message = _message(stream)
                if self._withheld is None:
                    self._client.sendall(message)
                    continue
                committed |= message.startswith(COMMAND_COMPLETE) and b"COMMIT" in message[5:]
                if committed and message.startswith(READY):
                    self._proxy.note(self._withheld)
                    return

    def _greet(self, stream: BinaryIO) -> None:
        """Pass what has no type byte: requests for encryption, which are declined, and start-up."""
        while True:
            length = _exactly(stream, 4)
            packet = length + _exactly(stream, struct.unpack("!I", length)[0] - 4)
            self._server.sendall(packet)
            if struct.unpack("!I", packet[4:8])[0] not in ENCRYPTION_REQUESTS:
                return
            answer = self._server.recv(1)
            self._client.sendall(answer)
            if answer != b"N":
                raise OSError(f"the server wants to encrypt: {answer!r}")


def _message(stream: BinaryIO) -> bytes:
    """One whole message: type, length, body."""
    head = _exactly(stream, 5)
    return head + _exactly(stream, struct.unpack("!I", head[1:])[0] - 4)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    read = stream.read(size)
    if len(read) != size:
        raise EOFError("the other side has closed the connection")
    return read
