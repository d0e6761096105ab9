"""Ten thousand random requests: nobody gets an error of the server's, and nobody is harmed.

schemathesis makes what the description of the site's own pages (surface.yaml) suggests, and the
opposite; the greater number are requests of our own (fuzz.py), which go over raw connections.
"""

import json
import random
import re
import time
from pathlib import Path

import pytest
from edge import (
    Log,
    Recorder,
    SecondProxy,
    Victim,
    has_notes,
    log_in_headers,
    slowest,
    stranger_headers,
)
from fuzz import Fuzzer, Results, fuzz
from raw_http import Edge
from report import Evidence
from stack import NativeStack
from tools import tool, version

pytest_plugins = ["siege"]

pytestmark = [
    pytest.mark.proof,
    pytest.mark.native,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("victim"),  # whose data are there before everything else
]

SURFACE = Path(__file__).parent / "surface.yaml"
RANDOM_REQUESTS = 10_000
# gunicorn's line of a request: "GET /path HTTP/1.1" 200
ANSWERED = re.compile(r'"(\S+) \S+ HTTP/[\d.]+" (\d{3}) ')


def paths(native: NativeStack) -> list[str]:
    """The paths of the description, without the sample app's if it is not there."""
    described = re.findall(r"(?m)^  (/\S*):$", SURFACE.read_text())
    return [path for path in described if has_notes(native) or not path.startswith("/notes/")]


def errors_in(log: Log) -> list[str]:
    """Lines of requests that the application answered with 5xx."""
    lines = (line for line in log.text.splitlines() if ANSWERED.search(line))
    return [line for line in lines if int(ANSWERED.search(line)[2]) >= 500]  # type: ignore[index]


def test_every_page_is_described(native: NativeStack, foreign: bool) -> None:
    """The description has the patterns of config/urls.py, but for the many of the admin."""
    code = (
        "import json\n"
        "from django.urls import get_resolver\n"
        "def flat(patterns, before=''):\n"
        "    for each in patterns:\n"
        "        path = before + str(each.pattern)\n"
        "        if hasattr(each, 'url_patterns'):\n"
        "            yield from flat(each.url_patterns, path)\n"
        "        else:\n"
        "            yield path\n"
        "print(json.dumps(sorted(flat(get_resolver().url_patterns))))"
    )
    found = {re.sub(r"<int:\w+>", "{id}", path) for path in json.loads(native.shell(code))}
    described = {path.removeprefix("/") for path in paths(native)}
    missing = {path for path in found - described if not path.startswith("admin/")}
    if foreign and missing:
        pytest.skip(f"pages of the project's own, which surface.yaml does not describe: {missing}")
    assert missing == set()


@pytest.mark.usefixtures("edge")
def test_schemathesis(native: NativeStack, evidence: Evidence, tmp_path: Path) -> None:
    log = Log(native)
    report = tmp_path / "report.ndjson"
    headers = [line for line in log_in_headers(native).split("\r\n") if "Origin" not in line]
    named = [word for line in headers for word in ("-H", line)]
    run = tool(
        "schemathesis",
        *("schemathesis", "--no-color", "run", SURFACE, "--url", native.url),
        *("--tls-verify", native.ca, "--workers", 4, "--seed", 1, "--max-redirects", 0),
        *("--checks", "not_a_server_error", "--phases", "fuzzing", "--max-examples", 20),
        *("--no-shrink", "--continue-on-failure", "--warnings", "off"),
        *("--suppress-health-check", "all", "--request-timeout", 20),
        *("--report", "ndjson", "--report-ndjson-path", report),
        *named,
        # It would end the session of all that follow.
        *("--exclude-path", "/accounts/logout/"),
        *(() if has_notes(native) else ("--exclude-path-regex", "^/notes/")),
        cwd=tmp_path,
    )
    generated = re.search(r"(\d+) generated", run.stdout)
    count = int(generated[1]) if generated else 0
    failed, errors = re.findall(r"\d+ found \d+ unique failures?", run.stdout), errors_in(log)
    evidence.version("schemathesis", version("schemathesis"))
    evidence.line(
        "edge",
        subject="Random requests",
        tried=f"{count} of schemathesis, logged in",
        expected="4xx or closed, never 5xx",
        seen=f"{failed or 'no failure'}; {len(errors)} lines of 5xx in the log",
    )
    evidence.figure("edge", "requests sent", count)
    evidence.figure("edge", "5xx answers", len(errors))
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert count >= 400
    assert errors == []


def test_random_requests(native: NativeStack, edge: Edge, evidence: Evidence) -> None:
    log, seed = Log(native), random.randrange(2**32)  # noqa: S311
    visitors = [log_in_headers(native), stranger_headers(native)]
    host = f"localhost:{edge.port}"
    known = [path for path in paths(native) if "logout" not in path]

    def make(number: int) -> Fuzzer:
        return Fuzzer(seed + number, known, visitors, host)

    results = fuzz(edge, make, RANDOM_REQUESTS)
    # What nobody waited for is answered soon, too.
    before = -1
    while before != (before := len(log.lines("request_finished"))):
        time.sleep(1)
    judge(evidence, results, log, seed)
    # Pages were really reached, not only refused.
    assert results.answers["200"] > RANDOM_REQUESTS / 20
    assert results.answers["302"] > 100


def judge(evidence: Evidence, results: Results, log: Log, seed: int) -> None:
    errors = errors_in(log)
    count = sum(results.sent.values())
    answers = ", ".join(f"{word}: {number}" for word, number in results.answers.most_common())
    kinds = ", ".join(f"{kind}: {number}" for kind, number in results.sent.items())
    evidence.line(
        "edge",
        subject="Random requests",
        tried=f"{count} of our own ({kinds}; seed {seed})",
        expected="4xx or closed, never 5xx",
        seen=f"{answers}; {len(errors)} lines of 5xx in the log",
    )
    evidence.figure("edge", "requests sent", count)
    evidence.figure("edge", "5xx answers", len(results.server_errors))
    assert results.server_errors == []
    assert errors == []


def test_control_an_error_of_the_server_is_found(native: NativeStack, tmp_path: Path) -> None:
    """A proxy before nothing answers 502, and the same requests find it."""
    with Recorder(native) as recorder:
        proxy = SecondProxy(native, tmp_path / "second", recorder.port)
    with proxy.running() as before:
        results = fuzz(before, lambda number: Fuzzer(number, ["/"], ["X: y"], "localhost"), 40)
    assert results.server_errors
    assert results.answers["502"] > 5


# Afterwards: behind test_edge.py and test_edge_slow.py --------------------------------------------


def test_afterwards_all_is_as_it_was(
    native: NativeStack, victim: Victim, evidence: Evidence
) -> None:
    """Every hop holds, and nobody's rows and files have changed."""
    changed, verification = victim.changed(), native.verify()
    if slowest:
        evidence.figure("edge", "slowest /livez in ms", max(slowest))
    evidence.line(
        "edge",
        subject="Afterwards",
        tried="rows and files of those who did nothing; verify_encryption",
        expected="unchanged; every hop holds",
        seen=f"{changed or 'unchanged'}; {verification.short or 'every hop holds'}",
    )
    assert changed == {}
    assert verification.short == {}
    assert verification.exit_status == 0


def test_control_a_change_is_seen(native: NativeStack, victim: Victim) -> None:
    native.shell(f"User.objects.filter(pk={victim.number}).update(is_active=False)")
    try:
        assert set(victim.changed()) == {"users.user"}
    finally:
        native.shell(f"User.objects.filter(pk={victim.number}).update(is_active=True)")
    assert victim.changed() == {}
