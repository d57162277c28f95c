"""A classic BPF filter that makes the kernel drop most datagrams of some clients (packet(7), socket(7)).

The kernel runs the filter before a datagram enters the queue of the UDP socket. So a datagram that the filter drops
costs the worker no time. Attaching a filter needs no privilege.
"""

import ctypes
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

MOST = 16  # maximum number of clients in a filter
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # numbers of socket options, from asm-generic/socket.h
# A step of the filter (linux/filter.h): code, steps to skip if true, steps to skip if false, operand.
_STEP = struct.Struct("@HBBI")
_PROGRAM = struct.Struct("@HP")
_LOAD, _IS_EQUAL, _IS_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # codes of steps, from linux/bpf_common.h
# SKF_NET_OFF, and SKF_AD_OFF + SKF_AD_RANDOM, from linux/filter.h.
_NETWORK_HEADER, _RANDOM = 0xFFF00000, 0xFFFFF000 + 56
_SOURCE_AT = {4: 12, 16: 8}  # length of a sender's address -> offset of the address in the IP header
_DROP, _KEEP = (_RETURN, 0, 0, 0), (_RETURN, 0, 0, 0xFFFFFFFF)


def attach(sock: socket.socket, addresses: Iterable[bytes], share: float) -> None:
    """Make the kernel drop datagrams from some addresses at random, so that only a share of them is left.

    If the kernel rejects the filter, nothing changes.
    """
    steps = _program(list(addresses)[:MOST], share)
    buffer = ctypes.create_string_buffer(steps, len(steps))
    with suppress(OSError):
        program = _PROGRAM.pack(len(steps) // _STEP.size, ctypes.addressof(buffer))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def detach(sock: socket.socket) -> None:
    """Remove the filter, if the socket has one."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _program(addresses: list[bytes], share: float) -> bytes:
    steps = []
    for address in addresses:
        words = struct.unpack(f"!{len(address) // 4}I", address)
        for place, word in enumerate(words):
            to_next = 2 * (len(words) - place - 1) + 4
            steps.append((_LOAD, 0, 0, _NETWORK_HEADER + _SOURCE_AT[len(address)] + 4 * place))
            steps.append((_IS_EQUAL, 0, to_next, word))
        steps += [(_LOAD, 0, 0, _RANDOM), (_IS_AT_LEAST, 0, 1, int(share * 0xFFFFFFFF)), _DROP, _KEEP]
    return b"".join(_STEP.pack(*step) for step in [*steps, _KEEP])
