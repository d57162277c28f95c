"""A network namespace that looks like a pod's: it has the pod's resolv.conf and addresses, but no route to the outside.

All addresses are local to the namespace. So any connection of a client is refused at once, and no packet leaves. The
namespace exists only while its holder process runs. Nothing remains after the tests, even if the tests crash.
"""

import ctypes
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_ETC = Path(__file__).parent / "etc"
_SETUP = f"""set -e
ip link set lo up
ip address add {{address}}/32 dev lo
ip -6 address add fd00:10:244::5/128 dev lo nodad
ip route add local 0.0.0.0/0 dev lo
ip -6 route add local ::/0 dev lo
for each in resolv.conf hosts nsswitch.conf; do
  mount --bind {shlex.quote(str(_ETC))}/$each /etc/$each
done
hostname client
echo ready
exec cat
"""


class Unavailable(Exception):
    """The namespace can't be created here. The text is the reason."""


class Namespace:
    """A namespace with a server's address, which is the nameserver in its resolv.conf."""

    def __init__(self, address: str) -> None:
        """Create the namespace. Raises Unavailable if the rights or the programs are missing."""
        for program in ("unshare", "nsenter", "ip", "mount"):
            if shutil.which(program) is None:
                raise Unavailable(f"{program} is not installed")
        command = [
            "unshare",
            "--net",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            _SETUP.format(address=address),
        ]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            _, reason = self._holder.communicate()
            raise Unavailable(reason.decode().strip())
        self._of = f"/proc/{self._holder.pid}/ns"

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs `command` in the namespace, with the same process id."""
        enter = [f"--{kind}={self._of}/{name}" for kind, name in (("net", "net"), ("mount", "mnt"), ("uts", "uts"))]
        return ["nsenter", *enter, f"--wdns={Path.cwd()}", *command]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Create this thread's sockets in the namespace until the end of the block. The sockets stay there."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        inside = os.open(f"{self._of}/net", os.O_RDONLY)
        try:
            _set_namespace(inside)
            yield
        finally:
            _set_namespace(outside)
            os.close(inside)
            os.close(outside)

    def close(self) -> None:
        """End the holder process. Processes that still run in the namespace keep it alive."""
        self._holder.communicate()


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")
