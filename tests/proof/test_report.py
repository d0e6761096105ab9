"""The report says what the tests saw, and that all is well only if it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from report import Evidence, Ran, Report

PASSES = """
    def test_refused(evidence):
        evidence.line(
            "matrix", subject="Edge: browser", tried="wrong CA", expected="refused", seen="alert"
        )
        evidence.figure("matrix", "cells", 2)
        evidence.version("curl", "8.1")
"""
FAILS = """
    def test_accepted(evidence):
        evidence.line(
            "matrix", subject="Edge: curl", tried="wrong CA", expected="refused", seen="<b>ok</b>"
        )
        evidence.figure("matrix", "cells", 1)
        assert False, "it connected"
"""
SKIPS = """
    import pytest

    def test_engine():
        pytest.skip("no engine")
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs tests and returns the report's text, data and the terminal."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    pytester.makeconftest(
        "import pathlib, reporter\n"
        "pytest_plugins = ['reporter']\n"
        "reporter.FOLDER = pathlib.Path(__file__).parent"
    )

    def run(*modules: str, arguments: tuple[str, ...] = ()) -> tuple[str, dict[str, Any], str]:
        names = [f"test_{number}" for number, _ in enumerate(modules)]
        pytester.makepyfile(**dict(zip(names, modules, strict=True)))
        folder = pytester.path / "proof"
        said = pytester.runpytest_subprocess(f"--report={folder}", "-p", "no:cookies", *arguments)
        page, data = (folder / "proof.html").read_text(), (folder / "proof.json").read_text()
        return page, json.loads(data), said.stdout.str()

    return run


def test_all_as_expected(run: Any) -> None:
    page, data, said = run(PASSES)
    assert data["holds"] is True
    assert data["outcomes"] == {"passed": 1, "failed": 0, "skipped": 0}
    assert data["figures"] == {"matrix": {"cells": 2}}
    assert data["versions"] == {"curl": "8.1"}
    [line] = data["sections"]["matrix"]
    assert line == {
        "section": "matrix",
        "subject": "Edge: browser",
        "tried": "wrong CA",
        "expected": "refused",
        "seen": "alert",
        "test": "test_0.py::test_refused",
        "outcome": "passed",
    }
    assert "Everything that was tried came out as expected: 1 tests." in page
    assert "wrong CA  refused" in said


def test_one_failure_shows_everywhere(run: Any) -> None:
    page, data, said = run(PASSES, FAILS)
    assert data["holds"] is False
    assert data["figures"] == {"matrix": {"cells": 3}}
    assert [line["outcome"] for line in data["sections"]["matrix"]] == ["passed", "failed"]
    assert "This is no proof." in page
    assert "it connected" in page
    assert "&lt;b&gt;ok&lt;/b&gt;" in page
    assert "NOT REFUSED" in page
    assert "NOT REFUSED" in said


@pytest.mark.parametrize(
    ("modules", "arguments"), [((PASSES, SKIPS), ()), ((PASSES, FAILS), ("-k", "test_refused"))]
)
def test_what_did_not_run_is_no_proof(
    modules: tuple[str, ...], arguments: tuple[str, ...], run: Any
) -> None:
    page, data, _ = run(*modules, arguments=arguments)
    assert data["holds"] is False
    assert data["outcomes"]["skipped"] + data["left_out"] == 1
    assert "This is no proof." in page


def test_requirements_have_the_worst_outcome_of_their_tests(tmp_path: Path) -> None:
    report = Report(project={"name": "Mine", "commit": ""})
    for name, outcome in (("a.py::one[x]", "passed"), ("a.py::one[y]", "failed")):
        report.add(Ran(name, outcome, 1.0), Evidence())
    report.add(Ran("b.py::two", "passed", 1.0), Evidence())
    tests = (["a.py::one"], ["b.py"], ["c.py::three"], ["a.py"])
    requirements = [
        {"id": "12.1.1", "level": 1, "text": "", "answer": "", "exception": "", "tests": names}
        for names in tests
    ]
    judged = report.document(requirements)["requirements"]
    assert [(each["outcome"], each["ran"]) for each in judged] == [
        ("failed", 2),
        ("passed", 1),
        ("skipped", 0),
        ("failed", 2),
    ]
    report.write(tmp_path, requirements)
    assert "12.1.1" in (tmp_path / "proof.html").read_text()


def test_a_line_of_no_section_is_refused() -> None:
    with pytest.raises(ValueError, match="'wires' is no section of the report: matrix, "):
        Evidence().line("wires", subject="", tried="", expected="", seen="")
