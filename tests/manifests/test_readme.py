"""manifests/README.md: its commands work, and it names every flag, key, folder and alert."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pydns.cli.main import parser
from pydns.cli.serve import settings_of
from pydns.config.read import Accepted, read
from tests.manifests.kustomized import MANIFESTS, build, build_path, needs_kubectl, only, path_from

ROOT = MANIFESTS.parent
README = (MANIFESTS / "README.md").read_text()
COMMANDS = re.findall(r"^    (\S.*)$", README, re.MULTILINE)
# This includes the commands on the pages for operators.
ALL_COMMANDS = [
    command.strip()
    for page in [ROOT / "README.md", MANIFESTS / "README.md", *(ROOT / "docs").glob("*.md")]
    for command in re.findall(r"^    +(?:(?:kubectl|helm) .*)$|`kubectl [^`]+`", page.read_text(), re.MULTILINE)
]
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def _words(command: str) -> list[str]:
    return shlex.split(command, comments=True)


@needs_kubectl
@pytest.mark.parametrize(
    "folder", sorted({words[words.index("-k") + 1] for words in map(_words, ALL_COMMANDS) if "-k" in words} - {"."})
)
def test_folders_that_are_applied_can_be_built(folder: str) -> None:
    assert build(str(Path(folder).relative_to("manifests")))


@pytest.mark.parametrize("command", [each for each in COMMANDS if each.startswith("pydns check ")] or ["missing"])
def test_commands_of_pydns_work(command: str) -> None:
    words = [sys.executable, "-m", *_words(command)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [each for each in ALL_COMMANDS if " -- pydns " in each] or ["missing"])
def test_commands_within_the_pod_have_valid_flags(command: str) -> None:
    name, *arguments = _words(re.split(" -- | < ", command.strip("`"))[1])
    assert name == "pydns"
    assert parser({}).parse_args(arguments).state_dir == "/var/lib/pydns"


@needs_kubectl
def test_named_objects_are_installed() -> None:
    installed = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in build("overlays/side-by-side")}
    named = set(re.findall(r"(?<![\w.])(?:deployment|service)/[\w-]+", " ".join(COMMANDS)))
    assert named - installed == {"deployment/coredns", "service/kube-dns"}


@needs_kubectl
def test_the_users_own_kustomization_can_be_built(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(BLOCKS[0].replace("[manifests", f"[{path_from(tmp_path)}"))
    (container,) = only(build_path(tmp_path), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.example/dns/pydns:")
    assert settings_of(parser({}).parse_args(container["args"])).domain == b"\4corp\5local\0"


def test_the_shown_configuration_is_accepted() -> None:
    assert isinstance(read(yaml.safe_load(BLOCKS[1])["data"]), Accepted)


def test_every_flag_is_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser({}).parse_args(["serve", "--help"])
    flags = set(re.findall(r"(?<!\S)(--[a-z-]+)", capsys.readouterr().out)) - {"--help"}
    rows = [line.split(" | ")[0] for line in README.splitlines() if line.startswith("| `--")]
    assert flags - set(re.findall(r"`(--[a-z-]+)`", " ".join(rows))) == set()


def test_every_key_of_the_configuration_is_named() -> None:
    schema = json.loads((ROOT / "pydns" / "config" / "schema.json").read_text())
    section = README[README.index("## The ConfigMap") : README.index("## Flags")]
    assert [key for key in schema["properties"] if f"`{key}`" not in section] == []


def test_every_folder_and_every_alert_is_named() -> None:
    folders = {str(each.parent.relative_to(MANIFESTS)) for each in MANIFESTS.rglob("kustomization.yaml")}
    assert set(re.findall(r"^\| \[[\w/-]+\]\(([\w/-]+)\)", README, re.MULTILINE)) == folders | {"chart", "demo"}
    rules = yaml.safe_load((MANIFESTS / "overlays" / "monitoring" / "prometheusrule.yaml").read_text())
    alerts = [rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    # An alert with two severities has two rules.
    assert re.findall(r"^\| (Pydns\w+) \|", README, re.MULTILINE) == list(dict.fromkeys(alerts))


def test_values_files_in_commands_exist() -> None:
    named = {file for command in ALL_COMMANDS for file in re.findall(r" -f (manifests/\S+)", command)}
    assert len(named) >= 2
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_links_have_targets() -> None:
    targets = re.findall(r"\]\(([^)#]+)", README)
    assert [each for each in targets if not (MANIFESTS / each).exists()] == []


def test_requests_and_limits_are_the_ones_derived_in_the_text() -> None:
    deployment = yaml.safe_load((MANIFESTS / "base" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    resources = container["resources"]
    section = (ROOT / "docs" / "sizing.md").read_text()
    assert f"requests {resources['requests']['memory'][:-2]} MiB" in section
    assert f"limited to {resources['limits']['memory'][:-2]} MiB" in section
    assert "cpu" not in resources["limits"]


def test_values_named_in_the_text_exist() -> None:
    values = yaml.safe_load((MANIFESTS / "chart" / "values.yaml").read_text())
    settings = re.findall(r"--set (\S+)", " ".join(each for each in ALL_COMMANDS if each.startswith("helm ")))
    set_in_commands = {each.split("=")[0] for setting in settings for each in setting.split(",")}
    assert {"image.repository", "deployment.importedConfigMap"} <= set_in_commands
    for path in set_in_commands:
        found = values
        for key in path.split("."):
            assert key in found, path
            found = found[key]
