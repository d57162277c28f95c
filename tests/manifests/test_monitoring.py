"""Scraping, alerts and dashboard: they use only existing metrics, and each alert fires when it should."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pydns.config.model import MetricNames
from pydns.metrics.objectives import ERRORS, LOOKUPS, OBJECTIVES, OWN, PROGRAMMING
from tests.manifests.kustomized import MANIFESTS, build, build_path, needs_kubectl, only, path_from

HERE = Path(__file__).parent
README = (MANIFESTS / "README.md").read_text()
MONITORING = MANIFESTS / "overlays" / "monitoring"
RULES = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())["spec"]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
OF_PROMETHEUS = {"job", "pod"}  # labels that Prometheus adds when it scrapes

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)"
)


def _expressions() -> list[tuple[str, str]]:
    """Return every query with its owner, which is an alert or a panel."""
    found = [(rule["alert"], rule["expr"]) for group in RULES["groups"] for rule in group["rules"]]
    return found + [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]


def _promtool(folder: Path, rules: dict[str, Any], *arguments: str) -> None:
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def served() -> dict[str, set[str]]:
    """Return the labels of each metric that /metrics serves, with the default names of the metrics."""
    names = pytest.importorskip("pydns.metrics.catalog")
    found = {}
    for metric in names.METRICS:
        name, labels = metric.full_name(MetricNames.COREDNS), {*metric.labels}
        if metric.served:
            labels |= {"server", "view"}
        if metric.kind == names.HISTOGRAM:
            found[f"{name}_bucket"] = labels | {"le"}
        else:
            found[name] = labels
    return found


@pytest.mark.parametrize(("whose", "expression"), _expressions())
def test_only_metrics_and_labels_that_are_served_are_used(
    whose: str, expression: str, served: dict[str, set[str]]
) -> None:
    used = set(re.findall(r"\b(?:coredns|pydns|process)_\w+", expression))
    assert used or "up{" in expression, whose
    assert used - served.keys() == set(), whose
    labels = set(re.findall(r'[{,]\s*(\w+)="', expression))
    for each in re.findall(r"by \(([\w, ]+)\)", expression):
        labels |= set(each.split(", "))
    assert labels - {label for metric in used for label in served[metric]} - OF_PROMETHEUS == set(), whose


@pytest.mark.parametrize(("whose", "expression"), _expressions())
def test_no_query_uses_the_metrics_of_coredns(whose: str, expression: str) -> None:
    assert len(re.findall(r"\w+\{", expression)) == expression.count('{job="pydns"'), whose


def test_alerts_on_budgets_have_the_objectives_of_pydns_slo() -> None:
    found = set()
    for group in RULES["groups"]:
        for rule in group["rules"]:
            if rule["alert"].endswith("BudgetBurn"):
                edges = set(re.findall(r'le="([\d.]+)"', rule["expr"]))
                budgets = set(re.findall(r"\* ([\d.]+)", rule["expr"]))
                found.add((rule["alert"], *edges, *budgets))
    wanted = {
        (alert, *([str(objective.within_s)] if objective.within_s else []), f"{1 - objective.share:.3g}")
        for alert, objective in (
            ("PydnsProgrammingBudgetBurn", OBJECTIVES[PROGRAMMING, ""]),
            ("PydnsLookupBudgetBurn", OBJECTIVES[LOOKUPS, OWN]),
            ("PydnsErrorBudgetBurn", OBJECTIVES[ERRORS, OWN]),
        )
    }
    assert found == wanted


@needs_promtool
def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    shutil.copy(HERE / "alerts.yaml", tmp_path)
    _promtool(tmp_path, RULES, "test", "rules", "alerts.yaml")


def test_every_alert_has_a_test_and_a_remedy() -> None:
    tests = (HERE / "alerts.yaml").read_text()
    for group in RULES["groups"]:
        for rule in group["rules"]:
            assert rule["alert"] in tests
            assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    text = (MANIFESTS.parent / "docs" / "troubleshooting.md").read_text()
    alerts = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert re.findall(r"^### (Pydns\w+)$", text, re.MULTILINE) == list(dict.fromkeys(rule["alert"] for rule in alerts))
    for rule in alerts:
        url = rule["annotations"]["runbook_url"]
        assert url == f"https://pydns.example/docs/troubleshooting.md#{rule['alert'].lower()}"


@needs_promtool
def test_every_query_of_the_dashboard_is_valid_promql(tmp_path: Path) -> None:
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    recorded = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(queries)]
    _promtool(tmp_path, {"groups": [{"name": "dashboard", "rules": recorded}]}, "check", "rules", "rules.yaml")


def test_panels_do_not_overlap_and_use_the_chosen_data_source() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource"]


@needs_kubectl
@pytest.mark.parametrize("folder", ["base", "overlays/side-by-side", "overlays/replace-coredns", "overlays/autoscaled"])
def test_the_service_monitor_finds_the_service(folder: str) -> None:
    monitor = only(build("overlays/monitoring"), "ServiceMonitor")["spec"]
    service = only(build(folder), "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "pydns"
    assert monitor["endpoints"][0]["port"] in {each["name"] for each in service["spec"]["ports"]}


@needs_kubectl
def test_a_stock_kube_prometheus_stack_selects_monitor_and_rules() -> None:
    """The Prometheus of the stack selects `release: NAME`.

    NAME is the name of the Helm release. It usually equals the name of the chart.
    """
    objects = build("overlays/monitoring")
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert only(objects, kind)["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    # The monitor itself must not select by this label, because Services don't have it.
    assert "release" not in only(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"]


@needs_kubectl
def test_one_line_changes_the_label_of_the_release(tmp_path: Path) -> None:
    shown = re.search(
        r"^```yaml\n(resources: \[manifests/overlays/monitoring\].*?)^```$", README, re.MULTILINE | re.DOTALL
    )
    assert shown
    (tmp_path / "kustomization.yaml").write_text(shown[1].replace("[manifests", f"[{path_from(tmp_path)}"))
    assert {each["metadata"]["labels"]["release"] for each in build_path(tmp_path)} == {"monitoring"}


@needs_kubectl
def test_grafana_finds_the_dashboard() -> None:
    config_map = only(build("overlays/monitoring"), "ConfigMap")
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(config_map["data"]["pydns.json"]) == DASHBOARD
