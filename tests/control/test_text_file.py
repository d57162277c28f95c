"""A text file that the controller polls must not block the controller."""

import os
from pathlib import Path

from pydns.control.text_file import TextFile


def test_a_fifo_is_a_problem_and_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    os.mkfifo(path)
    file = TextFile(path, 1000)
    file.poll()
    assert (file.text, file.problem) == (None, f"{path}: can't be read: is not a file")
    path.unlink()
    path.write_text("10.0.0.1 a\n")
    for _ in range(2):
        file.poll()
    assert (file.text, file.problem) == ("10.0.0.1 a\n", "")
