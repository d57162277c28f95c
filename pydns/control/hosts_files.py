"""Reads the hosts files that the configuration names by an absolute path. The controller polls the files."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from pydns.config import hosts_file
from pydns.config.model import Host, HostsFile
from pydns.control.text_file import TextFile
from pydns.log import Level, Log


class HostsFiles:
    """The current hosts of all files. While a file can't be read, the hosts that were read last are used."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._files: dict[HostsFile, _File] = {}
        self._hosts: tuple[Host, ...] = ()

    def set_files(self, files: Sequence[HostsFile]) -> None:
        """Read these files from now on, and no other files. A file that was followed before keeps its hosts."""
        self._files = {each: self._files.get(each) or _File(each, self._log) for each in files}

    def hosts(self) -> tuple[Host, ...]:
        """Look at the files and return their hosts. Return the same tuple as before if nothing changed."""
        hosts = tuple(chain.from_iterable([file.hosts() for file in self._files.values()]))
        if hosts != self._hosts:
            self._hosts = hosts
        return self._hosts


class _File:
    def __init__(self, options: HostsFile, log: Log) -> None:
        self._options = options
        self._log = log
        self._file = TextFile(Path(options.file), hosts_file.MAX_OCTETS)
        self._text: str | None = None  # the text from which `_hosts` was read
        self._hosts: tuple[Host, ...] = ()
        self._problem = ""

    def hosts(self) -> tuple[Host, ...]:
        self._file.poll()
        text = self._file.text
        if text is None:
            if self._file.problem != self._problem:
                action = f"keeping {len(self._hosts)} hosts"
                self._log("hosts file can't be read", level=Level.WARNING, problem=self._file.problem, action=action)
        elif text is not self._text:
            found = hosts_file.read(self._options.file, text, self._options)
            for notice in found.notices:
                self._log("hosts file has a mistake", level=Level.WARNING, problem=notice)
            self._log("hosts file read", file=self._options.file, hosts=len(found.hosts))
            self._text, self._hosts = text, found.hosts
        self._problem = self._file.problem
        return self._hosts
