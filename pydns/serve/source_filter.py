"""A classic BPF filter that makes the kernel drop most datagrams of some clients (packet(7), socket(7)).

The kernel runs the filter before a datagram enters the queue of the UDP socket. So a datagram that the filter drops
costs the worker nothing. The filter needs no privilege.
"""

import ctypes
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

MOST = 16  # maximum number of clients in a filter
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h
_STEP = struct.Struct("@HBBI")  # linux/filter.h: code, steps to skip if true and if false, operand
_PROGRAM = struct.Struct("@HP")
_LOAD, _IS_EQUAL, _IS_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # linux/bpf_common.h
_NETWORK_HEADER, _RANDOM = 0xFFF00000, 0xFFFFF000 + 56  # linux/filter.h: SKF_NET_OFF, SKF_AD_OFF + SKF_AD_RANDOM
_SOURCE_AT = {4: 12, 16: 8}  # octets of an address -> offset of the sender's address in the IP header
_DROP, _KEEP = (_RETURN, 0, 0, 0), (_RETURN, 0, 0, 0xFFFFFFFF)


def attach(sock: socket.socket, addresses: Iterable[bytes], share: float) -> None:
    """Let the kernel keep only a random share of the datagrams from some addresses.

    Do nothing if it rejects the filter.
    """
    steps = _program(list(addresses)[:MOST], share)
    buffer = ctypes.create_string_buffer(steps, len(steps))
    with suppress(OSError):
        program = _PROGRAM.pack(len(steps) // _STEP.size, ctypes.addressof(buffer))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def detach(sock: socket.socket) -> None:
    """Remove the filter, if there is one."""
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
