"""`make demo` serves the demo cluster, and prints commands that work unchanged."""

import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.reversename
import pytest
import yaml

from tests.bench.servers import free_port
from tests.demo import CONFIG, LOOKS, MANIFESTS, QUESTIONS, QUESTIONS_FROM_OUTSIDE
from tests.subject import InProcess, load
from tests.waiting import until

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """The cluster of the demo, without a server process."""
    files = sorted(set(MANIFESTS.glob("*.yaml")) - {CONFIG})
    cluster = [each for path in files for each in yaml.safe_load_all(path.read_text())]
    config = yaml.safe_load(yaml.safe_load(CONFIG.read_text())["data"]["config.yaml"])
    subject = InProcess(tmp_path_factory.mktemp("state"), load(cluster, config=config))
    yield subject
    subject.close()


def answers(subject: InProcess, qname: str, qtype: str) -> set[str]:
    reply = subject.ask(dns.message.make_query(qname, qtype).to_wire(), tcp=False)
    assert reply is not None
    return {str(each) for rrset in dns.message.from_wire(reply).answer for each in rrset}


def test_each_name_in_the_readme_has_the_answers_shown_there(served: InProcess) -> None:
    """Check the first table of README.md: `NAME TYPE` → `answer`, `answer`."""
    text = (ROOT / "README.md").read_text()
    table = text[text.index("| way in |") :].partition("\n\n")[0]
    shown = re.findall(r"`(\S+) ([A-Z]+)` → ((?:`[^`]+`(?:, )?)+)", table)
    assert len(shown) >= 12
    for qname, qtype, expected in shown:
        assert answers(served, qname, qtype) == set(re.findall(r"`([^`]+)`", expected)), qname


@pytest.mark.parametrize("question", [*QUESTIONS, *QUESTIONS_FROM_OUTSIDE])
def test_each_printed_question_has_an_answer(question: str, served: InProcess) -> None:
    words = question.split()
    if words[0] == "-x":
        words = [str(dns.reversename.from_address(words[1])), "PTR"]
    assert answers(served, words[0], words[1] if len(words) > 1 else "A")


def test_the_addresses_in_the_comments_of_the_demo_are_answered(served: InProcess) -> None:
    """Check lines such as `#   dig @127.0.0.1 -p 1053 NAME [TYPE] +short   ADDRESS`."""
    text = "\n".join(path.read_text() for path in sorted(MANIFESTS.glob("*.yaml")))
    shown = re.findall(r"^#   dig @127\.0\.0\.1 -p 1053 ([\w.-]+) (?:(\w+) )?\+short +([\d.]+\d)\b", text, re.MULTILINE)
    assert len(shown) >= 12
    for qname, qtype, expected in shown:
        assert expected in " ".join(answers(served, qname, qtype or "A")), qname


@contextmanager
def demo(port: int) -> Iterator[list[str]]:
    """Run the demo, and yield the lines that it has printed."""
    command = [sys.executable, "-m", "tests.demo", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        printed.extend(iter(process.stdout.readline, ""))

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    try:
        yield printed
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
        reading.join(60)
        assert process.stdout is not None
        process.stdout.close()
    assert status == 0


def test_the_printed_lines_work() -> None:
    port = free_port()
    with demo(port) as printed:
        until(lambda: any("event=synced" in line for line in printed), 60, lambda: "".join(printed))
        lines = [line.strip() for line in printed]
        asked = [line for line in lines if line.startswith(f"dig @127.0.0.1 -p {port} +short ")]
        looks = [line for line in lines if "pydns " in line and " --state-dir " in line and "event=" not in line]
        assert (len(asked), len(looks)) == (len(QUESTIONS) + len(QUESTIONS_FROM_OUTSIDE), len(LOOKS))
        state_dir = Path(re.findall(r"state directory is (\S+):", "\n".join(lines))[0])
        for look in looks:
            verb = shlex.split(look)
            ended = subprocess.run(verb, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
            assert (ended.returncode, ended.stderr) == (0, ""), look
            assert ended.stdout
    assert not state_dir.exists()


@pytest.mark.parametrize("port", ["x", "0", "65536", ""])
def test_an_invalid_port_is_refused(port: str) -> None:
    command = [sys.executable, "-m", "tests.demo", port]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (2, f"make demo: PORT={port} is not a port from 1 to 65535\n")


def test_a_taken_port_is_reported() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "tests.demo", str(port)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"127.0.0.1:{port} is taken by another program; try make demo PORT=" in ended.stderr


def test_the_demo_imports_only_the_standard_library() -> None:
    """The environment of `make demo` has only the packages for serving, and no packages for tests."""
    imported = re.findall(r"^(?:from|import) (\w+)", (ROOT / "tests" / "demo.py").read_text(), re.MULTILINE)
    assert imported
    assert set(imported) <= sys.stdlib_module_names
