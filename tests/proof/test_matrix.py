"""Every attack of matrix.toml on every hop of the running stack, with the expected answer.

A refusal proves something only next to a control: through the same attacker, who then changes
nothing, the same client reaches the same server; and a client that verifies nothing falls for
the same false server.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from authority import Authority, authority_of, make_authority
from behaviours import all_behaviours
from matrix import ACCEPTED, DOCUMENT, NOT_APPLICABLE, REFUSED, Answer, Cell, Matrix, document
from on_path import Attacker, Behaviour, Heard, connected, trusting
from report import Evidence
from stack import NativeStack, free_ports, require_programs
from strangers import HANDSHAKES, SERVED, Stranger
from victims import Agent, Chromium, LoadBalancer, Proxy, Victim, all_of

pytestmark = [pytest.mark.native, pytest.mark.timeout(600)]

MATRIX = Matrix()
ROLES = ("app", "worker", "scheduler", "release")
# The server of each hop, by the variable of its port.
SERVER = {"edge": "https", "gunicorn": "gunicorn", "database": "database", "cache": "cache"}


def server_of(hop: str) -> str:
    return SERVER.get(hop, "aws")


def cells(side: str, *, tried: bool = True) -> list[Cell]:
    """Return the cells that are tried, or those that are not."""
    return [
        cell
        for cell in MATRIX.cells
        if cell.attack.on == side and (cell.answer.word != NOT_APPLICABLE) == tried
    ]


def note(evidence: Evidence, cell: Cell, seen: str) -> None:
    evidence.figure("matrix", f"cells {cell.answer.word}", 1)
    evidence.line(
        "matrix",
        subject=cell.subject,
        tried=cell.attack.title,
        expected=str(cell.answer),
        seen=seen,
    )


# The table ---------------------------------------------------------------------------


def test_every_hop_has_its_row(native: NativeStack, foreign: bool) -> None:
    hops = {each["name"]: each for each in native.listed if "protocol" in each}
    assert set(hops) <= set(MATRIX.hops), "add the hop to matrix.toml"
    for name, hop in hops.items():
        processes = set(MATRIX.hops[name]["clients"])
        assert set(hop["from"]) <= processes, f"add the processes of {name} to matrix.toml"
        # TLS 1.2 is refused where 1.3 is the oldest.
        refuses = {
            MATRIX.answer(MATRIX.hops[name]["server"], attack).word == REFUSED
            for attack in MATRIX.on("server")
            if attack.name == "tls-1-2"
        }
        assert refuses == {hop["min_tls"] == "1.3"} or foreign, name
    assert set(MATRIX.hops) == set(hops) or foreign


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == document(MATRIX), "run: python tests/proof/matrix.py"


# Attackers, and those they attack ---------------------------------------------------------


@pytest.fixture(scope="module")
def attackers(native: NativeStack) -> Iterator[dict[str, Attacker]]:
    """One in front of each server."""
    ports = {
        name.partition("_")[0].lower(): int(address.rpartition(":")[2])
        for name, address in native.addresses.items()
    }
    with ExitStack() as until_then:
        yield {
            name: until_then.enter_context(Attacker(port, postgres=name == "database"))
            for name, port in ports.items()
        }


@pytest.fixture(scope="module")
def trust_file(native: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CA's certificate, where the attacked processes look for it."""
    file = tmp_path_factory.mktemp("trust") / "ca.crt"
    file.write_bytes(native.ca.read_bytes())
    return file


@pytest.fixture(scope="module")
def agents(
    native: NativeStack, attackers: dict[str, Attacker], trust_file: Path
) -> Iterator[dict[str, Agent]]:
    ports = {name: attackers[name].port for name in ("database", "cache", "aws")}
    started = [Agent(native, role, ports, trust_file) for role in ROLES]
    yield all_of(started)
    for agent in started:
        agent.end()


@pytest.fixture(scope="module")
def proxy(
    native: NativeStack, attackers: dict[str, Attacker], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    nginx = Proxy(native, tmp_path_factory.mktemp("proxy"), attackers["gunicorn"].port)
    with nginx.running():
        yield nginx


@pytest.fixture(scope="module")
def chromium(
    native: NativeStack, attackers: dict[str, Attacker], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chromium]:
    require_programs("chromium", "certutil")
    browser = Chromium(native.ca, tmp_path_factory.mktemp("home"), attackers["https"].port)
    with browser.running():
        yield browser


def skip_unless_listed(cell: Cell, native: NativeStack, foreign: bool) -> None:
    """A team's project may lack a hop of the template's, or a process."""
    origins = {each["name"]: each["from"] for each in native.listed if "from" in each}
    lacks = cell.hop not in origins or (
        cell.process in ROLES and cell.process not in origins[cell.hop]
    )
    if foreign and lacks:
        pytest.skip(f"the project's encryption.toml has no {cell.process} with {cell.hop}")


@pytest.fixture
def victim(
    request: pytest.FixtureRequest,
    cell: Cell,
    attackers: dict[str, Attacker],
    native: NativeStack,
    foreign: bool,
) -> Victim:
    """The client of a cell."""
    skip_unless_listed(cell, native, foreign)
    match cell.program:
        case "load balancer":
            return LoadBalancer(attackers["https"].port)
        case "NGINX":
            nginx: Proxy = request.getfixturevalue("proxy")
            return nginx
        case "Chromium":
            browser: Chromium = request.getfixturevalue("chromium")
            return browser
    require_programs(*["psql"] if cell.process == "dbshell" else [])
    agents: dict[str, Agent] = request.getfixturevalue("agents")
    return agents["release" if cell.process == "dbshell" else cell.process]


def opened(victim: Victim, cell: Cell) -> str | None:
    return victim.open("dbshell" if cell.process == "dbshell" else cell.hop)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that signed nothing of the stack."""
    return make_authority(tmp_path_factory.mktemp("stranger") / "ca")


@pytest.fixture(scope="module")
def behaviours(
    native: NativeStack, stranger: Authority, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Behaviour]:
    folder = tmp_path_factory.mktemp("forged")
    return all_behaviours(authority_of(native.project), stranger, folder)


@contextmanager
def missing(file: Path) -> Iterator[None]:
    content = file.read_bytes()
    file.unlink()
    try:
        yield
    finally:
        file.write_bytes(content)


# Attacks on clients -----------------------------------------------------------------------

# Attackers with a certificate that the client must trust: they hear something, but no secret.
TRUSTED = ("stolen-key", "unbound")

CONTROLS = [
    Cell(hop, MATRIX.on("client")[0], process, program, "", MATRIX.cells[0].answer)
    for hop, entry in MATRIX.hops.items()
    for process, program in entry["clients"].items()
]


@pytest.mark.parametrize("cell", CONTROLS, ids=lambda cell: f"{cell.hop}-{cell.process}")
def test_with_an_attacker_who_changes_nothing(cell: Cell, victim: Victim) -> None:
    assert opened(victim, cell) is None


@pytest.mark.parametrize("cell", cells("client"), ids=str)
def test_client(
    cell: Cell,
    victim: Victim,
    attackers: dict[str, Attacker],
    behaviours: dict[str, Behaviour],
    native: NativeStack,
    trust_file: Path,
    tmp_path: Path,
    evidence: Evidence,
) -> None:
    server, attack = server_of(cell.hop), cell.attack.name
    behaviour = behaviours[f"plaintext {server}" if attack == "plaintext" else attack]
    without = missing(trust_file) if attack == "no-trust" else nullcontext()
    with without, attackers[server].being(behaviour) as heard:
        if attack == "no-trust" and isinstance(victim, Proxy):
            error = victim.start_without("ca.crt", tmp_path / "credentials")
        else:
            error = opened(victim, cell)
    seen = short(error, cell) if error else "it connected"
    if cell.answer.word == ACCEPTED:
        note(evidence, cell, "it went on" if heard.read else seen)
        assert heard.read, error
        # Through a relay it reached the real server.
        assert error is None or attack != "relay"
        return
    note(evidence, cell, seen)
    assert error is not None, "it connected"
    assert re.search(cell.answer.reason, error), error
    assert heard.clients or attack == "no-trust"
    assert not heard.read or attack in TRUSTED, bytes(heard.read)
    assert not [name for name, value in native.secrets.items() if value.encode() in heard.read]


# How careless clients fare: the attacks are real ----------------------------------------------


@pytest.mark.parametrize("attack", HANDSHAKES)
def test_a_client_that_speaks_it_is_heard(
    attack: str, attackers: dict[str, Attacker], behaviours: dict[str, Behaviour]
) -> None:
    """False servers and bad clients can do what they offer: only the other end refuses."""
    version, ciphers = HANDSHAKES[attack]
    context = trusting(version=version, ciphers=ciphers)
    attacker = attackers["cache"]
    with (
        attacker.being(behaviours[attack]) as heard,
        connected(attacker.port, context, postgres=False) as connection,
    ):
        connection.sendall(b"a word")
        assert connection.recv(1) == b""
    assert heard.read == b"a word"


# What psql would have to be told to fall for it, and whether the attacker then gets through.
CARELESS = {
    "wrong-ca": ("sslmode=require", False),
    "wrong-name": ("sslmode=verify-ca", False),
    "expired": ("sslmode=require", False),
    "not-yet-valid": ("sslmode=require", False),
    "self-signed": ("sslmode=require", False),
    "tls-1-2": ("sslmode=verify-full", False),
    "weak": ("sslmode=verify-full", False),
    "cbc": ("sslmode=verify-full", False),
    "stripped": ("sslmode=prefer", True),
    "relay": ("sslmode=require", True),
    "stolen-key": ("sslmode=verify-full", True),
    "cleartext": ("sslmode=verify-full", False),
}


@pytest.mark.parametrize("attack", CARELESS)
def test_a_careless_client_of_the_database_falls_for_it(
    attack: str,
    attackers: dict[str, Attacker],
    behaviours: dict[str, Behaviour],
    native: NativeStack,
) -> None:
    """Without channel binding, and with the mode that a weakened setting might have."""
    require_programs("psql")
    mode, gets_through = CARELESS[attack]
    password = native.secrets["SEED_DATABASE_PASSWORD"]
    attacker = attackers["database"]
    conninfo = f"host=localhost port={attacker.port} dbname=app user=app {mode}"
    # "require" means more where there is a CA file.
    trust = f"sslrootcert={native.ca if 'verify' in mode else '/nonexistent'}"
    with attacker.being(behaviours[attack]) as heard:
        ended = subprocess.run(
            ["psql", "-c", "SELECT 'through'", f"{conninfo} {trust} channel_binding=disable"],
            env={"PATH": os.environ["PATH"], "PGPASSWORD": password},
            capture_output=True,
            text=True,
            check=False,
        )
    assert heard.read, ended
    assert ("through" in ended.stdout) == gets_through, ended
    assert bool(heard.forwarded) == gets_through
    assert (password.encode() in heard.read) == (attack == "cleartext")


# Attacks on servers -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def somebody(
    native: NativeStack, stranger: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Stranger:
    return Stranger(native, stranger, tmp_path_factory.mktemp("somebody"))


@pytest.mark.parametrize("hop", MATRIX.hops)
def test_a_good_client_is_served(hop: str, somebody: Stranger) -> None:
    said = somebody.behave(hop)
    assert SERVED.search(said), said


@pytest.mark.parametrize("cell", cells("server"), ids=str)
def test_server(
    cell: Cell, somebody: Stranger, native: NativeStack, foreign: bool, evidence: Evidence
) -> None:
    skip_unless_listed(cell, native, foreign)
    answers = somebody.attack(cell.hop, cell.attack.name)
    seen = "; ".join(dict.fromkeys(short(said, cell) for said in answers))
    if cell.answer.word == ACCEPTED:
        seen = f"it was served: {answers[0].partition('\r\n')[0]}"
    note(evidence, cell, seen)
    assert answers
    for said in answers:
        assert bool(SERVED.search(said)) == (cell.answer.word == ACCEPTED), said
        assert cell.answer.word == ACCEPTED or re.search(cell.answer.reason, said), said


def test_the_plaintext_port_only_redirects(native: NativeStack, somebody: Stranger) -> None:
    [said] = somebody.attack("edge", "plaintext-port")
    assert f"Location: {native.url}/notes/" in said
    assert "Log in" not in said


# Commands -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def relayed(
    native: NativeStack,
    attackers: dict[str, Attacker],
    behaviours: dict[str, Behaviour],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[tuple[int | None, str]], list[Heard]]:
    """How each command ended while relays were on its way, all run at once; what those heard."""
    folder = tmp_path_factory.mktemp("commands")
    with ExitStack() as until_then:
        heard = [
            until_then.enter_context(attackers[name].being(behaviours["relay"]))
            for name in ("database", "cache", "aws")
        ]
        started = [
            until_then.enter_context(_command(native, command, attackers, folder / str(number)))
            for number, command in enumerate(MATRIX.commands)
        ]
        ended = [process.wait(120) for process in started]
    logs = [(folder / str(number)).read_text() for number in range(len(ended))]
    return list(zip(ended, logs, strict=True)), heard


@contextmanager
def _command(
    native: NativeStack, command: dict[str, Any], attackers: dict[str, Attacker], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    server = server_of(command["hop"])
    addresses = {f"{server.upper()}_PORT": str(attackers[server].port)}
    addresses["GUNICORN_ADDRESS"] = f"127.0.0.1:{free_ports(1)[0]}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*map(str, native.inside(command["role"])), *command["run"]],
            cwd=native.project,
            env=native.env | addresses,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.proof
@pytest.mark.parametrize("number", range(len(MATRIX.commands)))
def test_command(
    number: int,
    relayed: tuple[list[tuple[int | None, str]], list[Heard]],
    native: NativeStack,
    evidence: Evidence,
) -> None:
    command, (status, said) = MATRIX.commands[number], relayed[0][number]
    answer = Answer.parse(command["answer"])
    found = re.search(answer.reason, said)
    evidence.figure("matrix", f"cells {answer.word}", 1)
    evidence.line(
        "matrix",
        subject=f"commands: a relay to {MATRIX.hops[command['hop']]['server']}",
        tried=command["name"],
        expected=str(answer),
        seen=f"exit status {status}: {found[0] if found else said[-200:]}",
    )
    assert status != 0
    assert found, said
    for heard in relayed[1]:
        assert heard.clients
        assert not heard.forwarded
        assert not [name for name, value in native.secrets.items() if value.encode() in heard.read]


# What does not apply: last, so that it does not order the printed matrix ----------------------


def test_what_is_not_tried_has_a_reason(evidence: Evidence) -> None:
    for cell in cells("client", tried=False) + cells("server", tried=False):
        note(evidence, cell, "not tried")
        assert len(cell.answer.reason.split()) > 2


def short(error: str, cell: Cell) -> str:
    """Return the words of an error that are the reason, or its beginning."""
    found = re.search(cell.answer.reason, error)
    return f"refused: {found[0]}" if found else f"another error: {error[:200]}"
