"""Gets the credentials for an API server with the `kubernetes` package, in a separate process that exits soon.

The package supports credential programs (`exec`) and authentication providers, which are rare. The command of the
process is `python -m pydns.control.login KUBECONFIG CONTEXT`. An empty CONTEXT means the current context. The process
prints the credentials as JSON.
"""

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from pydns.log import one_line

_LONGEST_S = 60.0  # the time limit for the process, long enough for credential programs that ask a server
_EARLY_S = 10.0  # credentials are renewed this long before they expire


class Credentials(NamedTuple):
    """The credentials with which the controller authenticates to the API server."""

    authorization: str | None = None  # value of the HTTP header Authorization
    certificate: bytes | None = None  # certificate chain and key, in PEM
    good_for_s: float = math.inf  # the credentials are read again after this time


class LoginError(Exception):
    """The login failed. The message of this error is one line with the reason."""


def run(kubeconfig: Path, context: str | None) -> Credentials:
    """Start the process and return the credentials that it prints. Raises `LoginError`."""
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
    if authorization is None and not files:  # the package has already printed the reason
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
    except Exception as error:  # unexpected content makes the package raise exceptions of any type
        sys.exit(one_line(error))
