"""Every hop and store has a test that it works and a test that it refuses."""

from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from apps.encryption import hops
from apps.encryption.hops import EncryptionList
from config.project import BASE_DIR

KINDS = ("positive", "negative")
ROLES = {"app", "worker", "scheduler", "release"}


def proved() -> set[tuple[str, str]]:
    """(name, kind) of every test here that is marked `proves`."""
    modules = [
        import_module(f"{__package__}.{path.stem}") for path in Path(__file__).parent.glob("test_*")
    ]
    return {
        mark.args
        for module in modules
        for name, function in vars(module).items()
        if name.startswith("test_")
        for mark in getattr(function, "pytestmark", [])
        if mark.name == "proves"
    }


def gaps(listed: EncryptionList, found: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence for each missing test and for each mark that names nothing."""
    wanted = {(item.name, kind) for item in listed for kind in KINDS}
    return [
        *(
            f"{name} of encryption.toml has no {kind} test: write one in tests/encryption "
            f'with @pytest.mark.proves("{name}", "{kind}")'
            for name, kind in sorted(wanted - set(found))
        ),
        *(
            f"a test is marked proves{mark}, which encryption.toml does not list"
            for mark in sorted(set(found) - wanted)
        ),
    ]


def test_every_hop_and_store_has_a_positive_and_a_negative_test() -> None:
    assert not (missing := gaps(hops.load(), proved())), "\n".join(missing)


def test_a_hop_added_without_tests_is_named() -> None:
    listed = hops.load()
    added = replace(listed, hops=(*listed.hops, replace(listed.hops[0], name="queue")))
    assert [gap.split(":")[0] for gap in gaps(added, proved())] == [
        "queue of encryption.toml has no negative test",
        "queue of encryption.toml has no positive test",
    ]


def test_a_test_of_a_hop_that_is_gone_is_named() -> None:
    listed = hops.load()
    fewer = replace(listed, hops=listed.hops[1:])
    assert "a test is marked proves('edge', 'positive')" in gaps(fewer, proved())[-1]


def test_every_hop_and_store_is_probed_from_somewhere() -> None:
    for item in hops.load():
        assert item.probed_from, f"{item.name} is never probed"
        assert set(item.probed_from) <= ROLES, f"{item.name} is probed from an unknown role"


def test_every_file_that_enforces_exists() -> None:
    for item in hops.load():
        for name in item.enforced_by.split(", "):
            assert (BASE_DIR / name).is_file(), (
                f"{item.name} is enforced by {name}, which is missing"
            )
