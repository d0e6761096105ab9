"""The estimate adds up, leaves nothing out, and docs/costs.md shows it."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import costs
from costs import FREE, PAID, Account, CostError, Price
from profiles import PROFILES
from tests.whole import NAMES, environment, synthesis

COSTS = costs.load()


@pytest.fixture(scope="module")
def found() -> dict[str, Counter[str]]:
    """The estimates of the profiles."""
    return costs.of_profiles(COSTS)


@pytest.mark.parametrize("name", NAMES)
def test_every_type_of_resource_has_a_price_or_a_reason(name: str) -> None:
    kinds = {resource["Type"] for _, resource in synthesis().templates[name].resources()}
    assert kinds <= PAID.keys() | FREE.keys()


def test_nothing_is_both_paid_and_free() -> None:
    assert not PAID.keys() & FREE.keys()


def test_no_reason_is_for_what_no_template_has() -> None:
    kinds = {r["Type"] for name in NAMES for _, r in synthesis().templates[name].resources()}
    assert PAID.keys() | FREE.keys() <= kinds | {"AWS::CDK::Metadata"}


def _account(*resources: dict[str, Any], name: str = "dev-1") -> Account:
    named = {f"R{number}": resource for number, resource in enumerate(resources)}
    return Account(environment=environment(name), resources=named, use=COSTS.use["dev"])


def _dollars(account: Account, line: str) -> float:
    charges = [charge for charge in account.charges() if charge.line == line]
    return sum(charge.units * COSTS.prices[charge.price].usd for charge in charges)


def test_a_resource_that_nobody_knows_is_named() -> None:
    with pytest.raises(CostError, match="no price for AWS::Braket::QuantumTask"):
        list(_account({"Type": "AWS::Braket::QuantumTask"}).charges())


def test_a_price_that_is_missing_is_named() -> None:
    large = {"DBInstanceClass": "db.x9.huge", "MultiAZ": False, "AllocatedStorage": "20"}
    resources = {"Database": {"Type": "AWS::RDS::DBInstance", "Properties": large}}
    with pytest.raises(CostError, match=r"no price for db\.x9\.huge"):
        costs.estimate(environment("dev-1"), resources, COSTS, "dev")


def test_two_zones_cost_twice() -> None:
    one = {"DBInstanceClass": "db.t4g.micro", "MultiAZ": False, "AllocatedStorage": "20"}
    both = _account({"Type": "AWS::RDS::DBInstance", "Properties": one | {"MultiAZ": True}})
    single = _account({"Type": "AWS::RDS::DBInstance", "Properties": one})
    assert _dollars(single, "Database") == pytest.approx(730 * 0.019 + 20 * 0.137)
    assert _dollars(both, "Database") == pytest.approx(2 * _dollars(single, "Database"))


def test_a_scheduled_task_pays_its_minutes() -> None:
    task = {"Type": "AWS::ECS::TaskDefinition", "Properties": {"Cpu": "256", "Memory": "1024"}}
    schedule = {
        "Type": "AWS::Scheduler::Schedule",
        "Properties": {
            "ScheduleExpression": "rate(5 minutes)",
            "Target": {"EcsParameters": {"TaskDefinitionArn": {"Ref": "R0"}}},
        },
    }
    hour = COSTS.prices["fargate_vcpu"].usd / 4 + COSTS.prices["fargate_memory"].usd
    assert _dollars(_account(task, schedule), "Scheduled tasks") == pytest.approx(730 / 5 * hour)


def test_a_schedule_that_cannot_be_counted_is_named() -> None:
    with pytest.raises(CostError, match="cannot count"):
        costs._minutes("cron(0 3 ? * SUN *)")


@pytest.mark.parametrize("profile", PROFILES)
def test_an_ordinary_month_does_not_alarm(found: dict[str, Counter[str]], profile: str) -> None:
    """The budget mails at four fifths: components/budget.py."""
    estimate = sum(found[profile].values())
    assert estimate < 0.8 * PROFILES[profile]["monthly_budget"]


def test_larger_profiles_cost_more(found: dict[str, Counter[str]]) -> None:
    totals = [sum(lines.values()) for lines in found.values()]
    assert list(found) == ["dev", "staging", "production"]
    assert totals == sorted(totals)


def test_the_totals_are_the_sums_of_the_lines(found: dict[str, Counter[str]]) -> None:
    rows = [
        [float(cell.strip(" *").replace(",", "")) for cell in row.split("|")[2:-1]]
        for row in costs.tables(COSTS, found).split("\n\n")[0].splitlines()[2:]
    ]
    for column in range(len(found)):
        *lines, total = (row[column] for row in rows)
        # Each is rounded to a dollar.
        assert sum(lines) == pytest.approx(total, abs=len(lines) / 2)


def test_the_page_shows_the_estimate(found: dict[str, Counter[str]]) -> None:
    page = costs.PAGE.read_text(encoding="utf-8")
    assert page == costs.written(page, costs.tables(COSTS, found)), "run make docs"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(CostError, match="lacks the marks"):
        costs.written("# Costs\n", "text")


def test_every_price_has_a_dated_source_and_says_if_it_is_an_estimate() -> None:
    for name, price in COSTS.prices.items():
        assert COSTS.sources[price.source]["date"].year >= 2025
        assert bool(price.note) == price.estimate, name


@pytest.mark.parametrize(
    ("price", "error"),
    [
        ('{ usd = 1.0, unit = "u", source = "hearsay" }', "no source that is there"),
        ('{ usd = 1.0, unit = "u", source = "guess" }', "must say so"),
    ],
)
def test_a_price_out_of_nowhere_is_refused(tmp_path: Path, price: str, error: str) -> None:
    file = tmp_path / "costs.toml"
    sources = '[sources]\nguess = { date = 2026-11-22, text = "t" }\n'
    file.write_text(f'region = "r"\n{sources}[prices]\nit = {price}\n[use]\n')
    with pytest.raises(CostError, match=error):
        costs.load(file)


def test_prices_are_all_used() -> None:
    used = {
        charge.price
        for name in NAMES
        for charge in Account(
            environment=environment(name),
            resources={
                key.partition("/")[2]: r for key, r in synthesis().templates[name].resources()
            },
            use=COSTS.use[re.sub(r"-\d$", "", name)],
        ).charges()
    }
    assert used == COSTS.prices.keys()
    assert all(isinstance(price, Price) for price in COSTS.prices.values())
