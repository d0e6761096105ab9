"""Properties of all resources of all profiles and options: see properties.py."""

import itertools

import pytest

from tests import properties
from tests.properties import Wildcard
from tests.whole import NAMES, environment, own_copy, synthesis
from tests.wildcards import EXPLAINED

every_environment = pytest.mark.parametrize("name", NAMES)


def test_every_pair_of_options_is_in_some_environment() -> None:
    chosen = [
        (
            name.partition("-")[0],
            ("nat", it.network.nat),
            ("login", it.database.login),
            ("exec", it.exec),
            ("certificate", it.certificate is not None),
        )
        for name in NAMES
        for it in [environment(name)]
    ]
    values = [sorted({row[column] for row in chosen}, key=str) for column in range(5)]
    assert [len(each) for each in values] == [3, 3, 2, 2, 2]
    for one, other in itertools.combinations(range(5), 2):
        there = {(row[one], row[other]) for row in chosen}
        assert there == set(itertools.product(values[one], values[other]))


@every_environment
@pytest.mark.parametrize(
    "complaints",
    [
        properties.stores_without_key,
        properties.keys_without_rotation,
        properties.open_ways_in,
        properties.secret_values,
        properties.buckets_without_tls,
        properties.weak_containers,
    ],
)
def test_property(name: str, complaints: properties.Property) -> None:
    assert complaints(synthesis().templates[name]) == []


@every_environment
def test_no_wildcard_is_unexplained(name: str) -> None:
    assert properties.wildcards(synthesis().templates[name], EXPLAINED) == []


def test_every_explained_wildcard_is_needed() -> None:
    used: set[Wildcard] = set()
    for templates in synthesis().templates.values():
        properties.wildcards(templates, EXPLAINED, used)
    assert [each for each in EXPLAINED if each not in used] == []


@every_environment
def test_what_outlives_the_stacks_is_what_protect_says(name: str) -> None:
    protect = environment(name).protect
    assert properties.retention(synthesis().templates[name], protect=protect) == []


def test_environments_stand_side_by_side() -> None:
    assert properties.clashes(synthesis().templates) == []
    named = {kind for kind, _ in properties.names(synthesis().templates["dev-1"])}
    assert {"AWS::KMS::Alias", "AWS::RDS::DBInstance", "export"} <= named


def test_the_same_name_twice_is_seen() -> None:
    one, other = own_copy("dev-1"), own_copy("dev-2")
    for templates in (one, other):
        templates["app"]["Resources"]["Same"] = {
            "Type": "AWS::SQS::Queue",
            "Properties": {"QueueName": {"Fn::Sub": "jobs"}},
        }
    found = properties.clashes({"dev-1": one, "dev-2": other})
    assert found == ["dev-2 and dev-1: AWS::SQS::Queue jobs"]
