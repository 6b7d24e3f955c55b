"""Many datagrams in one system call: Linux's sendmmsg(2) and recvmmsg(2), which `socket` has not.

A system call a datagram is most of what a small datagram costs; and datagrams that leave one by one
wake the receiver for the first of them, which then finds one or two. Sent as one, they are found as
one. The headers that the kernel reads are laid out once; what differs from datagram to datagram is
written into them through memory views.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
import sys
import threading

# The layout of the headers below is that of 64-bit Linux.
AVAILABLE = sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8

SLOTS = 64
# struct sockaddr_in: family in the host's order, port and address in the network's.
NAME = struct.Struct("=H6s8x")
# The longest datagram's room, and off the powers of two, which would share a few cache lines.
_ROOM_BYTES = 65_536 + 320
_STARTS = range(0, SLOTS * _ROOM_BYTES, _ROOM_BYTES)
# Refused by the kernel, whatever the address.
_TOO_LONG = 65_536
_BODIES_BYTES = SLOTS * _TOO_LONG
_DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
_NOT_NOW = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)


class _IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MessageHeader(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vector", ctypes.c_void_p),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _MessageHeader), ("received", ctypes.c_uint32))


_MESSAGE_BYTES = ctypes.sizeof(_Message)
_WORD_BYTES, _HALF_WORD_BYTES = 8, 4


class _Headers:
    """The headers of `SLOTS` datagrams; each has an envelope: its name, then its ancillary data.

    Views of all slots in a row: `envelopes` as bytes, `bases` and `lengths` of the datagrams,
    `control_lengths`, and how much the kernel `received`.
    """

    def __init__(self, control_bytes: int) -> None:
        self.envelope_bytes = NAME.size + control_bytes
        self._messages = (_Message * SLOTS)()
        self._vectors = (_IoVector * SLOTS)()
        self._envelopes = (ctypes.c_char * (SLOTS * self.envelope_bytes))()
        self.address = ctypes.addressof(self._messages)
        for slot, message in enumerate(self._messages):
            header = message.header
            header.name = ctypes.addressof(self._envelopes) + slot * self.envelope_bytes
            header.name_length = NAME.size
            header.vector = ctypes.addressof(self._vectors) + slot * ctypes.sizeof(_IoVector)
            header.vector_length = 1
            if control_bytes:
                header.control = header.name + NAME.size
                header.control_length = control_bytes
        self.envelopes = memoryview(self._envelopes).cast("B")
        vectors = memoryview(self._vectors).cast("B").cast("Q")
        self.bases, self.lengths = vectors[0::2], vectors[1::2]
        messages = memoryview(self._messages).cast("B")
        at = _Message.header.offset + _MessageHeader.control_length.offset
        self.control_lengths = messages.cast("Q")[
            at // _WORD_BYTES :: _MESSAGE_BYTES // _WORD_BYTES
        ]
        at = _Message.received.offset
        self.received = messages.cast("I")[
            at // _HALF_WORD_BYTES :: _MESSAGE_BYTES // _HALF_WORD_BYTES
        ]


def _make_room(size: int) -> tuple[mmap.mmap, int]:
    """Memory and where it is; pages that no datagram reached take none."""
    room = mmap.mmap(-1, size)
    return room, ctypes.addressof(ctypes.c_char.from_buffer(room))


class Outgoing:
    """Sends up to `SLOTS` datagrams at once, with `control_bytes` of ancillary data each."""

    def __init__(self, control_bytes: int = 0) -> None:
        self._headers = _Headers(control_bytes)
        self._room, self._address = _make_room(_BODIES_BYTES)
        # Of the datagrams that the first slots point at, one behind the other.
        self._lengths: list[int] = []

    def send(self, descriptor: int, bodies: list[bytes], envelopes: list[bytes]) -> tuple[int, int]:
        """Send datagrams in order: how many were dealt with, and how many of these did not leave.

        An envelope is a peer's name and ancillary data. Not all are dealt with when the kernel
        takes no more now.
        """
        failed = 0
        for begin in range(0, len(bodies), SLOTS):
            batch = bodies[begin : begin + SLOTS]
            self._lay_out(batch, envelopes[begin : begin + SLOTS])
            done, in_vain = self._hand_over(descriptor, len(batch))
            failed += in_vain
            if done < len(batch):
                return begin + done, failed
        return len(bodies), failed

    def _lay_out(self, bodies: list[bytes], envelopes: list[bytes]) -> None:
        headers = self._headers
        joined = b"".join(bodies)
        if len(joined) > _BODIES_BYTES:
            # One is longer than any datagram: cut, it is still refused, and by itself.
            bodies = [body[:_TOO_LONG] for body in bodies]
            joined = b"".join(bodies)
        self._room[: len(joined)] = joined
        headers.envelopes[: len(envelopes) * headers.envelope_bytes] = b"".join(envelopes)
        lengths = list(map(len, bodies))
        # What is sent by the thousand is of one length: each slot has it already.
        if lengths != self._lengths[: len(lengths)]:
            self._set_vectors(lengths)

    def _set_vectors(self, lengths: list[int]) -> None:
        at = self._address
        bases, sizes = self._headers.bases, self._headers.lengths
        for slot, length in enumerate(lengths):
            bases[slot] = at
            sizes[slot] = length
            at += length
        self._lengths = lengths

    def _hand_over(self, descriptor: int, count: int) -> tuple[int, int]:
        done = failed = 0
        address = self._headers.address
        while done < count:
            sent = _sendmmsg(descriptor, address + done * _MESSAGE_BYTES, count - done, _DONT_WAIT)
            if sent >= 0:
                done += sent
            elif ctypes.get_errno() in _NOT_NOW:
                break
            else:
                # The first of those left: unreachable, too long. As good as lost on the way.
                done += 1
                failed += 1
        return done, failed


class Incoming:
    """Takes up to `SLOTS` datagrams at once, with `control_bytes` of ancillary data each."""

    def __init__(self, control_bytes: int = 0) -> None:
        self._control_bytes = control_bytes
        self._headers = _Headers(control_bytes)
        self._room, address = _make_room(SLOTS * _ROOM_BYTES)
        for slot, start in enumerate(_STARTS):
            self._headers.bases[slot] = address + start
            self._headers.lengths[slot] = _ROOM_BYTES
        self._split_envelopes = struct.Struct(f"{self._headers.envelope_bytes}s").iter_unpack

    def receive(self, descriptor: int) -> tuple[list[bytes], list[bytes]]:
        """What is there: datagrams, and the envelope of each, of zeros where that says nothing.

        Raises `OSError` of an earlier datagram's fate; no datagram is lost by that.
        """
        headers = self._headers
        count = _recvmmsg(descriptor, headers.address, SLOTS, _DONT_WAIT, None)
        if count <= 0:
            code = ctypes.get_errno()
            if count < 0 and code not in _NOT_NOW:
                raise OSError(code, os.strerror(code))
            return [], []
        room = self._room
        if self._control_bytes:
            self._clear_what_was_not_written(count)
        written = headers.envelopes[: count * headers.envelope_bytes]
        envelopes = [envelope for (envelope,) in self._split_envelopes(written)]
        sizes = headers.received[:count].tolist()
        found = [room[at : at + size] for at, size in zip(_STARTS, sizes, strict=False)]
        return found, envelopes

    def _clear_what_was_not_written(self, count: int) -> None:
        """Of ancillary data; and let the kernel write all of it the next time."""
        headers = self._headers
        lengths = headers.control_lengths[:count].tolist()
        if lengths.count(self._control_bytes) == count:
            return
        for slot, length in enumerate(lengths):
            end = (slot + 1) * headers.envelope_bytes
            missing = self._control_bytes - length
            headers.envelopes[end - missing : end] = bytes(missing)
            headers.control_lengths[slot] = self._control_bytes


class _OfThread(threading.local):
    """Links of one thread take turns: what one lays out has left before another's turn."""

    def __init__(self) -> None:
        self.batches: dict[int, tuple[Outgoing, Incoming]] = {}


_of_thread = _OfThread()


def open_batches(control_bytes: int) -> tuple[Outgoing, Incoming]:
    """Those of this thread for datagrams with so much ancillary data."""
    batches = _of_thread.batches
    if control_bytes not in batches:
        batches[control_bytes] = Outgoing(control_bytes), Incoming(control_bytes)
    return batches[control_bytes]


if AVAILABLE:
    _library = ctypes.CDLL(None, use_errno=True)
    _sendmmsg = _library.sendmmsg
    _sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
    _recvmmsg = _library.recvmmsg
    _recvmmsg.argtypes = (*_sendmmsg.argtypes, ctypes.c_void_p)
