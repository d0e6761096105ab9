"""What a scanner finds, and the findings that `acknowledged.toml` answers with a reason."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ACKNOWLEDGED = Path(__file__).parent / "acknowledged.toml"


@dataclass(frozen=True, order=True)
class Finding:
    """One complaint of one tool."""

    tool: str
    rule: str
    where: str  # a file in the project, a port, an image
    text: str = ""

    def __str__(self) -> str:
        return f"{self.tool} {self.rule} ({self.where}): {self.text}"


@dataclass(frozen=True)
class Acknowledgement:
    """A finding that stays, and why. `where` may have wildcards, as file names have."""

    tool: str
    rule: str
    where: str
    reason: str

    def answers(self, finding: Finding) -> bool:
        same = (self.tool, self.rule) == (finding.tool, finding.rule)
        return same and fnmatchcase(finding.where, self.where)


def acknowledgements(tool: str, path: Path = ACKNOWLEDGED) -> list[Acknowledgement]:
    """Return what the file says of a tool. Raises `ValueError` for an entry without a reason."""
    found = [Acknowledgement(**each) for each in tomllib.loads(path.read_text())["finding"]]
    for each in found:
        if len(each.reason.split()) < 4:
            raise ValueError(f"{path}: {each.tool} {each.rule} has no reason.")
    return [each for each in found if each.tool == tool]


@dataclass(frozen=True)
class Judged:
    """The findings of one tool, beside what is acknowledged."""

    found: list[Finding]
    new: list[Finding]
    answered: list[tuple[Finding, Acknowledgement]]
    stale: list[Acknowledgement]


def judge(tool: str, findings: Iterable[Finding], path: Path = ACKNOWLEDGED) -> Judged:
    """Compare what a tool found with what is acknowledged.

    Findings without an answer, and answers without a finding, must both be empty.
    """
    found, known = sorted(set(findings)), acknowledgements(tool, path)
    answered = [(each, answer) for each in found for answer in known if answer.answers(each)]
    used = {answer for _, answer in answered}
    return Judged(
        found=found,
        new=[each for each in found if each not in {finding for finding, _ in answered}],
        answered=answered,
        stale=[answer for answer in known if answer not in used],
    )
