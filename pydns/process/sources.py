"""Checks the sources before the start: folders, files and the service account must exist.

The supervisor makes these checks before it opens a port. Imports nothing heavy. The controller later reads the contents
of the sources.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydns.config.settings import Settings

MANIFESTS = ("--manifests", "*.yaml, *.yml or *.json")  # the flag for a folder, and the names of its files
ZONES = ("--zones", "*.zone")
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PEER_TOKEN = Path("/var/run/secrets/pydns/token")  # the file with a token for the pages of other replicas
_VARIABLES = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")


def problems(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each source that is missing or can't be opened."""
    for folder, (flag, wanted) in ((settings.manifests, MANIFESTS), (settings.zones, ZONES)):
        if folder is not None and (problem := folder_problem(folder, flag, wanted)):
            yield problem
    if settings.kubeconfig is not None:
        try:
            settings.kubeconfig.open("rb").close()
        except OSError as error:
            yield f"kubeconfig {settings.kubeconfig}: {error.strerror}"
    elif settings.manifests is None and (missing := _missing_in_pod(environment)):
        yield not_in_a_cluster(f"{missing} is missing")


def folder_problem(folder: Path, flag: str, wanted: str) -> str | None:
    """Return the reason why a folder can't be listed, or None if there is no problem."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        return f"{flag} {folder}: {error.strerror}; wanted a folder with {wanted} files"
    return None


def not_in_a_cluster(reason: str) -> str:
    """Return the error for the case that no flag chooses a source, and pydns doesn't run in a pod."""
    return (
        f"not in a cluster: {reason} (looked for {', '.join(_VARIABLES)} and {SERVICE_ACCOUNT}); "
        "give --kubeconfig FILE or --manifests DIR"
    )


def _missing_in_pod(environment: Mapping[str, str]) -> str | None:
    for variable in _VARIABLES:
        if not environment.get(variable):
            return variable
    files = (SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt")
    return next((str(path) for path in files if not path.exists()), None)
