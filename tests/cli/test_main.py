"""The command line as a whole: the table of verbs, exit statuses, and what is imported before `serve` forks."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from pydns.cli import main as command
from pydns.cli.main import VERBS, main


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_a_module_that_runs_it(verb: command.Verb) -> None:
    assert callable(import_module(f"pydns.cli.{verb.name}").run)


@pytest.mark.parametrize(
    ("arguments", "status", "printed"),
    [
        ([], 2, "pydns: the following arguments are required: VERB\n"),
        (["serve", "--bogus"], 2, "pydns: unrecognized arguments: --bogus\n"),
        (["explain"], 2, "pydns explain: the following arguments are required: NAME\n"),
        (["--version"], 0, ""),
    ],
)
def test_an_invalid_command_line_ends_with_2_and_one_line(
    arguments: list[str], status: int, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    assert capsys.readouterr().err == printed


@pytest.mark.parametrize("verb", ["dump", "status", "explain"])
def test_a_missing_table_ends_with_1_and_one_line(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ["web."] if verb == "explain" else []
    assert main([verb, *name, "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"pydns {verb}: {tmp_path}/table.mdb: no such file")


def test_a_reader_that_closes_the_pipe_early_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "hosts: {" + "".join(f"h{i}: {{addresses: [1.2.3.4]}}, " for i in range(9999)) + "}"
    )
    check = [sys.executable, "-m", "pydns", "check", "--config", str(tmp_path / "config.yaml")]
    process = subprocess.Popen(check, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    with process.stdout, process.stderr:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.wait() == 0


# Every module here costs each process memory and start-up time; the supervisor needs none of them.
HEAVY = {"msgspec", "yaml", "lmdb", "kubernetes", "urllib3", "dnslib", "dns", "cachetools", "uvloop", "asyncio", "ssl"}


def test_the_supervisor_imports_nothing_heavy() -> None:
    code = "import sys, pydns.cli.main, pydns.cli.serve, pydns.process.supervisor; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pydns.process.supervisor" in loaded
    assert HEAVY & set(loaded) == set()
    assert {
        each for each in loaded if each.startswith(("pydns.control", "pydns.serve", "pydns.table", "pydns.kube"))
    } == set()
