"""The whole command line: the table of verbs, exit statuses, and the modules that are imported before `serve` forks."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import lmdb
import pytest

from pydns import __version__
from pydns.cli import main as command
from pydns.cli.main import VERBS, main
from pydns.process.build import BUILD
from pydns.table.layout import ANSWERS, FACTS, NAMES


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_a_module_that_runs_it(verb: command.Verb) -> None:
    assert callable(import_module(f"pydns.cli.{verb.name}").run)


@pytest.mark.parametrize(
    ("arguments", "status", "printed"),
    [
        (["serve", "--xyz"], 2, "pydns serve: --xyz is not a flag\n"),
        (["serve", "--listne", "x"], 2, 'pydns serve: --listne is not a flag; did you mean "--listen"?\n'),
        (
            ["explain", "web", "--namspace=x"],
            2,
            'pydns explain: --namspace is not a flag; did you mean "--namespace"?\n',
        ),
        (["explain", "web", "A", "shop"], 2, "pydns explain: unexpected shop\n"),
        (["explain"], 2, "pydns explain: the following arguments are required: NAME\n"),
        (["serv"], 2, 'pydns: serv is not a verb; did you mean "serve"?\n'),
        (["help", "staus"], 2, 'pydns: staus is not a verb; did you mean "status"?\n'),
        (["--bogus"], 2, "pydns: --bogus is not a flag\n"),
        (["--version"], 0, ""),
    ],
)
def test_an_invalid_command_line_ends_with_2_and_one_line(
    arguments: list[str], status: int, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == status
    assert capsys.readouterr().err == printed


def run(arguments: list[str]) -> int:
    """Run the command line, and return the exit status."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


def test_without_a_verb_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("usage: pydns ")
    assert all(f"    {verb.name} " in printed for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_help_of_a_verb_has_a_sentence_an_example_and_exit_statuses(
    verb: command.Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([verb.name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert run(["help", verb.name]) == 0
    assert capsys.readouterr().out == printed
    assert " ".join(verb.description.split()) in " ".join(printed.split())
    assert "\nexit status:\n  0  " in printed
    assert "  2  the command line is invalid" in printed
    for example in verb.examples:
        assert f"\n  {example}\n" in printed
        words = example.partition(" > ")[0].split()
        assert command.parser({}).parse_args(words[1:]).verb == verb.name


def test_the_flags_of_serve_are_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--help"]) == 0
    printed = capsys.readouterr().out
    queries, cluster = printed.index("\nqueries:\n"), printed.index("\nwhere the cluster is:\n")
    assert queries < printed.index("\n  --listen ") < cluster < printed.index("\n  --kubeconfig ")


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_is_printed(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([flag]) == 0
    assert capsys.readouterr().out == f"pydns {__version__} ({BUILD})\n"


@pytest.mark.parametrize("verb", ["dump", "status", "explain"])
def test_a_missing_table_ends_with_1_and_one_line(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ["web."] if verb == "explain" else []
    assert main([verb, *name, "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"pydns {verb}: {tmp_path}/table.mdb: no such file")


@pytest.mark.parametrize("verb", ["dump", "status", "explain"])
def test_a_table_that_can_not_be_read_ends_with_1_and_one_line(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ["web."] if verb == "explain" else []
    (tmp_path / "table.mdb").symlink_to("table.mdb")
    assert main([verb, *name, "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"pydns {verb}: {tmp_path}/table.mdb: Too many levels of symbolic links\n"

    (tmp_path / "table.mdb").unlink()
    with lmdb.open(str(tmp_path / "table.mdb"), subdir=False, max_dbs=3) as environment:
        for database in (ANSWERS, NAMES, FACTS):
            environment.open_db(database)
    assert main([verb, *name, "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("another version of pydns wrote the file\n")


def test_the_exit_status_is_0_if_the_reader_closes_the_pipe_early(tmp_path: Path) -> None:
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


# Every module in this set costs each process memory and start-up time. The supervisor needs none of them.
HEAVY = {
    "msgspec",
    "yaml",
    "lmdb",
    "kubernetes",
    "urllib3",
    "h2",
    "dnslib",
    "dns",
    "cachetools",
    "uvloop",
    "asyncio",
    "ssl",
}


def test_the_supervisor_imports_nothing_heavy() -> None:
    code = "import sys, pydns.cli.main, pydns.cli.serve, pydns.process.supervisor; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pydns.process.supervisor" in loaded
    assert HEAVY & set(loaded) == set()
    assert {
        each for each in loaded if each.startswith(("pydns.control", "pydns.serve", "pydns.table", "pydns.kube"))
    } == set()
