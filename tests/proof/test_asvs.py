"""asvs.toml is whole, names tests that exist, and docs/asvs.md says the same."""

import ast
from pathlib import Path
from typing import Any

import pytest
from asvs import DOCUMENT, document, requirements
from conftest import ROOT

# Chapter V12 of version 5.0.0, with the level of each requirement.
V12 = {"12.1.1": 1, "12.1.2": 2, "12.1.3": 2, "12.1.4": 3, "12.1.5": 3}
V12 |= {"12.2.1": 1, "12.2.2": 1}
V12 |= {"12.3.1": 2, "12.3.2": 2, "12.3.3": 2, "12.3.4": 2, "12.3.5": 3}

each_requirement = pytest.mark.parametrize("requirement", requirements(), ids=lambda row: row["id"])


def names_of(file: Path) -> set[str]:
    """Return the names of a file's tests, those in classes as CLASS::TEST."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if hasattr(each, "name")}
    return found


def test_every_requirement_is_there() -> None:
    assert {row["id"]: row["level"] for row in requirements()} == V12


@each_requirement
def test_every_requirement_has_tests_that_exist(requirement: dict[str, Any]) -> None:
    assert requirement["answer"]
    assert requirement["text"]
    assert requirement["tests"] or requirement["exception"]
    for test in requirement["tests"]:
        file, _, name = test.partition("::")
        assert name in names_of(ROOT / file), f"{test} does not exist"


@each_requirement
def test_every_answer_is_tried_by_the_proof(requirement: dict[str, Any]) -> None:
    """Only tests of the proof are in the report; what none can show is an exception."""
    own = [test for test in requirement["tests"] if test.startswith("tests/proof/")]
    assert own or (requirement["exception"] and requirement["answer"] == "Not given.")


def test_a_test_that_is_gone_is_noticed() -> None:
    found = names_of(Path(__file__))
    assert test_a_test_that_is_gone_is_noticed.__name__ in found
    assert "test_that_is_gone" not in found


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == document(), "run: python tests/proof/asvs.py"
