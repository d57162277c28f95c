"""Logs in at an API server with the `kubernetes` package, in a process that ends.

Programs for credentials (`exec`) and authentication providers are rare, and the package knows them. The process prints
the credentials as JSON. It is `python -m pydns.control.login KUBECONFIG CONTEXT`; an empty context is the current one.
"""

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

_LONGEST_S = 60.0  # time limit for the process; a program may ask a server of its own
_EARLY_S = 10.0  # credentials are renewed so long before they expire


class Credentials(NamedTuple):
    """What authenticates the controller at the API server."""

    authorization: str | None = None  # value of the HTTP header
    certificate: bytes | None = None  # certificate chain and key, in PEM
    good_for_s: float = math.inf  # after this time the credentials are read again


class LoginError(Exception):
    """The login failed. The message is one line with the reason."""


def run(kubeconfig: Path, context: str | None) -> Credentials:
    """Start the process and return its credentials. Raises `LoginError`."""
    command = [sys.executable, "-m", __name__, str(kubeconfig), context or ""]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise LoginError(f"no credentials within {_LONGEST_S:.0f} s") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise LoginError(f"no credentials: {lines[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    certificate = found["certificate"]
    return Credentials(found["authorization"], certificate and certificate.encode(), found["good_for_s"] or math.inf)


def _main(kubeconfig: str, context: str) -> int:
    import yaml
    from kubernetes.client import Configuration
    from kubernetes.config.kube_config import KubeConfigLoader

    path = Path(kubeconfig)
    configuration = Configuration()
    content = yaml.safe_load(path.read_text())
    loader = KubeConfigLoader(content, context or None, config_base_path=str(path.parent))  # type: ignore[no-untyped-call]
    loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
    authorization = configuration.api_key.get("BearerToken")
    files = [each for each in (configuration.cert_file, configuration.key_file) if each]
    if authorization is None and not files:  # the package has printed the reason
        return 1
    expiry = getattr(loader, "expiry", None)
    found = {
        "authorization": authorization,
        "certificate": "\n".join([Path(each).read_text() for each in files]) or None,
        "good_for_s": max(1.0, expiry.timestamp() - time.time() - _EARLY_S) if expiry else None,
    }
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(_main(*sys.argv[1:]))
    except Exception as error:  # the package raises what its parsing of any content happens to run into
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
