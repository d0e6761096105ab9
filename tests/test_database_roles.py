"""Who is who in the database of a running stack: `app` serves, `migrator` migrates, as on AWS."""

import json
import os
import subprocess

import pytest
from stack import DockerStack, NativeStack, Stack, require_programs

pytestmark = pytest.mark.timeout(300)

SERVING = ("app", "worker", "scheduler")
SECRETS = ("MIGRATOR_PASSWORD", "POSTGRES_PASSWORD")
OWNER = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'app'"
WHO = "with connection.cursor() as c:\n    c.execute({!r})\n    print(c.fetchone()[0])"


def ask(stack: Stack, query: str, role: str) -> str:
    return stack.shell("from django.db import connection\n" + WHO.format(query), role)


def test_each_process_has_its_role(stack: Stack) -> None:
    users = {role: ask(stack, "SELECT current_user", role) for role in (*SERVING, "release")}
    assert users == {**dict.fromkeys(SERVING, "app"), "release": "migrator"}


def test_the_migrator_owns_the_schema_and_the_superuser_the_database(stack: Stack) -> None:
    owners = (
        "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace"
    )
    assert ask(stack, owners, "app") == "migrator"
    assert ask(stack, OWNER, "app") == "postgres"


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE own (id int)",
        "ALTER TABLE users_user ADD COLUMN own int",
        "DROP TABLE users_user",
        "TRUNCATE users_user",
        "SET ROLE migrator",
        "SELECT rolpassword FROM pg_authid",
    ],
)
def test_app_changes_no_schema_and_becomes_nobody_else(stack: Stack, statement: str) -> None:
    said = stack.shell(
        "from django.db import ProgrammingError, connection\n"
        "try:\n"
        f"    connection.cursor().execute({statement!r})\n"
        "except ProgrammingError as error:\n"
        "    print(type(error.__cause__).__name__)"
    )
    assert said == "InsufficientPrivilege"


def test_a_migration_as_app_says_what_to_do(stack: Stack) -> None:
    command = (*map(str, stack.inside("app")), "python", "manage.py", "migrate")
    ended = subprocess.run(
        command, cwd=stack.project, env=stack.env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "role app may not change the schema" in ended.stderr
    assert "Locally: make release." in ended.stderr
    assert "No migrations to apply" in stack.run("make", "release")
    said = stack.run("make", "release", "COMMAND=python manage.py migrate --check")
    assert "Traceback" not in said


def test_what_serves_can_read_neither_password_in_the_store(stack: Stack) -> None:
    """The stand-in for AWS shows everything to everybody, so they are not in it."""
    said = stack.shell(
        "import json\n"
        "from apps.secrets.ssm import parameters_by_path, ssm_client\n"
        "found = parameters_by_path(ssm_client(), Path='/', Recursive=True, WithDecryption=True)\n"
        "print(json.dumps([item['Value'] for item in found]))"
    )
    stored = json.loads(said)
    assert stack.secrets["SEED_DATABASE_PASSWORD"] in stored  # so this has looked
    for name in SECRETS:
        assert not [value for value in stored if stack.secrets[name] in value], name


@pytest.mark.docker
def test_a_serving_container_has_neither_password(docker: DockerStack) -> None:
    """Not in its files, and not in the environment of a process."""
    search = (
        "import os, sys\n"
        "wanted = [line.encode() for line in sys.stdin.read().split()]\n"
        "for top in ('/run', '/app', '/tmp', '/etc', '/home', '/var'):\n"
        "    for parent, _, names in os.walk(top):\n"
        "        for name in names:\n"
        "            path = os.path.join(parent, name)\n"
        "            if not os.path.isfile(path) or not os.access(path, os.R_OK):\n"
        "                continue\n"
        "            with open(path, 'rb') as file:\n"
        "                content = file.read()\n"
        "            print(*[path for each in wanted if each in content])\n"
        "for number in filter(str.isdigit, os.listdir('/proc')):\n"
        "    with open(f'/proc/{number}/environ', 'rb') as file:\n"
        "        content = file.read()\n"
        "    print(*[number for each in wanted if each in content])"
    )
    secrets = "\n".join(docker.secrets[name] for name in SECRETS)

    def found(role: str) -> list[str]:
        ended = subprocess.run(
            [*map(str, docker.inside(role)), "python", "-c", search],
            cwd=docker.project,
            env=docker.env,
            input=secrets,
            capture_output=True,
            text=True,
            check=True,
        )
        return ended.stdout.split()

    # The control: the search finds them where they are.
    names = ("migrator-password", "master-password")
    assert set(found("release")) == {f"/run/credentials/{name}" for name in names}
    for role in SERVING:
        assert found(role) == [], role


@pytest.mark.native
def test_no_native_process_has_either_in_its_environment(native: NativeStack) -> None:
    for number, command in native.processes().items():
        with open(f"/proc/{number}/environ", "rb") as file:  # noqa: PTH123
            content = file.read()
        assert not [name for name in SECRETS if native.secrets[name].encode() in content], command


@pytest.mark.native
def test_a_database_that_belonged_to_app_is_taken_over(native: NativeStack) -> None:
    """As every one made before there was a migrator: without loss, by the next `make up`."""
    require_programs("psql")
    before = native.shell("user, _ = User.objects.get_or_create(email='old@example.com')\nprint(1)")
    assert before == "1"
    conninfo = (
        f"host=localhost port={native.addresses['DATABASE_PORT']} dbname=app user=postgres "
        f"sslmode=verify-full sslrootcert={native.ca}"
    )
    ended = subprocess.run(
        [
            *("psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-q", conninfo),
            *("-c", "ALTER DATABASE app OWNER TO app"),
            *("-c", "REASSIGN OWNED BY migrator TO app"),
            *("-c", "DROP OWNED BY migrator"),
            *("-c", "DROP ROLE migrator"),
        ],
        env={"PATH": os.environ["PATH"], "PGPASSWORD": native.secrets["POSTGRES_PASSWORD"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ask(native, OWNER, "app") == "app"
    native.restart()
    assert native.shell("print(User.objects.filter(email='old@example.com').count())") == "1"
    test_the_migrator_owns_the_schema_and_the_superuser_the_database(native)
    test_app_changes_no_schema_and_becomes_nobody_else(native, "CREATE TABLE own (id int)")
    assert native.verify().short == {}


@pytest.mark.native
def test_the_application_s_password_rotates(native: NativeStack) -> None:
    said = native.manage("rotate_database_password", "app")
    assert said.strip() == "app: has a new password."
    assert native.verify("worker").short == {}
    native.run("make", "release")
    assert native.verify("worker").short == {}
    native.restart()  # with the password of .env again
    assert native.verify().short == {}
