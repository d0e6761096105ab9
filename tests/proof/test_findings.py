"""What is acknowledged, and what is not, of the findings of scanners."""

from pathlib import Path

import pytest
from findings import ACKNOWLEDGED, Acknowledgement, Finding, acknowledgements, judge

REASON = "It is so on purpose."
SQL = Finding("bandit", "B608", "apps/a.py f", "line 3")
SHELL = Finding("bandit", "B602", "apps/a.py f", "line 9")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that acknowledges two findings, of two tools."""
    path = tmp_path / "acknowledged.toml"
    write(path, ("bandit", "B608", "apps/a.py *"), ("hadolint", "DL3008", "services/*/Dockerfile"))
    return path


def write(path: Path, *entries: tuple[str, str, str], reason: str = REASON) -> None:
    lines = []
    for tool, rule, where in entries:
        values = {"tool": tool, "rule": rule, "where": where, "reason": reason}
        lines += ["[[finding]]", *(f'{name} = "{value}"' for name, value in values.items())]
    path.write_text("\n".join(lines))


def test_an_acknowledged_finding_is_answered(path: Path) -> None:
    judged = judge("bandit", [SQL], path)
    assert judged.found == [SQL]
    assert judged.answered == [(SQL, Acknowledgement("bandit", "B608", "apps/a.py *", REASON))]
    assert judged.new == []
    assert judged.stale == []


@pytest.mark.parametrize(
    "finding",
    [
        SHELL,
        Finding("bandit", "B608", "apps/b.py f"),
        Finding("bandit", "B608", "apps/a.pyx"),
        Finding("bandit", "b608", "apps/a.py f"),
        Finding("semgrep", "B608", "apps/a.py f"),
    ],
    ids=["rule", "file", "more of a name", "upper case", "tool"],
)
def test_another_finding_is_new(finding: Finding, path: Path) -> None:
    assert judge("bandit", [SQL, finding], path).new == [finding]


def test_the_same_finding_twice_counts_once(path: Path) -> None:
    assert judge("bandit", [SQL, SQL], path).found == [SQL]
    again = Finding("bandit", "B608", "apps/a.py f", "line 7")
    assert judge("bandit", [SQL, again], path).found == [SQL, again]


def test_an_answer_without_a_finding_is_stale(path: Path) -> None:
    (stale,) = judge("bandit", [], path).stale
    assert stale.rule == "B608"
    assert judge("bandit", [SHELL], path).stale == [stale]


def test_each_tool_has_its_own_answers(path: Path) -> None:
    assert [each.rule for each in acknowledgements("hadolint", path)] == ["DL3008"]
    assert acknowledgements("gixy", path) == []


@pytest.mark.parametrize("reason", ["", "false positive", "a false positive"])
def test_an_answer_needs_a_reason(reason: str, path: Path) -> None:
    write(path, ("bandit", "B608", "apps/a.py *"), reason=reason)
    with pytest.raises(ValueError, match="bandit B608 has no reason"):
        acknowledgements("hadolint", path)


def test_an_answer_has_no_other_words(path: Path) -> None:
    path.write_text('[[finding]]\ntool = "bandit"\nseverity = "low"\n')
    with pytest.raises(TypeError, match="severity"):
        acknowledgements("bandit", path)


def test_nothing_is_acknowledged_for_every_file() -> None:
    """Each answer names a file, a port or an image, and none is there twice."""
    tools = {
        line.split('"')[1]
        for line in ACKNOWLEDGED.read_text().splitlines()
        if line.startswith("tool = ")
    }
    answers = [each for tool in tools for each in acknowledgements(tool)]
    assert answers
    assert all(each.where.strip("*/. ") and each.rule.strip("*") == each.rule for each in answers)
    keys = [(each.tool, each.rule, each.where) for each in answers]
    assert len(keys) == len(set(keys))


def test_a_finding_reads_well() -> None:
    assert str(SQL) == "bandit B608 (apps/a.py f): line 3"
