"""The table of kinds: paths and versions are those of the API (https://kubernetes.io/docs/reference/using-api/)."""

import pytest

from pydns.kube.kinds import BY_NAME


@pytest.mark.parametrize(
    ("kind", "api_version", "path"),
    [
        ("Namespace", "v1", "/api/v1/namespaces"),
        ("Service", "v1", "/api/v1/services"),
        ("EndpointSlice", "discovery.k8s.io/v1", "/apis/discovery.k8s.io/v1/endpointslices"),
        ("Pod", "v1", "/api/v1/pods"),
        ("ConfigMap", "v1", "/api/v1/configmaps"),
    ],
)
def test_each_kind_has_the_path_and_version_of_the_api(kind: str, api_version: str, path: str) -> None:
    assert BY_NAME[kind].row.paths == (path,)
    assert BY_NAME[kind].api_versions == (api_version,)
