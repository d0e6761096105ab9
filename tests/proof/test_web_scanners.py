"""MDN's HTTP Observatory on the site's pages, gixy and `nginx -t` on NGINX's configuration.

The scanners also look at a weak server, where they must find what is wrong with it.
"""

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from findings import Finding, judge
from observatory import Observed, install, observe
from observatory import version as observatory_version
from report import Evidence
from stack import DockerStack, NativeStack
from tools import tool, version
from visitor import Site
from weak_site import WeakSite, weak_site

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeakSite]:
    with weak_site(tmp_path_factory.mktemp("weak")) as site:
        yield site


# HTTP Observatory --------------------------------------------------------------------------

PAGES = ("/", "/accounts/login/", "/accounts/password/")  # the last one after logging in

# What no page of a new project can score: a private name is on no browser's list of HSTS
# hosts, and there are no scripts whose integrity could be checked.
BEST = 130


@pytest.fixture(scope="module")
def observatory() -> None:
    install()


@pytest.fixture(scope="module")
def session(native: NativeStack) -> str:
    """The session cookie of somebody who has just signed up and logged in."""
    site, password = Site(native), secrets.token_hex()
    email = f"{secrets.token_hex(4)}@example.com"
    site.post("/accounts/signup/", email=email, password1=password, password2=password)
    assert email in site.log_in(email, password)
    [cookie] = [cookie for cookie in site.cookies if "session" in cookie.name]
    return f"{cookie.name}={cookie.value}"


@pytest.mark.native
@pytest.mark.usefixtures("observatory")
@pytest.mark.parametrize("page", PAGES)
def test_observatory_gives_full_marks(
    page: str, native: NativeStack, session: str, evidence: Evidence
) -> None:
    ports = int(native.addresses["HTTP_PORT"]), int(native.addresses["HTTPS_PORT"])
    cookie = session if page == PAGES[-1] else ""
    seen = observe(*ports, page, native.ca, cookie)
    _say(evidence, page, f"a score of {BEST} or better, no penalty", seen)
    evidence.version("HTTP Observatory", observatory_version())
    evidence.figure("scanners", f"Observatory score, {page}", seen.score)
    assert (seen.status, seen.verified) == (200, True)
    assert _penalties(seen) == {}
    assert seen.score >= BEST


@pytest.mark.native
@pytest.mark.usefixtures("observatory")
def test_observatory_finds_a_weak_server(weak: WeakSite, evidence: Evidence) -> None:
    seen = observe(weak.http, weak.https, "/", weak.ca)
    _say(evidence, "a weak server", "it finds what is wrong", seen)
    assert set(_penalties(seen)) >= {
        "content-security-policy",
        "redirection",
        "strict-transport-security",
        "x-content-type-options",
        "x-frame-options",
    }
    assert seen.score < 50


def _penalties(seen: Observed) -> dict[str, str]:
    return {
        name: result
        for name, (result, passed, modifier) in seen.tests.items()
        if modifier < 0 or not passed
    }


def _say(evidence: Evidence, subject: str, expected: str, seen: Observed) -> None:
    results = ", ".join(f"{result} {modifier:+}" for result, _, modifier in seen.tests.values())
    evidence.line(
        "scanners",
        subject=f"HTTP Observatory: {subject}",
        tried=f"{len(seen.tests)} tests of headers, cookies, redirection",
        expected=expected,
        seen=f"{seen.score}: {results}",
    )


# Headers of what is not a page ----------------------------------------------------------------

EVERYWHERE = {
    "strict-transport-security": "max-age=63072000; includeSubDomains; preload",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
ANSWERS = {
    "a page": (200, "/"),
    "a page that does not exist": (404, "/nowhere/"),
    "a redirection": (301, "/admin"),
    "the style sheet": (200, "/static/site.css"),
    "the probe of a load balancer": (200, "/livez"),
    "a refusal by NGINX": (413, "/", "--data", "", "--header", "Content-Length: 99999999"),
}


@pytest.mark.native
@pytest.mark.parametrize("what", ANSWERS)
def test_every_answer_has_the_headers_once(
    what: str, native: NativeStack, evidence: Evidence, foreign: bool
) -> None:
    status, path, *options = ANSWERS[what]
    ask = ("curl", "--noproxy", "*", "--silent", "--http1.1", "--dump-header", "-")
    quiet = ("--output", "/dev/null", "--cacert", str(native.ca))
    said = subprocess.run(
        [*ask, *quiet, *map(str, options), f"{native.url}{path}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    first, *lines = said.stdout.strip().lower().splitlines()
    headers = [line.split(": ", 1) for line in lines]
    wanted = [[name, value.lower()] for name, value in EVERYWHERE.items()]
    missing = [name for name, value in wanted if headers.count([name, value]) != 1]
    evidence.line(
        "scanners",
        subject=f"headers: {what}",
        tried=f"a request of {path}",
        expected=", ".join(EVERYWHERE) + ": once each",
        seen=f"missing or twice: {', '.join(missing)}" if missing else "as expected",
    )
    assert f" {status} " in f"{first} " or foreign
    assert missing == []


# NGINX's configuration -------------------------------------------------------------------


def gixy(where: str, conf: Path, *options: object) -> list[Finding]:
    """Return what gixy says of a configuration."""
    said = tool("gixy", "gixy", "--format", "json", *options, conf, cwd=conf.parent)
    assert said.stdout.startswith("["), said.stderr
    found = json.loads(said.stdout)
    assert bool(found) == bool(said.returncode), said.stderr
    return [
        Finding("gixy-ng", each["plugin"], where, f"{each['summary']} {each['reason']}")
        for each in found
    ]


def nginx_of(project: Path) -> str:
    """Return the version of NGINX in the proxy's image."""
    dockerfile = (project / "services" / "nginx" / "Dockerfile").read_text()
    found = re.search(r"^FROM .*nginx:(\d+\.\d+\.\d+)", dockerfile, re.M)
    assert found, dockerfile
    return found[1]


@pytest.mark.native
def test_gixy_finds_nothing(native: NativeStack, evidence: Evidence, foreign: bool) -> None:
    """Neither in the configuration nor, as far as it uses what is broken, in that NGINX."""
    release = nginx_of(native.project)
    conf = native.state / "run-proxy" / "nginx.conf"
    judged = judge("gixy-ng", gixy("nginx.conf", conf, "--nginx-version", release))
    evidence.version("gixy-ng", version("gixy-ng"))
    evidence.figure("scanners", "findings, gixy-ng", len(judged.new))
    evidence.figure("scanners", "acknowledged, gixy-ng", len(judged.answered))
    evidence.line(
        "scanners",
        subject="gixy-ng: nginx.conf of the running proxy",
        tried=f"all checks; known weaknesses of NGINX {release}, which the image has",
        expected="no finding",
        seen="; ".join(map(str, judged.new)) or "no finding",
    )
    assert judged.new == []
    assert judged.stale == [] or foreign


@pytest.mark.native
def test_gixy_finds_a_weak_configuration(weak: WeakSite, evidence: Evidence) -> None:
    found = gixy("weak", weak.conf, "--nginx-version", "1.29.0")
    rules = {finding.rule for finding in found}
    evidence.line(
        "scanners",
        subject="gixy-ng: a weak configuration",
        tried="the same checks of a server that lets out of its folder, in an old NGINX",
        expected="it finds what is wrong",
        seen=", ".join(sorted(rules)),
    )
    assert rules >= {
        "alias_traversal",
        "hsts_header",
        "nginx_cves",
        "version_disclosure",
        "weak_ssl_tls",
    }


@pytest.mark.native
def test_nginx_accepts_its_configuration(native: NativeStack, evidence: Evidence) -> None:
    folder = native.state / "run-proxy"
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    command = [nginx, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-t"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    _judge_nginx(evidence, "native", said)


@pytest.mark.docker
def test_nginx_in_the_image_accepts_its_configuration(
    docker: DockerStack, evidence: Evidence
) -> None:
    test = ("nginx", "-e", "stderr", "-p", "/run/nginx", "-c", "/run/nginx/nginx.conf", "-t")
    command = ["docker", "compose", "exec", "-T", "proxy", *test]
    said = subprocess.run(
        command,
        cwd=docker.project,
        env=docker.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    _judge_nginx(evidence, "docker", said)


def _judge_nginx(evidence: Evidence, mode: str, said: subprocess.CompletedProcess[str]) -> None:
    evidence.line(
        "scanners",
        subject=f"nginx -t: {mode}",
        tried="the configuration of the running proxy",
        expected="it is accepted without a warning",
        seen=said.stderr.strip(),
    )
    assert said.returncode == 0, said.stderr
    assert not re.search(r"\[(warn|error|crit|alert|emerg)\]", said.stderr), said.stderr


def test_nginx_refuses_a_configuration_with_a_fault(weak: WeakSite, tmp_path: Path) -> None:
    conf = tmp_path / "nginx.conf"
    conf.write_text(weak.conf.read_text().replace("server_tokens on", "server_tokens maybe not"))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    command = [nginx, "-e", "stderr", "-p", str(tmp_path), "-c", str(conf), "-t"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert said.returncode != 0
    assert "[emerg]" in said.stderr
