"""Python objects through a socket between two processes of ours, open files among them: the other side gets the same file.

An object is pickled, so the other side is trusted: it is this program. A message is its length, beside that the files themselves
(SCM_RIGHTS), and the pickle.
"""

from __future__ import annotations

import io
import os
import pickle
import socket
import struct
from collections.abc import Sequence
from typing import Any

_LENGTH = struct.Struct(">Q")
FILES_MAX = 4


class _Pickler(pickle.Pickler):
    def __init__(self, into: io.BytesIO) -> None:
        super().__init__(into, pickle.HIGHEST_PROTOCOL)
        self.files: list[io.IOBase] = []

    def persistent_id(self, obj: object) -> int | None:
        if not isinstance(obj, io.IOBase):
            return None
        obj.flush()
        if obj not in self.files:
            self.files.append(obj)
        return self.files.index(obj)


class _Unpickler(pickle.Unpickler):
    def __init__(self, source: io.BytesIO, descriptors: Sequence[int]) -> None:
        super().__init__(source)
        self._files = [os.fdopen(descriptor, "r+b") for descriptor in descriptors]

    def persistent_load(self, number: int) -> io.IOBase:
        return self._files[number]


def send(channel: socket.socket, value: object) -> None:
    """Raises OSError where nobody is there to take it, and whatever pickle raises."""
    pickled = io.BytesIO()
    pickler = _Pickler(pickled)
    pickler.dump(value)
    socket.send_fds(channel, [_LENGTH.pack(pickled.tell())], [one.fileno() for one in pickler.files])
    channel.sendall(pickled.getbuffer())


def receive(channel: socket.socket) -> Any:
    """The next object. Raises EOFError when the other side has ended."""
    head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, FILES_MAX)
    if len(head) < _LENGTH.size:
        raise EOFError
    pickled = bytearray(_LENGTH.unpack(head)[0])
    rest = memoryview(pickled)
    while rest:
        taken = channel.recv_into(rest)
        if not taken:
            raise EOFError
        rest = rest[taken:]
    return _Unpickler(io.BytesIO(pickled), descriptors).load()
