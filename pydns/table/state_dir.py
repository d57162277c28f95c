"""Manages the state directory: its owner, its files, and the disk space for the table.

Rules:

1. The directory must belong to the user of the process or to root. Its mode must not let other users write to it. So
   other users can't put files or links into the directory.
2. Links in the directory aren't followed. If anything but a plain file is at the path of a file, it is removed.
3. A table that can't be read is discarded. A child process tries to read the table first, because a signal may end a
   process that reads a damaged map.
4. Two files are mapped into memory: the table, and the file of its readers. All their disk blocks are allocated before
   use. If a process wrote to a page without a disk block on a full disk, SIGBUS would kill the process.
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
_REASON = 300  # maximum octets of the reason that the child process reports
WHOLE_CHECK_S = 60.0  # time limit for reading a whole table
_READERS = MAX_READERS * 64 + 4096  # octets of LMDB's file of readers, which has 64 octets for each reader
_CHUNK = 10_000  # how many entries are read with one call of LMDB
_TRIAL = bytes(64 << 10)  # a value so large that storing it takes several pages from the list of free pages


class DirectoryError(Exception):
    """The state directory can't be used. The message is the reason."""


def prepare(state_dir: Path) -> int:
    """Create the directory if it doesn't exist. Check the directory (rule 1), and lock it for this process.

    Returns the file descriptor that holds the lock. When the process ends for any reason, the kernel releases the lock.
    Raises `DirectoryError` or `OSError`.
    """
    state_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    status = state_dir.stat()
    own = os.geteuid()
    if status.st_uid not in (own, 0):
        raise DirectoryError(f"belongs to user {status.st_uid}; wanted user {own} or root")
    if status.st_mode & stat.S_IWOTH:
        raise DirectoryError("other users can write to it; wanted a folder for pydns alone, such as a new one in it")
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
    """Remove a table that was written before the last boot.

    Store the id of this boot. By this id, a later start of pydns recognises a table of this boot.
    """
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
    """Remove a table and its file of readers."""
    for path in (table, _readers(table)):
        remove_unless_plain(path)
        path.unlink(missing_ok=True)


def remove_unless_plain(path: Path) -> bool:
    """Remove whatever is at a path, unless it is a plain file (rule 2). Return whether something was removed."""
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
    """Return the reason why a table can't be read or written. The result is empty if the table is usable.

    No process may write to the table during the check. The check stops after `check_s` seconds, even if it hasn't
    reached all entries.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _report_damage(table, write_end, check_s)
    os.close(write_end)
    why = os.read(read_end, _REASON).decode(errors="replace")  # empty if the child exits without writing
    os.close(read_end)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:
        return f"reading the file ends with {signal.Signals(-status).name}"
    return why


def _report_damage(table: Path, write_end: int, check_s: float) -> None:
    """Write a description of the damage to a pipe, and exit. Runs in a child process."""
    try:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # hide the message that LMDB prints when an assertion fails
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
        return "the file is cut off"
    transaction = environment.begin(write=True)
    with suppress(lmdb.MapFullError):
        transaction.put(b"\0trial", _TRIAL)
    transaction.abort()
    with environment.begin() as transaction:
        names = list(transaction.cursor().iternext(values=False))
    for name in sorted(names, key=FACTS.__ne__):  # the facts come first, because pydns needs them to start
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
    """Allocate disk space for the first `octets` of a file (rule 4).

    If the disk has no space, the file keeps its size and `OSError` is raised.
    """
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
    """Allocate disk space for a table's file of readers, because each reader writes to this file."""
    allocate(_readers(table), _READERS)


def _readers(table: Path) -> Path:
    return table.with_name(table.name + "-lock")


def is_full(error: OSError) -> bool:
    """Return whether an operation failed because the disk or a quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
