"""No mutant survives: a project with one protection less is found out, each by what must do so.

Most are found by the project's own tests, in a copy; others by `verify_encryption` or by a
system check, while a server of an edited copy runs beside the healthy stack.
"""

import re
import shutil
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import Queue

import pytest
from authority import Authority, authority_of, make_authority
from copies import ADDRESS, ServedCopy, TestedCopy, edited
from mutant import Mutant, misfit
from mutants import MUTANTS
from report import Evidence
from stack import NativeStack, listens

WORKERS = 2
each_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


# The list, without running anything -----------------------------------------------------


def test_names_are_unique() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert sorted(set(names)) == sorted(names)


def test_every_mutant_can_be_made(project: Path, foreign: bool) -> None:
    if foreign:
        pytest.skip("a project of somebody's own may differ: each mutant says whether it fits")
    assert {mutant.name: why for mutant in MUTANTS if (why := misfit(mutant, project))} == {}


def test_a_mutant_that_does_not_fit_is_noticed(project: Path) -> None:
    [mutant] = [each for each in MUTANTS if each.name == "proxy_ssl_verify off"]
    assert not misfit(mutant, project)
    assert "not once" in misfit(mutant, project / "apps")


def test_every_mutant_has_somebody_to_find_it() -> None:
    for mutant in MUTANTS:
        assert mutant.tests or mutant.short or mutant.check, mutant.name
        assert bool(mutant.short) == bool(mutant.claim), mutant.name
        assert bool(mutant.check) == bool(mutant.starts), mutant.name
        assert mutant.edits or mutant.leaf, mutant.name


def test_edits_leave_files_that_can_be_run(project: Path, foreign: bool, tmp_path: Path) -> None:
    """A mutant that is found for a slip of the pen proves nothing."""
    for mutant in MUTANTS:
        if foreign and misfit(mutant, project):
            continue
        for name in {edit.file for edit in mutant.edits if edit.file.endswith(".py")}:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / name, tmp_path / name)
            with edited(tmp_path, [edit for edit in mutant.edits if edit.file == name]):
                compile((tmp_path / name).read_text(), f"{mutant.name}: {name}", "exec")


def test_every_hop_store_and_check_has_a_mutant(project: Path, foreign: bool) -> None:
    if foreign:
        pytest.skip("what a project adds has no mutant here")
    document = tomllib.loads((project / "encryption.toml").read_text())
    listed = {item["name"] for item in [*document["hop"], *document["store"]]}
    sources = (file.read_text() for file in (project / "apps").rglob("checks.py"))
    numbers = re.findall(r"encryption_error\(\s*(\d+)", "\n".join(sources))
    assert numbers
    listed |= {f"E{int(number):03}" for number in numbers}
    assert {name for mutant in MUTANTS for name in mutant.covers} == listed


# The runs --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("stranger") / "ca")


@pytest.fixture(scope="module")
def served(
    native: NativeStack, tools: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedCopy]:
    copy = ServedCopy(native, tmp_path_factory.mktemp("served") / native.project.name, tools)
    try:
        yield copy
    finally:
        copy.destroy()


@pytest.fixture(scope="module")
def found_by_tests(
    native: NativeStack, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[list[str]]]]:
    """The tests that each chosen mutant fails; copies work through them in the background.

    The mutant with an empty name is the project as it is.
    """
    functions = [item for item in request.session.items if isinstance(item, pytest.Function)]
    parameters = [getattr(item, "callspec", None) for item in functions]
    chosen = [each.params["mutant"] for each in parameters if each and "mutant" in each.params]
    chosen = [each for each in chosen if each.tests and not misfit(each, native.project)]
    control = Mutant(name="", protection="", tests=sorted({t for m in chosen for t in m.tests}))
    folder = tmp_path_factory.mktemp("tested")
    copies = [TestedCopy(native, folder / str(number)) for number in range(WORKERS)]
    free: Queue[TestedCopy] = Queue()
    for copy in copies:
        free.put(copy)

    def run(mutant: Mutant) -> list[str]:
        copy = free.get()
        try:
            with edited(copy.folder, mutant.edits):
                return copy.failing(mutant.tests, seconds=120 if mutant.edits else 500)
        finally:
            free.put(copy)

    pool = ThreadPoolExecutor(WORKERS)
    try:
        yield {mutant.name: pool.submit(run, mutant) for mutant in (control, *chosen)}
    finally:
        pool.shutdown(cancel_futures=True)
        for copy in copies:
            copy.close()


def found_by_its_tests(mutant: Mutant, runs: dict[str, Future[list[str]]]) -> list[str]:
    """Return the tests that were to fail, and did."""
    failed = runs[mutant.name].result()
    return [test for test in mutant.tests if any(f.partition("[")[0] == test for f in failed)]


def found_by_stack(
    mutant: Mutant, served: ServedCopy, stranger: Authority, folder: Path
) -> list[str]:
    """Return what the running system says of the mutant. Fails if it is not what it must say."""
    pair = None
    if mutant.leaf:
        authority = authority_of(served.project) if mutant.leaf.own_ca else stranger
        pair = authority.issue(folder / "leaf", mutant.leaf.name, days=mutant.leaf.days)
    env = served.beside(*mutant.server.split(), **mutant.env)
    found = []
    with ExitStack() as until_then:
        if mutant.server == "aws":
            until_then.callback(served.put_back_aws)
        until_then.enter_context(served.mutated(mutant.edits))
        until_then.enter_context(served.showing(mutant.server, pair))
        if mutant.server:
            until_then.enter_context(served.running(mutant.server))
        if mutant.seed:
            served.seed(env)
        if mutant.short:
            verification = served.verify("app", **env)
            assert verification.exit_status == 1, verification
            assert sorted(verification.short) == sorted(mutant.short), verification
            assert mutant.claim in verification.short[mutant.short[0]]
            assert all(name in verification.message for name in mutant.short)
            found.append(f"verify_encryption: {mutant.short[0]}: not true: {mutant.claim}")
        for process in mutant.starts:
            ended = served.start(process, env)
            assert f"(encryption.{mutant.check})" in ended.stderr, ended
            assert ended.returncode not in (0, 124), ended
            found.append(f"{process} does not start: encryption.{mutant.check}")
    return found


@pytest.mark.proof
@pytest.mark.native
@pytest.mark.slow
@pytest.mark.timeout(900)
@each_mutant
def test_no_mutant_survives(
    mutant: Mutant,
    native: NativeStack,
    found_by_tests: dict[str, Future[list[str]]],
    request: pytest.FixtureRequest,
    evidence: Evidence,
    foreign: bool,
    tmp_path: Path,
) -> None:
    if foreign and (why := misfit(mutant, native.project)):
        pytest.skip(f"the project differs here: {why}")
    evidence.figure("mutants", "mutants made", 1)
    wanted = len(mutant.tests) + len(mutant.starts) + bool(mutant.short)
    found: list[str] = []
    try:
        if mutant.needs_stack:
            served, stranger = map(request.getfixturevalue, ("served", "stranger"))
            found += found_by_stack(mutant, served, stranger, tmp_path)
        if mutant.tests:
            found += found_by_its_tests(mutant, found_by_tests)
    finally:
        killed = len(found) == wanted
        evidence.line(
            "mutants",
            subject=mutant.name,
            tried=mutant.protection,
            expected="killed",
            seen=f"killed by {'; '.join(found)}" if killed else "survived",
        )
    assert killed, f"of {wanted} that must find it only these did: {found}"
    evidence.figure("mutants", "mutants killed", 1)


# The controls: with no edit nothing is found ----------------------------------------------


@pytest.mark.proof
@pytest.mark.native
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_unedited_the_same_tests_pass(
    found_by_tests: dict[str, Future[list[str]]], evidence: Evidence
) -> None:
    failed = found_by_tests[""].result()
    evidence.line(
        "mutants",
        subject="control: no edit",
        tried="the same tests, on the project as it is",
        expected="all pass",
        seen=f"{len(failed)} fail",
    )
    assert failed == []


@pytest.mark.proof
@pytest.mark.native
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_unedited_the_copy_s_servers_hold(served: ServedCopy, evidence: Evidence) -> None:
    with ExitStack() as until_then:
        for process in ADDRESS:
            until_then.enter_context(served.running(process))
        verification = served.verify("app", **served.beside(*ADDRESS))
    evidence.line(
        "mutants",
        subject="control: no edit, all servers of the copy",
        tried="verify_encryption",
        expected="all hold",
        seen=f"{len(verification.short)} fall short",
    )
    assert verification.exit_status == 0, verification
    assert verification.short == {}


@pytest.mark.proof
@pytest.mark.native
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_unedited_commands_run(served: ServedCopy) -> None:
    ended = served.start("migrate", served.beside())
    assert ended.returncode == 0, ended.stderr
    assert not listens(int(served.addresses["GUNICORN_ADDRESS"].rpartition(":")[2]))
