"""asvs.toml, for the report and for docs/asvs.md (`python tests/proof/asvs.py` writes it)."""

import tomllib
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "asvs.toml"
DOCUMENT = Path(__file__).parents[2] / "docs" / "asvs.md"

INTRODUCTION = """\
# ASVS 5.0, chapter V12

What [OWASP ASVS 5.0](https://owasp.org/www-project-application-security-verification-standard/)
asks of secure communication, what answers it in a generated project, and the tests that show it.
The requirements are told in our words; the standard's are in
[its repository](https://github.com/OWASP/ASVS/tree/v5.0.0/5.0). `make proof` says of each whether
its tests passed. Tests under `tests` at the top belong to the template, the others to the
generated project.

This page is written from `tests/proof/asvs.toml`.
"""


def requirements() -> list[dict[str, Any]]:
    """Return each requirement's id, level, text, answer, tests and exception ("" if none)."""
    entries = tomllib.loads(TABLE.read_text(encoding="utf-8"))["requirement"]
    return [{"exception": "", **entry} for entry in entries]


def document() -> str:
    """Return the text of docs/asvs.md."""
    return INTRODUCTION + "".join(map(_section, requirements()))


def _section(requirement: dict[str, Any]) -> str:
    parts = [
        f"## {requirement['id']} (level {requirement['level']})",
        f"*{requirement['text']}*",
        requirement["answer"],
    ]
    if requirement["exception"]:
        parts.append(f"**Exception:** {requirement['exception']}")
    if requirement["tests"]:
        parts.append("\n".join(f"- `{_short(test)}`" for test in requirement["tests"]))
    return "".join(f"\n{part}\n" for part in parts)


def _short(test: str) -> str:
    return test.replace("{{cookiecutter.project_slug}}/tests/", "my-project/tests/")


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
