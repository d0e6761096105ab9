"""What docs say of infra/ is what is there."""

import dataclasses
import re

import pytest

import reference
from config import Environment
from tests.test_operations import WATCHED
from tests.whole import ROOT

AWS = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")
DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", range(len(reference.TABLES)))
def test_tables_are_what_the_code_says(number: int) -> None:
    file, head, rows = reference.TABLES[number]
    page = file.read_text(encoding="utf-8")
    assert page == reference.written(page, head, rows()), "run make docs"


def test_a_page_without_its_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no table that begins"):
        reference.written("# Page\n", "| key |\n|---|\n", "")


def test_old_rows_are_replaced_and_what_follows_stays() -> None:
    head = "| key |\n|---|\n"
    assert reference.written(f"a\n{head}| old |\n\nb\n", head, "| new |\n") == (
        f"a\n{head}| new |\n\nb\n"
    )


def test_every_value_of_the_configuration_is_explained_once() -> None:
    known = {
        key
        for key, _ in reference.values(Environment(name="some", domain="some.example.com"))
        if key != "name"
    }
    assert known == reference.MEANING.keys()
    assert {"protect", "database.login"} <= known
    assert all(field.name in " ".join(known) for field in dataclasses.fields(Environment)[1:])


def test_every_alarm_is_listed() -> None:
    table = AWS.partition("## Alarms")[2].partition("## ")[0]
    listed = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert listed == WATCHED


@pytest.mark.parametrize("page", [AWS, DEPLOYMENT], ids=["aws", "deployment"])
def test_links_lead_somewhere(page: str) -> None:
    for path, anchor in re.findall(r"\]\(([\w./-]*?\w+\.\w+)?(?:#([\w-]+))?\)", page):
        target = (ROOT / "docs" / path).read_text(encoding="utf-8") if path else page
        headings = {
            re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in target.splitlines()
            if line.startswith("#")
        }
        assert not anchor or anchor in headings, f"{path}#{anchor}"


def test_make_targets_that_are_named_exist() -> None:
    makefiles = "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "scripts/aws.mk")
    )
    for target in set(re.findall(r"`make ([a-z-]+)", AWS + DEPLOYMENT)):
        assert re.search(rf"^{target}:", makefiles, re.MULTILINE), f"make {target}"
