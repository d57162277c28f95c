"""The Helm chart has the objects of the kustomizations. Its values work as described, and it refuses mistakes."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import pydns
from pydns.cli.main import parser
from pydns.cli.serve import settings_of
from pydns.config.read import Accepted, read
from pydns.config.settings import PodsMode
from tests.manifests.charted import CHART, helm, objects, render, template
from tests.manifests.kustomized import Json, build, build_with, needs_kubectl, only

OLDEST, NEWEST = "1.27", kubernetes_validate.latest_version()
HELM_LABELS = {
    "helm.sh/chart",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
}
# The kustomizations don't contain the number of pods.
AS_KUSTOMIZE = ["--set", "replicaCount=null"]
AUTOSCALED = ["--set", "mode=replace-coredns,hpa.enabled=true,resources.requests.cpu=250m"]
SAME = {
    "base": ["--set", "mode=base,service.clusterIP=10.96.0.10"],
    "overlays/side-by-side": [],
    "overlays/replace-coredns": ["--set", "mode=replace-coredns"],
    "overlays/autoscaled": AUTOSCALED,
}


@pytest.fixture(autouse=True)
def _needs_helm() -> None:
    helm()


def _values(tmp_path: Path, values: dict[str, Any]) -> list[str]:
    """Return the helm arguments for these values."""
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    return ["--values", str(file)]


def _by_kind(manifests: list[Json]) -> dict[str, Json]:
    """Return the objects by kind and name, without Helm's labels."""
    for each in manifests:
        pod = each.get("spec", {}).get("template", {}).get("metadata", {})
        for metadata in (each["metadata"], pod):
            for label in HELM_LABELS & metadata.get("labels", {}).keys():
                del metadata["labels"][label]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in manifests}


def _pod(manifests: list[Json], kind: str = "Deployment") -> Json:
    template: Json = only(manifests, kind, "pydns")["spec"]["template"]
    return template


def _container(manifests: list[Json]) -> Json:
    container: Json = _pod(manifests)["spec"]["containers"][0]
    return container


def _refused(*arguments: str) -> str:
    done = template(*arguments)
    assert done.returncode != 0
    return done.stderr


@needs_kubectl
@pytest.mark.parametrize("folder", SAME)
def test_each_mode_makes_the_same_objects_as_the_folder_with_its_name(folder: str) -> None:
    assert _by_kind(objects(*AS_KUSTOMIZE, *SAME[folder])) == _by_kind(build(folder))


@needs_kubectl
def test_verified_pods_are_the_same_as_in_the_component(tmp_path: Path) -> None:
    mine = _by_kind(objects(*AS_KUSTOMIZE, *SAME["base"], "--set", "pods=verified"))
    assert mine == _by_kind(build_with("verified-pods", tmp_path))
    assert settings_of(parser({}).parse_args(_container(list(mine.values()))["args"])).pods is PodsMode.VERIFIED


@needs_kubectl
def test_the_pages_for_replicas_are_the_same_as_in_the_component(tmp_path: Path) -> None:
    mine = _by_kind(objects(*AS_KUSTOMIZE, *SAME["base"], "--set", "peers=true"))
    assert mine == _by_kind(build_with("peers", tmp_path))


def test_the_right_to_name_clients_by_pods_is_the_same_as_in_the_component(tmp_path: Path) -> None:
    right = only(build_with("clients", tmp_path), "ClusterRole")["rules"]
    for values in "rbac.pods=true", "config.clients=pods":
        assert only(objects(*AS_KUSTOMIZE, *SAME["base"], "--set", values), "ClusterRole")["rules"] == right


@needs_kubectl
def test_the_chart_and_the_overlay_have_the_same_pod_for_every_node() -> None:
    node_local = ["--values", str(CHART / "node-local.yaml"), *SAME["base"]]
    assert _by_kind(objects(*node_local)) == _by_kind(build("overlays/node-local"))


@needs_kubectl
def test_the_chart_and_the_overlay_have_the_same_server_for_clients_outside() -> None:
    done = template(*AS_KUSTOMIZE, "--values", str(CHART / "external.yaml"), release="pydns-external")
    assert done.returncode == 0, done.stderr
    mine = _by_kind([each for each in yaml.safe_load_all(done.stdout) if each])
    assert mine == _by_kind(build("overlays/external"))


@needs_kubectl
@pytest.mark.parametrize("values", [{"rbac": {"external": True}}, {"config": {"external": {"k8s.example.com": {}}}}])
def test_the_chart_grants_the_same_rights_for_external_zones_as_the_component(
    values: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "component").mkdir()
    mine = objects(*AS_KUSTOMIZE, *SAME["base"], *_values(tmp_path, values))
    theirs = build_with("external", tmp_path / "component")
    assert only(mine, "ClusterRole")["rules"] == only(theirs, "ClusterRole")["rules"]
    assert only(objects(), "ClusterRole")["rules"] != only(theirs, "ClusterRole")["rules"]


@needs_kubectl
def test_the_chart_has_the_same_monitoring_as_the_overlay() -> None:
    enabled = "prometheus.monitor.enabled=true,prometheus.rules.enabled=true,dashboard.enabled=true"
    mine, folder = _by_kind(objects("--set", enabled)), _by_kind(build("overlays/monitoring"))
    assert len(folder) == 3
    for name, expected in folder.items():
        # Only kube-prometheus-stack needs this label, and only on objects other than the ConfigMap.
        assert expected["metadata"]["labels"].keys() - mine[name]["metadata"]["labels"].keys() <= {"release"}
        assert _without_metadata(mine[name]) == _without_metadata(expected)


def test_alerts_link_to_the_runbooks_that_the_values_name(tmp_path: Path) -> None:
    url = "https://wiki.corp.example/dns"
    rules = only(objects("--set", f"prometheus.rules.enabled=true,prometheus.rules.runbookUrl={url}"), "PrometheusRule")
    urls = [rule["annotations"]["runbook_url"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert urls and all(each.startswith(f"{url}#pydns") for each in urls)


def _without_metadata(manifest: Json) -> Json:
    return {key: value for key, value in manifest.items() if key != "metadata"}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("arguments", [*SAME.values(), ["--set", "autoscaler.enabled=true"]], ids=str)
def test_objects_are_valid(arguments: list[str], version: str) -> None:
    for each in objects(*arguments):
        kubernetes_validate.validate(each, version, strict=True)


def test_the_chart_has_the_versions_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == pydns.__version__


def test_the_chart_has_two_pods_by_default_and_no_number_with_an_autoscaler() -> None:
    assert only(objects(), "Deployment")["spec"]["replicas"] == 2
    for enabled in ("hpa.enabled=true", "autoscaler.enabled=true"):
        assert "replicas" not in only(objects("--set", enabled), "Deployment", "pydns")["spec"]


def test_the_proportional_autoscaler_may_scale_the_deployment_and_nothing_else() -> None:
    manifests = objects("--set", "autoscaler.enabled=true,autoscaler.nodesPerReplica=8,autoscaler.max=12")
    name = "pydns-autoscaler"
    config_map = only(manifests, "ConfigMap", name)
    assert json.loads(config_map["data"]["linear"]) == {
        "coresPerReplica": 256,
        "nodesPerReplica": 8,
        "min": 2,
        "max": 12,
        "includeUnschedulableNodes": False,
        "preventSinglePointFailure": True,
    }
    command = only(manifests, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]["command"]
    assert {f"--configmap={name}", "--target=Deployment/pydns", "--namespace=kube-system"} <= set(command)
    assert only(manifests, "Role", name)["rules"] == [
        {
            "apiGroups": ["apps"],
            "resources": ["deployments/scale"],
            "resourceNames": ["pydns"],
            "verbs": ["get", "update"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get"]},
    ]
    # The Service must not select these pods, and the policies of the DNS pods must not apply to them.
    labels = only(manifests, "Deployment", name)["spec"]["template"]["metadata"]["labels"]
    assert not only(manifests, "Service")["spec"]["selector"].items() <= labels.items()


def test_a_service_can_be_dual_stack_and_prefer_the_zone(tmp_path: Path) -> None:
    service = {
        "clusterIPs": ["10.96.0.10", "fd00:10:96::a"],
        "ipFamilyPolicy": "RequireDualStack",
        "ipFamilies": ["IPv4", "IPv6"],
        "trafficDistribution": "PreferSameZone",
    }
    found = only(objects(*_values(tmp_path, {"mode": "base", "service": service})), "Service")
    kubernetes_validate.validate(found, NEWEST, strict=True)
    assert service.items() <= found["spec"].items()
    assert "clusterIP" not in found["spec"]


def test_a_service_can_be_a_load_balancer_for_clients_outside(tmp_path: Path) -> None:
    service = {"externalTrafficPolicy": "Local", "loadBalancerClass": "example.com/lb", "annotations": {"a": "b"}}
    found = only(objects(*_values(tmp_path, {"serviceType": "LoadBalancer", "service": service})), "Service")
    assert found["spec"]["type"] == "LoadBalancer"
    assert found["spec"]["externalTrafficPolicy"] == "Local"
    assert found["metadata"]["annotations"] == {"a": "b", "prometheus.io/scrape": "true", "prometheus.io/port": "9153"}


def test_pydns_accepts_the_configuration_in_the_values(tmp_path: Path) -> None:
    example = yaml.safe_load((CHART.parent / "config.example.yaml").read_text())
    data = only(objects(*_values(tmp_path, {"config": example})), "ConfigMap")["data"]
    assert yaml.safe_load(data["config.yaml"]) == example
    assert isinstance(read(data), Accepted)


def test_values_of_the_coredns_chart_give_a_corefile_that_pydns_accepts(tmp_path: Path) -> None:
    """Use the default of CoreDNS's chart, and a stub domain."""
    plugins = [
        {"name": "errors"},
        {"name": "health", "configBlock": "lameduck 10s"},
        {"name": "ready"},
        {
            "name": "kubernetes",
            "parameters": "cluster.local in-addr.arpa ip6.arpa",
            "configBlock": "pods insecure\nfallthrough in-addr.arpa ip6.arpa\nttl 30\n",
        },
        {"name": "prometheus", "parameters": "0.0.0.0:9153"},
        {"name": "forward", "parameters": ". /etc/resolv.conf"},
        {"name": "cache", "parameters": 30},
        {"name": "loop"},
        {"name": "reload"},
        {"name": "loadbalance"},
    ]
    stub = [{"name": "forward", "parameters": ". 10.1.0.53"}, {"name": "cache", "parameters": 30}]
    servers = [
        {"zones": [{"zone": ".", "use_tcp": True}], "port": 53, "plugins": plugins},
        {"zones": [{"zone": "acme.local."}, {"zone": "acme.example."}], "plugins": stub},
    ]
    data = only(objects(*_values(tmp_path, {"servers": servers})), "ConfigMap")["data"]
    accepted = read(data)
    assert isinstance(accepted, Accepted), accepted
    assert "acme.local.:53 acme.example.:53 {" in data["Corefile"]


def test_the_configmap_contains_the_corefile_unchanged(tmp_path: Path) -> None:
    corefile = "  .:53 {\n    forward . 9.9.9.9\n    # {{ not a template }}\n}\n"
    assert only(objects(*_values(tmp_path, {"corefile": corefile})), "ConfigMap")["data"] == {"Corefile": corefile}


def test_pydns_can_read_the_configmaps_of_coredns(tmp_path: Path) -> None:
    names = {"skipConfig": True, "configMapName": "coredns", "importedConfigMap": "coredns-custom"}
    manifests = objects(*_values(tmp_path, {"deployment": names}))
    assert not [each for each in manifests if each["kind"] == "ConfigMap"]
    watched = settings_of(parser({}).parse_args(_container(manifests)["args"])).configmap
    assert watched == (("kube-system", "coredns"), ("kube-system", "coredns-custom"))
    assert only(manifests, "Role")["rules"][0]["resourceNames"] == ["coredns", "coredns-custom"]


def test_zone_files_are_mounted_and_served(tmp_path: Path) -> None:
    zone = {
        "filename": "corp.example.db",
        "domain": "corp.example",
        "contents": "  SOA ns. me. 1 1 1 1 1\nwww A 192.0.2.1\n",
    }
    manifests = objects(*_values(tmp_path, {"zoneFiles": [zone]}))
    assert only(manifests, "ConfigMap", "pydns-zones")["data"] == {"corp.example.db.zone": zone["contents"]}
    (mount,) = [each for each in _container(manifests)["volumeMounts"] if each["name"] == "zones"]
    assert str(settings_of(parser({}).parse_args(_container(manifests)["args"])).zones) == mount["mountPath"]


def test_pod_values_are_set_in_the_pod(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "image": {
            "repository": "registry.example/pydns",
            "digest": f"sha256:{'0' * 64}",
            "pullSecrets": [{"name": "s"}],
        },
        "nodeSelector": {"dns": "yes"},
        "tolerations": [{"operator": "Exists"}],
        "podLabels": {"a": "b"},
        "podAnnotations": {"c": "d"},
        "customLabels": {"team": "dns"},
        "customAnnotations": {"e": "f"},
        "env": [{"name": "PYDNS_TTL", "value": "30"}],
        "extraArgs": ["--log-format=json"],
        "extraVolumes": [{"name": "v", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}],
        "extraSecrets": [{"name": "ca", "mountPath": "/etc/pydns/tls", "defaultMode": 0o440}],
        "extraContainers": [{"name": "sidecar", "image": "sidecar"}],
        "initContainers": [{"name": "first", "image": "first"}],
        "priorityClassName": "high",
        "affinity": None,
        "podDisruptionBudget": None,
        "networkPolicy": {"enabled": False},
        "readinessProbe": {"periodSeconds": 9},
        "deployment": {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"]}},
    }
    manifests = objects(*_values(tmp_path, values))
    for each in manifests:
        kubernetes_validate.validate(each, NEWEST, strict=True)
        assert each["metadata"]["labels"]["team"] == "dns"
        assert each["metadata"]["annotations"]["e"] == "f"
    assert not [each for each in manifests if each["kind"] in ("PodDisruptionBudget", "NetworkPolicy")]
    pod, container = _pod(manifests), _container(manifests)
    assert {"a": "b", "team": "dns"}.items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["annotations"] == {"c": "d"}
    spec = pod["spec"]
    assert spec["dnsPolicy"] == "None" and spec["dnsConfig"] == {"nameservers": ["9.9.9.9"]}
    assert spec["nodeSelector"] == {"dns": "yes", "kubernetes.io/os": "linux"}
    assert spec["tolerations"] == values["tolerations"]
    assert spec["imagePullSecrets"] == [{"name": "s"}]
    assert spec["priorityClassName"] == "high"
    assert "affinity" not in spec
    assert [each["name"] for each in spec["containers"]] == ["pydns", "sidecar"]
    assert [each["name"] for each in spec["initContainers"]] == ["first"]
    assert container["image"] == f"registry.example/pydns@sha256:{'0' * 64}"
    assert container["env"][-1:] == values["env"]
    assert container["args"][-1] == "--log-format=json"
    assert container["readinessProbe"]["periodSeconds"] == 9
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "ready"}
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts == {"state": "/var/lib", "v": "/v", "ca": "/etc/pydns/tls"}
    assert {each["name"] for each in spec["volumes"]} == mounts.keys()


def test_the_objects_of_a_second_release_have_different_names() -> None:
    done = template(release="dns2", namespace="other")
    manifests = list(yaml.safe_load_all(done.stdout))
    assert {each["metadata"]["name"] for each in manifests} == {"dns2-pydns"}
    cluster_wide = ("ClusterRole", "ClusterRoleBinding")
    assert {each["metadata"].get("namespace") for each in manifests if each["kind"] not in cluster_wide} == {"other"}
    for binding in ("RoleBinding", "ClusterRoleBinding"):
        assert only(manifests, binding)["subjects"][0]["namespace"] == "other"
    assert settings_of(parser({}).parse_args(_pod_args(manifests))).configmap == (("other", "dns2-pydns"),)


def _pod_args(manifests: list[Json]) -> list[str]:
    args: list[str] = only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    return args


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("replicaCont=3", "'replicaCont' not allowed"),
        ("mode=replace", "value must be one of 'side-by-side', 'replace-coredns', 'base'"),
        ("image.digest=sha256:abc", "'sha256:abc' does not match pattern"),
        ("mode=base", "mode base needs service.clusterIP"),
        ("hpa.enabled=true,autoscaler.enabled=true", "enable one of them"),
        ("kind=DaemonSet", "a budget can't count the pods of a DaemonSet"),
        ("kind=DaemonSet,podDisruptionBudget=null,hpa.enabled=true", "a DaemonSet has one pod on every node"),
        ("corefile=x,config.ttl=3", "set one of config, corefile and servers"),
        ("answer=external,mode=replace-coredns", "answer: external refuses the names of the cluster"),
        ("answer=external,mode=base,service.clusterIP=10.96.0.10", "answer: external refuses the names of the cluster"),
    ],
)
def test_a_mistake_in_the_values_is_refused(values: str, message: str) -> None:
    assert message in _refused("--set", values)


def test_the_schema_contains_exactly_the_values_of_the_chart() -> None:
    def unknown(values: Any, schema: Any, path: str) -> list[str]:
        properties = schema.get("properties") if isinstance(values, dict) else None
        if properties is None:
            return []
        different = [f"{path}{key}" for key in values.keys() ^ properties.keys()]
        return different + [
            found
            for key in values.keys() & properties.keys()
            for found in unknown(values[key], properties[key], f"{path}{key}.")
        ]

    schema = json.loads((CHART / "values.schema.json").read_text())
    assert unknown(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "") == ["global"]


def test_no_line_of_the_objects_ends_in_blanks() -> None:
    assert [line for line in render().splitlines() if line != line.rstrip()] == []
