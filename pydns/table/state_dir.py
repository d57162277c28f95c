"""The state directory: whose it is, what lies in it, and room for the table on its disk.

Rules:

1. It belongs to this user or to root, and others can't write to it. So nobody else puts files or links there.
2. Links in it aren't followed. What isn't a plain file where one should be is removed.
3. A table that can't be read is thrown away. A copy of this process reads it first, since reading a damaged map may end
   a process by a signal.
4. Every block of a map is allocated before it is used, that of the table and that of its readers. A write to a block
   that the disk has no room for would end a process by SIGBUS.
"""

import errno
import faulthandler
import fcntl
import os
import resource
import shutil
import signal
import stat
import time
from contextlib import suppress
from itertools import islice
from operator import lt
from pathlib import Path

import lmdb

from pydns.table.layout import FACTS, MAX_READERS

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PLAIN = os.O_CLOEXEC | os.O_NOFOLLOW
_REASON = 300  # octets
WHOLE_CHECK_S = 60.0  # for the reading of a whole table
_READERS = MAX_READERS * 64 + 4096  # octets of the file of readers: a cache line for each
_CHUNK = 10_000  # entries checked at a time, by code that isn't Python
_TRIAL = bytes(64 << 10)  # takes several pages from the list of free ones


class DirectoryError(Exception):
    """The state directory can't be used, and why."""


def prepare(state_dir: Path) -> int:
    """Make the directory if there is none, check it (rule 1), and take it for this process.

    Returns the descriptor that holds the lock, which goes with the process, however that ends. Raises `DirectoryError`
    or `OSError`.
    """
    state_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    status = state_dir.stat()
    own = os.geteuid()
    if status.st_uid not in (own, 0):
        raise DirectoryError(f"belongs to user {status.st_uid}; wanted user {own} or root")
    if status.st_mode & stat.S_IWOTH:
        raise DirectoryError("others can write to it; wanted a folder of pydns alone, such as one that it makes in it")
    lock = state_dir / "lock"
    remove_unless_plain(lock)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | _PLAIN, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise DirectoryError("another pydns is using it") from None
    return descriptor


def discard_after_reboot(table: Path) -> None:
    """Remove a table that was written before the last start of the machine, and mark the next one with this start."""
    boot_id = _BOOT_ID.read_bytes().strip()
    mark = table.with_name("boot_id")
    remove_unless_plain(mark)
    if not mark.exists() or mark.read_bytes() != boot_id:
        discard(table)
        mark.unlink(missing_ok=True)
        descriptor = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o644)
        os.write(descriptor, boot_id)
        os.close(descriptor)


def discard(table: Path) -> None:
    """Remove a table and the file of its readers."""
    for path in (table, _readers(table)):
        remove_unless_plain(path)
        path.unlink(missing_ok=True)


def remove_unless_plain(path: Path) -> bool:
    """Remove what isn't a plain file (rule 2), and tell whether there was such a thing."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISREG(mode):
        return False
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)
    else:
        path.unlink()
    return True


def damage(table: Path, check_s: float = WHOLE_CHECK_S) -> str:
    """Return why a table can't be read, or written on; nothing if it can. Nobody may write to it meanwhile.

    After `check_s` what is left of the answers and names isn't read.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _report_damage(table, write_end, check_s)
    os.close(write_end)
    why = os.read(read_end, _REASON).decode(errors="replace")  # nothing, if it ends without having written anything
    os.close(read_end)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:
        return f"reading it ends with {signal.Signals(-status).name}"
    return why


def _report_damage(table: Path, write_end: int, check_s: float) -> None:
    """In a forked child: write the damage to a pipe and exit."""
    try:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a failed assertion of the library
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(WHOLE_CHECK_S))
        os.write(write_end, _damage(table, time.monotonic() + check_s).encode())
    except BaseException as error:
        os.write(write_end, f"{type(error).__name__}: {error}".encode()[:_REASON])
    finally:
        os._exit(0)


def _damage(table: Path, deadline: float) -> str:
    octets = table.stat().st_size
    environment = lmdb.open(
        str(table), subdir=False, map_size=octets, max_dbs=8, lock=False, sync=False, writemap=True, create=False
    )
    if (environment.info()["last_pgno"] + 1) * environment.stat()["psize"] > octets:
        return "it is cut off"
    transaction = environment.begin(write=True)
    with suppress(lmdb.MapFullError):
        transaction.put(b"\0trial", _TRIAL)
    transaction.abort()
    with environment.begin() as transaction:
        names = list(transaction.cursor().iternext(values=False))
    for name in sorted(names, key=FACTS.__ne__):  # what the start itself reads comes first
        database = environment.open_db(name, create=False)
        with environment.begin(db=database) as transaction:
            entries, count, last = iter(transaction.cursor()), 0, b""
            while keys := [key for key, _ in islice(entries, _CHUNK)]:
                if not all(map(lt, [last, *keys], keys)):
                    return f"the keys of {name.decode()} are out of order"
                count, last = count + len(keys), keys[-1]
                if time.monotonic() > deadline:
                    return ""
            if count != transaction.stat(database)["entries"]:
                return f"{name.decode()} has {count} entries, not {transaction.stat(database)['entries']}"
    return ""


def allocate(file: Path, octets: int) -> None:
    """Have the disk keep room for so many octets of a file (rule 4). Raises `OSError`, and the file is as before."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | _PLAIN, 0o644)
    before = os.fstat(descriptor).st_size
    try:
        os.posix_fallocate(descriptor, 0, octets)
    except OSError:
        os.truncate(descriptor, before)  # a failed allocation may have enlarged the file
        raise
    finally:
        os.close(descriptor)


def allocate_readers(table: Path) -> None:
    """Have the disk keep room for the file of a table's readers: each of them writes to its map."""
    allocate(_readers(table), _READERS)


def _readers(table: Path) -> Path:
    return table.with_name(table.name + "-lock")


def is_full(error: OSError) -> bool:
    """Return whether an operation failed for want of room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
