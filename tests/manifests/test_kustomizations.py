"""The kustomizations are valid for every supported API server, and can replace CoreDNS."""

import re
from pathlib import Path

import kubernetes_validate
import pytest

import pydns
from pydns.cli.main import parser
from pydns.cli.serve import settings_of
from pydns.config.settings import Answered, PodsMode
from tests.manifests.kustomized import MANIFESTS, Json, build, build_with, needs_kubectl, only

FOLDERS = ["base", "overlays/side-by-side", "overlays/replace-coredns", "overlays/autoscaled", "overlays/external"]
OLDEST, NEWEST = "1.27", kubernetes_validate.latest_version()

pytestmark = needs_kubectl


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("folder", FOLDERS)
def test_objects_are_valid(folder: str, version: str) -> None:
    for each in build(folder):
        kubernetes_validate.validate(each, version, strict=True)


def test_a_misspelt_field_is_not_valid() -> None:
    deployment = only(build("base"), "Deployment")
    deployment["spec"]["template"]["spec"]["dnsPolice"] = "Default"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, NEWEST, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_is_in_kube_system(folder: str) -> None:
    cluster_wide = {"ClusterRole", "ClusterRoleBinding"}
    assert {each["metadata"].get("namespace") for each in build(folder) if each["kind"] not in cluster_wide} == {
        "kube-system"
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_image_is_of_this_version(folder: str) -> None:
    assert _container(folder)["image"] == f"pydns:{pydns.__version__}"


def test_the_service_is_the_one_that_clients_know() -> None:
    service = only(build("base"), "Service")
    assert service["metadata"]["name"] == "kube-dns"
    assert service["spec"]["clusterIP"] == "10.96.0.10"
    assert service["spec"]["selector"] == {"k8s-app": "kube-dns"}
    assert [(each["name"], each["port"], each["protocol"]) for each in service["spec"]["ports"]] == [
        ("dns", 53, "UDP"),
        ("dns-tcp", 53, "TCP"),
        ("metrics", 9153, "TCP"),
    ]


def test_pods_listen_on_port_53_itself() -> None:
    ports = {each["name"]: each["containerPort"] for each in _container("base")["ports"]}
    assert ports["dns"] == ports["dns-tcp"] == 53


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_have_no_rights_beyond_their_needs(folder: str) -> None:
    pod = _pod(folder)["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert [each["name"] for each in pod["securityContext"]["sysctls"]] == ["net.ipv4.ip_unprivileged_port_start"]
    assert _container(folder)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_grace_period_of_pods_is_longer_than_a_drain(folder: str) -> None:
    options = parser({}).parse_args(_container(folder)["args"])
    drain_max_s = settings_of(options).drain_max_s
    assert _pod(folder)["spec"]["terminationGracePeriodSeconds"] >= drain_max_s + 10


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_do_not_resolve_through_themselves(folder: str) -> None:
    assert _pod(folder)["spec"]["dnsPolicy"] == "Default"


def test_probes_use_the_default_ports() -> None:
    container = _container("base")
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    chosen = settings_of(parser({}).parse_args(container["args"]))
    assert chosen.health and chosen.ready and chosen.metrics
    asked = {probe: container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")}
    assert (asked["livenessProbe"]["path"], ports[asked["livenessProbe"]["port"]]) == (
        "/health",
        chosen.health.listen.port,
    )
    assert (asked["readinessProbe"]["path"], ports[asked["readinessProbe"]["port"]]) == (
        "/ready",
        chosen.ready.listen.port,
    )
    assert ports["metrics"] == chosen.metrics.listen.port


@pytest.mark.parametrize("folder", FOLDERS)
def test_all_selectors_select_the_pods(folder: str) -> None:
    objects = build(folder)
    labels = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    pod = _pod(folder)["spec"]
    selectors = [
        only(objects, "Deployment")["spec"]["selector"],
        only(objects, "PodDisruptionBudget")["spec"]["selector"],
        only(objects, "NetworkPolicy")["spec"]["podSelector"],
        pod["topologySpreadConstraints"][0]["labelSelector"],
        pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"][
            "labelSelector"
        ],
    ]
    for selector in selectors:
        assert selector["matchLabels"].items() <= labels.items()
        assert "k8s-app" not in selector["matchLabels"], "CoreDNS's pods have it too"


@pytest.mark.parametrize("folder", FOLDERS)
def test_kubeadm_does_not_treat_the_deployment_as_its_own(folder: str) -> None:
    assert "k8s-app" not in only(build(folder), "Deployment")["metadata"]["labels"]


def test_side_by_side_does_not_change_the_running_dns() -> None:
    objects = build("overlays/side-by-side")
    service = only(objects, "Service")
    assert service["metadata"]["name"] == "pydns"
    assert "clusterIP" not in service["spec"]
    labels = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert labels["k8s-app"] != "kube-dns"


def test_pods_of_the_folder_replace_coredns_join_the_old_service_and_do_not_change_it() -> None:
    objects = build("overlays/replace-coredns")
    assert only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]["k8s-app"] == "kube-dns"
    assert only(objects, "Service")["metadata"]["name"] == "pydns"


def test_switching_to_pydns_changes_only_a_label_of_the_pods() -> None:
    before, after = build("overlays/side-by-side"), build("overlays/replace-coredns")
    only(before, "Deployment")["spec"]["template"]["metadata"]["labels"]["k8s-app"] = "kube-dns"
    assert before == after


@pytest.mark.parametrize("folder", FOLDERS)
def test_applying_any_folder_keeps_the_number_of_pods(folder: str) -> None:
    """Check that no folder sets the number of pods.

    If one folder had a number, it would be set at once. Applying a folder without a number would then reset it to 1.
    """
    assert "replicas" not in only(build(folder), "Deployment")["spec"]


def test_the_autoscaler_scales_the_deployment_and_keeps_two_pods() -> None:
    objects = build("overlays/autoscaled")
    scaler = only(objects, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == only(objects, "Deployment")["metadata"]["name"]
    assert scaler["minReplicas"] >= 2


@pytest.mark.parametrize("base", ["base", "overlays/replace-coredns"])
def test_on_every_node_the_new_pod_is_ready_before_the_old_one_ends(base: str, tmp_path: Path) -> None:
    objects = build_with("node-local", tmp_path, base)
    for each in objects:
        kubernetes_validate.validate(each, NEWEST, strict=True)
    kinds = {each["kind"] for each in objects}
    assert "DaemonSet" in kinds
    # The disruption controller can't count the pods of a DaemonSet.
    assert not kinds & {"Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler"}
    daemon_set = only(objects, "DaemonSet")["spec"]
    assert daemon_set["updateStrategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert daemon_set["template"]["metadata"]["labels"]["k8s-app"] == "kube-dns"
    assert only(objects, "Service")["spec"]["trafficDistribution"] == "PreferSameNode"


def test_pods_on_every_node_have_only_the_rights_of_the_base(tmp_path: Path) -> None:
    node = only(build("overlays/node-local"), "DaemonSet")["spec"]["template"]["spec"]
    base = _pod("base")["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & node.keys()
    assert not [port for port in node["containers"][0]["ports"] if "hostPort" in port]
    assert node["securityContext"] == base["securityContext"]
    assert node["containers"][0]["securityContext"] == base["containers"][0]["securityContext"]
    assert node["volumes"] == base["volumes"]
    assert [each for each in build("overlays/node-local") if "Role" in each["kind"]] == [
        each for each in build("base") if "Role" in each["kind"]
    ]


def test_the_component_for_verified_pods_grants_the_right_to_watch_pods(tmp_path: Path) -> None:
    objects = build_with("verified-pods", tmp_path)
    for each in objects:
        kubernetes_validate.validate(each, NEWEST, strict=True)
    assert {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]} in only(objects, "ClusterRole")[
        "rules"
    ]
    args = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert settings_of(parser({}).parse_args(args)).pods is PodsMode.VERIFIED


def test_the_component_for_external_zones_grants_the_rights_to_watch(tmp_path: Path) -> None:
    objects = build_with("external", tmp_path)
    for each in objects:
        kubernetes_validate.validate(each, NEWEST, strict=True)
    resources = {resource for rule in only(objects, "ClusterRole")["rules"] for resource in rule["resources"]}
    assert {"ingresses", "ingressclasses", "dnsendpoints", "nodes"} <= resources


def test_clients_outside_reach_a_server_that_answers_only_external_zones() -> None:
    objects = build("overlays/external")
    chosen = settings_of(parser({}).parse_args(_container("overlays/external")["args"]))
    assert chosen.answer is Answered.EXTERNAL
    service = only(objects, "Service")["spec"]
    assert (service["type"], service["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert {(each["port"], each["protocol"]) for each in service["ports"]} == {(53, "UDP"), (53, "TCP")}
    policy = only(objects, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {each["protocol"] for rule in policy["egress"] for each in rule["ports"]} == {"TCP"}, "no query leaves"


def test_the_server_for_outside_clients_shares_no_objects_or_pods_with_the_cluster_dns() -> None:
    outside, inside = build("overlays/external"), build("overlays/replace-coredns")
    assert not _names(outside) & _names(inside)
    labels = only(inside, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert not only(outside, "Service")["spec"]["selector"].items() <= labels.items()
    labels = only(outside, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [only(inside, "Service")["spec"]["selector"], {"k8s-app": "kube-dns"}]
    selectors += [
        only(inside, kind)["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget")
    ]
    for selector in selectors:
        assert not selector.items() <= labels.items()


def _names(objects: list[Json]) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in objects}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_role_grants_access_to_the_watched_configmap(folder: str) -> None:
    objects = build(folder)
    chosen = settings_of(parser({}).parse_args(_container(folder)["args"]))
    name = only(objects, "ConfigMap")["metadata"]["name"]
    assert chosen.configmap == (("kube-system", name),)
    assert only(objects, "Role")["rules"][0]["resourceNames"] == [name]


def test_the_example_goes_into_the_watched_configmap() -> None:
    name = only(build("base"), "ConfigMap")["metadata"]["name"]
    example = (MANIFESTS / "config.example.yaml").read_text()
    assert set(re.findall(r"\b(?:create|patch) configmap (\S+)", example)) == {name}


def test_applying_again_keeps_the_configuration_of_the_operator() -> None:
    assert "data" not in only(build("base"), "ConfigMap")


def _pod(folder: str) -> Json:
    template: Json = only(build(folder), "Deployment")["spec"]["template"]
    return template


def _container(folder: str) -> Json:
    (container,) = _pod(folder)["spec"]["containers"]
    assert isinstance(container, dict)
    return container
