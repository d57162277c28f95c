"""DNS over TLS with private authorities, with client certificates, and with certificates that must be refused."""

import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.forwarding import Fake, config
from tests.running import Server
from tests.waiting import until

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Files:
    """Certificates and keys, as an operator mounts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.stranger = trustme.CA(), trustme.CA()
        self.authority.cert_pem.write_to_path(self["ca.pem"])
        ours = self.authority.issue_cert("pydns.example")
        ours.private_key_and_cert_chain_pem.write_to_path(self["both.pem"])
        ours.cert_chain_pems[0].write_to_path(self["certificate.pem"])
        ours.private_key_pem.write_to_path(self["key.pem"])
        strange = self.stranger.issue_cert("pydns.example")
        strange.private_key_and_cert_chain_pem.write_to_path(self["strange.pem"])

    def __getitem__(self, file: str) -> str:
        return str(self.folder / file)

    def context(self, leaf: trustme.LeafCert, *, wants_ours: bool = False) -> ssl.SSLContext:
        """Return the TLS context of a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        if wants_ours:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("certificates"))


class Running:
    """A pydns with one upstream over TLS."""

    def __init__(self, tmp_path: Path, written: Mapping[str, Any]) -> None:
        (tmp_path / "manifests").mkdir()
        (tmp_path / "config.yaml").write_text(repr(dict(written)))  # the text is also valid YAML
        source = ["--manifests", str(tmp_path / "manifests"), "--config", str(tmp_path / "config.yaml")]
        self.server = Server(source, tmp_path / "state")

    def reasons(self) -> set[str]:
        """Wait for the log to contain a reason, and return all reasons."""

        def failures() -> list[str]:
            return self.server.logged("connection to upstream failed")

        until(failures, 60)
        return {line.split("reason=")[1].strip().strip('"') for line in failures()}


@pytest.fixture
def start(tmp_path: Path, fake: Fake) -> Iterator[Any]:
    started: list[Running] = []

    def begin(context: ssl.SSLContext, **tls: str) -> Running:
        how = {"transport": "tls", "server_name": "dns.example"} | ({"tls": tls} if tls else {})
        started.append(Running(tmp_path, config(fake(tls=context), **how)))
        return started[-1]

    yield begin
    for each in started:
        each.server.end()


def test_the_key_tls_ca_makes_pydns_trust_a_private_authority(start: Any, files: Files) -> None:
    running = start(files.context(files.authority.issue_cert("dns.example")), ca=files["ca.pem"])
    assert running.server.ask("www.example.com", timeout_s=30) == "1.2.3.4"


@pytest.mark.parametrize("names", [{"certificate": "both.pem"}, {"certificate": "certificate.pem", "key": "key.pem"}])
def test_pydns_sends_its_certificate_to_a_server_that_requests_one(
    start: Any, files: Files, names: dict[str, str]
) -> None:
    context = files.context(files.authority.issue_cert("dns.example"), wants_ours=True)
    running = start(context, ca=files["ca.pem"], **{key: files[file] for key, file in names.items()})
    assert running.server.ask("www.example.com", timeout_s=30) == "1.2.3.4"


REFUSED = {
    "an unknown authority": ("unknown", {}, "its certificate is refused: unable to get local issuer certificate"),
    "an expired certificate": ("expired", {"ca": "ca.pem"}, "its certificate is refused: certificate has expired"),
    "another name": (
        "other",
        {"ca": "ca.pem"},
        "its certificate is refused: Hostname mismatch, certificate is not valid for 'dns.example'",
    ),
    "no certificate of ours": ("wants ours", {"ca": "ca.pem"}, "TLS failed: TLSV13_ALERT_CERTIFICATE_REQUIRED"),
    "a certificate of ours of an unknown authority": (
        "wants ours",
        {"ca": "ca.pem", "certificate": "strange.pem"},
        "TLS failed: TLSV1_ALERT_UNKNOWN_CA",
    ),
    "a missing file": ("good", {"ca": "none.pem"}, "{folder}/none.pem can't be used: No such file or directory"),
    "a certificate without its key": (
        "good",
        {"ca": "ca.pem", "certificate": "certificate.pem"},
        "{folder}/certificate.pem can't be used: it lacks a certificate or a key in PEM",
    ),
}


@pytest.mark.parametrize(("server", "tls", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_connection_that_fails_is_reported_with_its_reason(
    start: Any, files: Files, server: str, tls: dict[str, str], reason: str
) -> None:
    context = {
        "good": lambda: files.context(files.authority.issue_cert("dns.example")),
        "unknown": lambda: files.context(files.stranger.issue_cert("dns.example")),
        "expired": lambda: files.context(files.authority.issue_cert("dns.example", not_after=LONG_AGO)),
        "other": lambda: files.context(files.authority.issue_cert("other.example")),
        "wants ours": lambda: files.context(files.authority.issue_cert("dns.example"), wants_ours=True),
    }[server]()
    running = start(context, **{key: files[file] for key, file in tls.items()})
    assert running.server.ask("www.example.com", timeout_s=30) == "rcode 2"
    wanted = {reason.format(folder=files.folder)}
    if server == "wants ours":  # the server closes the connection during our write, so its alert may be lost
        wanted.add("Connection reset by peer")
    assert running.reasons() <= wanted
    until(lambda: any(each in running.server.status() for each in wanted), 30, running.server.status)
