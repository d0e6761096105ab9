"""`scripts/hop_table.py`: the tables in the documentation are those of `encryption.toml`."""

import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from config.project import BASE_DIR

SCRIPT = BASE_DIR / "scripts" / "hop_table.py"


@pytest.fixture
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def document(script: dict[str, Any], tmp_path: Path) -> Path:
    """The script works on a copy from here on."""
    copy = tmp_path / "encryption.md"
    copy.write_text(script["DOCUMENT"].read_text())
    script["main"].__globals__["DOCUMENT"] = copy
    return copy


def test_the_documentation_is_up_to_date(script: dict[str, Any]) -> None:
    assert script["main"](["--check"]) == 0


def test_a_difference_is_found_and_written_away(
    script: dict[str, Any], document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = document.read_text()
    stale = good.replace("| `edge` |", "| `edges` |")
    document.write_text(stale)
    assert script["main"](["--check"]) == 1
    assert "does not match encryption.toml. Run: make docs" in capsys.readouterr().err
    assert document.read_text() == stale
    assert script["main"]([]) == 0
    assert document.read_text() == good


def test_a_missing_marker_is_named(
    script: dict[str, Any], document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = document.read_text().replace(script["END"], "")
    document.write_text(text)
    assert script["main"]([]) == 1
    assert "must both be there" in capsys.readouterr().err
    assert document.read_text() == text


def test_every_entry_and_every_exception_is_in_the_tables(script: dict[str, Any]) -> None:
    listed = tomllib.loads(script["LIST"].read_text())
    text = script["tables"](listed)
    kinds = "hop", "store", "aws_hop", "aws_store"
    for entry in (entry for kind in kinds for entry in listed[kind]):
        assert f"| `{entry['name']}` |" in text
        assert ", ".join(entry["controls"]) in text
        assert entry.get("exception", "") in text
    assert "- nothing is excepted." in script["tables"]({})
    assert "a \\| b" in script["table"](["x"], [["a | b"]])
