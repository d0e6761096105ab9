#!/usr/bin/env python3
"""Writes docs/controls.md: each control of the common catalogues, and what answers it.

    scripts/control_table.py [--check]

From infra/rules/controls.toml, and encryption.toml for those about a hop or store. With
--check nothing is written; it exits 1 if the document is out of date.
"""

import runpy
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ANSWERS = ROOT / "infra" / "rules" / "controls.toml"
LIST = ROOT / "encryption.toml"
DOCUMENT = ROOT / "docs" / "controls.md"
HEAD = """# Controls

What auditors ask for, and what of this project answers it. Written by
`scripts/control_table.py` from `infra/rules/controls.toml` and `encryption.toml`; change those.
Ids without a name of their own (`ELB.1`) are AWS's Foundational Security Best Practices. Tests
are below `infra/tests/`, and fail if what they are named for is no longer so.
"""
TABLE = runpy.run_path(str(ROOT / "scripts" / "hop_table.py"))["table"]


def answer_rows(answers: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of one component."""
    return [
        (
            ", ".join(each["controls"]),
            each.get("met_by", "-"),
            f"`{each['test']}`" if "test" in each else "-",
            each.get("exception", ""),
        )
        for each in answers
    ]


def hop_rows(listed: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row for each control that encryption.toml names, with its hops and stores."""
    met: dict[str, list[str]] = {}
    for kind in ("hop", "aws_hop", "store", "aws_store"):
        for entry in listed.get(kind, []):
            for control in entry["controls"]:
                met.setdefault(control, []).append(f"`{entry['name']}`")
    return [(control, ", ".join(met[control])) for control in sorted(met)]


def text(answers: list[dict[str, Any]], listed: dict[str, Any]) -> str:
    """The document."""
    parts = [HEAD]
    for component in dict.fromkeys(each["component"] for each in answers):
        rows = answer_rows([each for each in answers if each["component"] == component])
        head = ("Controls", "Met by", "Test", "Exception")
        parts.append(f"## {component}\n\n{TABLE(head, rows)}\n")
    parts.append(
        "## Hops and stores\n\nEach is asserted, and probed at run time, under the name that "
        "[encryption.md](encryption.md) gives\nit; exceptions stand there.\n\n"
        f"{TABLE(('Control', 'Hops and stores'), hop_rows(listed))}\n"
    )
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write or check; return the exit status."""
    answers = tomllib.loads(ANSWERS.read_text(encoding="utf-8"))["answer"]
    new = text(answers, tomllib.loads(LIST.read_text(encoding="utf-8")))
    if arguments != ["--check"]:
        DOCUMENT.write_text(new, encoding="utf-8")
    elif not DOCUMENT.is_file() or DOCUMENT.read_text(encoding="utf-8") != new:
        print(f"control_table: {DOCUMENT} is out of date. Run: make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
