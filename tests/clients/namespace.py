"""A network namespace that looks like a pod's: its resolv.conf, its addresses, and no way out.

Every address is local to it, so a client that connects anywhere is refused at once, and no packet leaves.
It exists while its holder runs: nothing stays behind, whatever happens to the tests.
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
    """No namespace can be made here; the text is the reason."""


class Namespace:
    """A namespace with a server's address, which its resolv.conf names."""

    def __init__(self, address: str) -> None:
        """Make it. Raises Unavailable without the rights or the programs for it."""
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
        """Return the command that runs `command` in it, with the same process id."""
        enter = [f"--{kind}={self._of}/{name}" for kind, name in (("net", "net"), ("mount", "mnt"), ("uts", "uts"))]
        return ["nsenter", *enter, f"--wdns={Path.cwd()}", *command]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread's sockets are made in it, until the end of the block; they stay there."""
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
        """End its holder. Processes that still run in it keep it."""
        self._holder.communicate()


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")
