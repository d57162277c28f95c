"""`pydns completion` prints a script that lets a shell complete verbs and flags."""

import subprocess
import sys
from pathlib import Path

import pytest

from pydns.cli.main import main


def completions(script: str, folder: Path, *words: str) -> list[str]:
    """Return the completions that bash offers for the last word."""
    array = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _shtab_pydns; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    command = ["bash", "--norc", "-c", f"{script}\n{ask}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout.split()


def test_bash_completes_verbs_flags_and_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    (tmp_path / "Corefile").touch()
    assert completions(script, tmp_path, "pydns", "st") == ["status"]
    assert completions(script, tmp_path, "pydns", "serve", "--zo") == ["--zones"]
    assert completions(script, tmp_path, "pydns", "check", "Core") == ["Corefile"]


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_have_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "explain" in capsys.readouterr().out


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "dash"]) == 2
    assert capsys.readouterr().err.startswith("pydns completion: SHELL: dash is not one of bash, ")


def test_without_shtab_the_message_names_the_package_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    assert capsys.readouterr().err == "pydns completion: needs shtab: pip install 'pydns-kubernetes[completion]'\n"
