"""sslyze on every TLS port, testssl.sh on the edge: no finding but those acknowledged.

Both also scan a weak server, where they must find what is wrong with it.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from findings import Finding, Judged, judge
from report import Evidence
from stack import NativeStack
from tools import tool, version
from weak_site import WeakSite, weak_site

pytestmark = [pytest.mark.proof, pytest.mark.native, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeakSite]:
    with weak_site(tmp_path_factory.mktemp("weak")) as site:
        yield site


def settle(
    evidence: Evidence, name: str, where: str, tried: str, findings: Iterable[Finding]
) -> tuple[Judged, list[str]]:
    """Judge what a scanner found at one place, and say it in the report.

    Return it with the acknowledgements for this place that nothing needs any more.
    """
    judged = judge(name, findings)
    answers = [f"{finding.rule}: {answer.reason}" for finding, answer in judged.answered]
    evidence.line(
        "scanners",
        subject=f"{name}: {where}",
        tried=tried,
        expected="no finding, or acknowledged with a reason",
        seen="; ".join([*map(str, judged.new), *(f"acknowledged {each}" for each in answers)])
        or "no finding",
    )
    evidence.figure("scanners", f"findings, {name}", len(judged.new))
    evidence.figure("scanners", f"acknowledged, {name}", len(judged.answered))
    return judged, [each.rule for each in judged.stale if fnmatchcase(where, each.where)]


# sslyze ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Port:
    """A TLS port of the stack, and the guideline that is right for its clients."""

    hop: str
    variable: str
    guideline: str = "intermediate"
    options: Sequence[str] = ()


# Only a server of HTTP can be asked for early data: the scan sends a request.
HTTP = ["--early_data"]
PORTS = (
    Port("edge", "HTTPS_PORT", options=HTTP),
    # Only this project's own proxy connects here, with a certificate.
    Port("gunicorn", "GUNICORN_ADDRESS", "modern", [*HTTP, "--sni", "app.internal"]),
    Port("database", "DATABASE_PORT", options=["--starttls", "postgres"]),
    Port("cache", "CACHE_PORT"),
    Port("aws", "AWS_PORT", options=HTTP),
)


def sslyze(
    where: str, target: str, guideline: str, ca: Path, folder: Path, options: Sequence[object] = ()
) -> list[Finding]:
    """Scan a server; return how it differs from Mozilla's guideline, and what else is wrong."""
    out = folder / "sslyze.json"
    trust = ("--certinfo_ca_file", ca)
    scan = ("--mozilla_config", guideline, *trust, "--json_out", out)
    said = tool("sslyze", "sslyze", *scan, *options, target, cwd=folder)
    differs = re.findall(
        r"^ {8}\* (\w+): (.+)$", said.stdout.partition("COMPLIANCE AGAINST")[2], re.M
    )
    complete = "OK - Compliant" in said.stdout or "FAILED - Not compliant" in said.stdout
    assert complete, said.stdout + said.stderr
    assert bool(differs) == bool(said.returncode), said.stdout
    [server] = json.loads(out.read_text())["server_scan_results"]
    attempts = server["scan_result"]
    states = {attempt["status"] for attempt in attempts.values()}
    assert states <= {"COMPLETED", "NOT_SCHEDULED"}, said.stdout + said.stderr
    results = {name: attempt["result"] for name, attempt in attempts.items()}
    return [
        Finding("sslyze", rule, where, text) for rule, text in [*differs, *_beyond(results, ca)]
    ]


def _beyond(results: dict[str, Any], ca: Path) -> Iterator[tuple[str, str]]:
    """Yield what sslyze sees and Mozilla's guideline does not speak of."""
    early = results["tls_1_3_early_data"]
    if early and early["supports_early_data"]:
        yield "early_data", "TLS 1.3 early data can be replayed"
    if results["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"]:
        yield "client_renegotiation", "a client may renegotiate again and again"
    if not results["robot"]["robot_result"].startswith("NOT_VULNERABLE"):
        yield "robot", results["robot"]["robot_result"]
    for each in results["certificate_info"]["certificate_deployments"]:
        validations = each["path_validation_results"]
        if not any(
            validation["was_validation_successful"]
            for validation in validations
            if validation["trust_store"]["path"] == str(ca)
        ):
            yield "trust", "the CA did not sign this certificate, for this name"
        if each["received_chain_contains_anchor_certificate"]:
            yield "anchor_sent", "the CA's certificate is sent, which the client has"
        if each["received_chain_has_valid_order"] is False:
            yield "chain_order", "the certificates are in the wrong order"
        if each["verified_chain_has_sha1_signature"]:
            yield "sha1", "the chain has a SHA-1 signature"


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.hop)
def test_sslyze_finds_nothing(
    port: Port, native: NativeStack, evidence: Evidence, foreign: bool, tmp_path: Path
) -> None:
    address = native.addresses[port.variable]
    target = address if ":" in address else f"localhost:{address}"
    options: list[object] = [*port.options]
    if port.hop == "gunicorn":
        client = native.project / ".local" / "certs" / "proxy" / "client"
        options += ["--cert", client.with_suffix(".crt"), "--key", client.with_suffix(".key")]
    found = sslyze(port.hop, target, port.guideline, native.ca, tmp_path, options)
    evidence.version("sslyze", version("sslyze"))
    tried = f'Mozilla\'s guideline 5.7, "{port.guideline}"; known weaknesses of TLS'
    judged, stale = settle(evidence, "sslyze", port.hop, tried, found)
    assert judged.new == []
    assert stale == [] or foreign


def test_sslyze_knows_every_port_of_the_stack(native: NativeStack) -> None:
    assert {port.variable for port in PORTS} | {"HTTP_PORT"} == set(native.addresses)


def test_sslyze_finds_a_weak_server(
    weak: WeakSite, native: NativeStack, evidence: Evidence, tmp_path: Path
) -> None:
    """The certificate is also of a CA that the scanner was not told of."""
    found = sslyze("weak", f"localhost:{weak.https}", "intermediate", native.ca, tmp_path)
    rules = {finding.rule for finding in found}
    evidence.line(
        "scanners",
        subject="sslyze: a weak server",
        tried="the same scan of a server with TLS 1.0, CBC and another CA",
        expected="it finds what is wrong",
        seen=", ".join(sorted(rules)),
    )
    expected = {"tls_versions", "ciphers", "tls_curves", "maximum_certificate_lifespan", "trust"}
    assert rules >= expected


# testssl.sh ------------------------------------------------------------------------------

# Of Debian 12. Another version has other findings: read them, then name it here.
TESTSSL = "3.0.8"
SEVERITIES = {"LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL", "WARN"}
# The project renews its certificates 20 days before they end (scripts/certs).
RENEWAL = {"DAYS2WARN1": "20", "DAYS2WARN2": "7"}
# Everything but simulated browsers, which have no severity.
SECTIONS = ("-p", "-s", "-f", "-P", "-S", "-h", "-U")


@pytest.fixture(scope="module")
def testssl() -> str:
    """The program; Debian's package leaves ".sh" out."""
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    if not program:
        pytest.skip("testssl.sh is not installed")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"testssl(?:\.sh)? +(\S+) from", re.sub(r"\x1b\[[\d;]*m", "", said.stdout))
    assert found, said.stdout
    if found[1] != TESTSSL:
        pytest.skip(f"testssl.sh is {found[1]}; the acknowledged findings are those of {TESTSSL}")
    return program


def scan(
    testssl: str, where: str, port: int, ca: Path, folder: Path, *sections: str
) -> tuple[int, list[Finding]]:
    """Return how many checks testssl.sh made of a port, and what it complained of."""
    out = folder / "testssl.json"
    quiet = ("--quiet", "--color", "0", "--warnings", "off", "--nodns", "none")
    patience = ("--connect-timeout", "10", "--openssl-timeout", "10")
    trust = ("--add-ca", str(ca), "--jsonfile", str(out))
    said = subprocess.run(
        [testssl, *quiet, *patience, *trust, *sections, f"localhost:{port}"],
        cwd=folder,
        env={"PATH": f"{Path(testssl).parent}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", **RENEWAL},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert out.exists(), said.stdout + said.stderr
    checks = json.loads(out.read_text())
    assert any(check["id"] == "scanTime" for check in checks), said.stdout + said.stderr
    return len(checks), [
        Finding("testssl.sh", check["id"], where, f"{check['severity']}: {check['finding']}")
        for check in checks
        if check["severity"] in SEVERITIES
    ]


def test_testssl_finds_nothing_at_the_edge(
    testssl: str, native: NativeStack, evidence: Evidence, foreign: bool, tmp_path: Path
) -> None:
    port = int(native.addresses["HTTPS_PORT"])
    checks, found = scan(testssl, "edge", port, native.ca, tmp_path, *SECTIONS)
    evidence.version("testssl.sh", TESTSSL)
    evidence.figure("scanners", "checks, testssl.sh", checks)
    tried = f"{checks} checks of protocols, ciphers, certificate, headers, vulnerabilities"
    judged, stale = settle(evidence, "testssl.sh", "edge", tried, found)
    assert checks > 60
    assert judged.new == []
    assert stale == [] or foreign


def test_testssl_finds_a_weak_server(
    testssl: str, weak: WeakSite, native: NativeStack, evidence: Evidence, tmp_path: Path
) -> None:
    _, found = scan(testssl, "weak", weak.https, native.ca, tmp_path, "-p", "-h")
    rules = {finding.rule for finding in found}
    evidence.line(
        "scanners",
        subject="testssl.sh: a weak server",
        tried="the same scan of a server with TLS 1.0 and no headers",
        expected="it finds what is wrong",
        seen=", ".join(sorted(rules)),
    )
    assert rules >= {"TLS1", "TLS1_1", "HSTS"}
