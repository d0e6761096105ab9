"""What a bake leaves on disk: the template's files, secrets that are its own, and nothing else."""

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from conftest import TEMPLATE_FOLDER, Bake
from cookiecutter.generate import is_copy_only_path

RENDERED = {"README.md", "project.toml"}
MADE_BY_HOOK = (".env", ".local")

# Run by `sh` in the new network namespace: the command starts only if there is no way out of it,
# that is, no interface but `lo`.
OFFLINE = """! grep -v -e 'lo:' -e '|' /proc/net/dev && exec "$@" """


def contents(folder: Path) -> dict[str, bytes]:
    """Map every file in the folder to what it holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def secrets(project: Path) -> dict[str, str]:
    """Return the values of .env that nobody could guess; the others are ports and the like."""
    lines = (project / ".env").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: value for name, value in pairs if re.search("SECRET|PASSWORD|KEY|TOKEN", name)}


def keys(project: Path) -> dict[str, bytes]:
    return {
        name: content
        for name, content in contents(project / ".local").items()
        if b"PRIVATE KEY" in content
    }


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def path_with(folder: Path, **programs: str) -> str:
    """Return a PATH in which the named programs are other scripts, or missing if empty."""
    folder.mkdir()
    for directory in ("/bin", "/usr/bin"):
        for program in Path(directory).iterdir():
            if program.name not in programs and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    for name, source in programs.items():
        if source:
            (folder / name).write_text(source)
            (folder / name).chmod(0o755)
    return str(folder)


# The files.


def test_only_two_files_are_rendered(template: Path) -> None:
    folder = template / TEMPLATE_FOLDER
    context = {"cookiecutter": json.loads((template / "cookiecutter.json").read_text())}
    paths = [path.relative_to(folder) for path in folder.rglob("*")]
    rendered = {
        str(path)
        for path in paths
        if (folder / path).is_file() and not is_copy_only_path(str(path), context)
    }
    assert rendered == RENDERED
    # Cookiecutter deletes a folder that is copied whole, and with it what a team added there.
    assert [
        path for path in paths if (folder / path).is_dir() and is_copy_only_path(str(path), context)
    ] == []


def test_all_other_files_are_the_templates_own(template: Path, project: Path) -> None:
    before = contents(template / TEMPLATE_FOLDER)
    after = contents(project)
    made = {name for name in after if name.split("/")[0] in MADE_BY_HOOK}
    assert set(after) - made == set(before)
    assert {name for name in before if before[name] != after[name]} == RENDERED
    assert [
        name for name in before if mode(template / TEMPLATE_FOLDER / name) != mode(project / name)
    ] == []


def test_nothing_is_left_unrendered(template: Path, project: Path) -> None:
    for name in RENDERED:
        source = (template / TEMPLATE_FOLDER / name).read_text()
        assert "{{ cookiecutter." in source
        assert "{%" not in source
        assert not re.search(r"\{\{|\{%|\{#|\}\}|%\}|#\}", (project / name).read_text())
    assert [path for path in project.rglob("*") if "cookiecutter" in path.name] == []
    mentions = {name for name, content in contents(project).items() if b"cookiecutter" in content}
    assert mentions <= {"README.md"}


# The secrets.


def test_git_sees_no_secret(own_project: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
        command = ["git", *identity, "-C", str(own_project), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    hidden = [".env", *(f".local/{name}" for name in contents(own_project / ".local"))]
    assert git("check-ignore", *hidden).splitlines() == hidden

    git("add", "--all")
    git("commit", "--quiet", "--message", "First commit")
    committed = git("ls-tree", "-r", "--name-only", "-z", "HEAD").rstrip("\0").split("\0")
    assert set(committed) >= RENDERED
    values = [value.encode() for value in secrets(own_project).values()]
    assert values
    for name in committed:
        content = (own_project / name).read_bytes()
        assert not re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----", content), name
        assert not any(value in content for value in values), name


def test_secrets_are_long_and_differ(project: Path) -> None:
    values = list(secrets(project).values())
    assert len(values) >= 3
    assert len(set(values)) == len(values)
    assert min(len(value) for value in values) >= 32
    assert len(keys(project)) >= 3
    assert len(set(keys(project).values())) == len(keys(project))


def test_two_projects_share_no_secret(project: Path, own_project: Path) -> None:
    assert secrets(project).keys() == secrets(own_project).keys()
    assert not set(secrets(project).values()) & set(secrets(own_project).values())
    assert keys(project).keys() == keys(own_project).keys()
    assert not set(keys(project).values()) & set(keys(own_project).values())


def test_cookiecutter_stores_no_secret(own_project: Path, home: Path) -> None:
    [replay] = (home / ".cookiecutter_replay").glob("*.json")
    stored = replay.read_text()
    assert json.loads(stored)["cookiecutter"]["project_slug"] == "my-project"
    assert "PRIVATE KEY" not in stored
    assert not [name for name, value in secrets(own_project).items() if value in stored]


@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_secrets_are_for_the_owner_only(
    umask: int, template: Path, bake: Bake, tmp_path: Path
) -> None:
    assert bake(tmp_path, umask=umask).returncode == 0
    project = tmp_path / "my-project"
    assert mode(project) == 0o777 & ~umask
    assert mode(project / ".env") == 0o600
    assert mode(project / ".local") == 0o700
    assert keys(project)
    assert {mode(project / ".local" / name) for name in keys(project)} == {0o600}
    # Other files have the mode that they have in the template, whatever the umask; folders obey it.
    assert mode(project / "project.toml") == mode(template / TEMPLATE_FOLDER / "project.toml")


# Generating again.


def test_generating_again_keeps_secrets_and_own_files(own_project: Path, bake: Bake) -> None:
    for name in ("apps/billing.py", "services/own/own.conf", ".github/workflows/own.yml"):
        (own_project / name).parent.mkdir(parents=True, exist_ok=True)
        (own_project / name).write_text("mine")
    with (own_project / ".env").open("a") as file:
        file.write("OWN=1\n")
    before = contents(own_project)
    result = bake(own_project.parent, options=["--overwrite-if-exists"])
    assert result.returncode == 0, result.stderr
    assert contents(own_project) == before


def test_without_being_told_to_nothing_is_generated_again(own_project: Path, bake: Bake) -> None:
    before = contents(own_project)
    result = bake(own_project.parent, ["description=Other"])
    assert result.returncode == 1
    assert "already exists" in result.stdout
    assert contents(own_project) == before


def test_a_bad_answer_does_not_touch_a_project(own_project: Path, bake: Bake) -> None:
    before = contents(own_project)
    answers = ["project_slug=My-Project", "description=Other"]
    result = bake(own_project.parent, answers, options=["--overwrite-if-exists"])
    assert result.returncode == 1
    assert result.stderr.startswith("project_slug: 'My-Project' ")
    assert contents(own_project) == before


def test_a_failing_hook_does_not_destroy_a_project(
    own_project: Path, bake: Bake, tmp_path: Path
) -> None:
    (own_project / "mine").touch()
    before = contents(own_project)
    path = path_with(tmp_path / "bin", openssl="")
    result = bake(own_project.parent, options=["--overwrite-if-exists"], path=path)
    assert result.returncode == 1
    assert contents(own_project) == before


# The machine.


def test_generation_needs_no_network(bake: Bake, tmp_path: Path) -> None:
    namespace = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*namespace, "true"], capture_output=True).returncode != 0:
        pytest.skip("network namespaces are not permitted here")
    result = bake(tmp_path, prefix=[*namespace, "sh", "-c", OFFLINE, "sh"])
    assert result.returncode == 0, result.stderr
    assert keys(tmp_path / "my-project")


@pytest.mark.parametrize("folder", ["with space", "ünïcödé 🔐", "quo'te $HOME; `id`"])
def test_any_path_will_do(folder: str, bake: Bake, tmp_path: Path) -> None:
    result = bake(tmp_path / folder)
    assert result.returncode == 0, result.stderr
    project = tmp_path / folder / "my-project"
    assert secrets(project)
    assert keys(project)
    [line] = [line for line in result.stdout.splitlines() if line.startswith("  cd ")]
    shell = subprocess.run(["sh", "-c", f"{line} && pwd"], check=True, capture_output=True)
    assert Path(os.fsdecode(shell.stdout.removesuffix(b"\n"))) == project


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "openssl program is missing"),
        ("#!/bin/sh\necho OpenSSL 0.9.8zh\n", "0.9.8zh is too old"),
    ],
    ids=["missing", "too old"],
)
def test_openssl_must_be_there_and_new_enough(
    source: str, message: str, bake: Bake, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    result = bake(output, path=path_with(tmp_path / "bin", openssl=source))
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert message in line
    assert list(output.iterdir()) == []


def test_an_openssl_that_fails_leaves_nothing(bake: Bake, tmp_path: Path) -> None:
    """It makes certificates, but has no random numbers for .env."""
    real = shutil.which("openssl")
    source = f'#!/bin/sh\n[ "$2" != -base64 ] || exit 1\nexec {real} "$@"\n'
    output = tmp_path / "output"
    output.mkdir()
    result = bake(output, path=path_with(tmp_path / "bin", openssl=source))
    assert result.returncode == 1
    assert result.stderr.startswith("env: ")
    assert list(output.iterdir()) == []


def test_without_a_shell_it_says_so(bake: Bake, tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    result = bake(output, path=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr == "sh, the POSIX shell, is not on PATH. Generate in a Unix shell.\n"
    assert list(output.iterdir()) == []


def test_it_ends_with_what_was_made_and_what_comes_next(bake: Bake, tmp_path: Path) -> None:
    result = bake(tmp_path)
    assert result.stderr == ""
    assert result.stdout.strip().splitlines() == [
        "Your project is ready. Made for this machine only, and ignored by git:",
        "  .local/certs   a development CA, and a certificate for every service",
        "  .env           random secrets of the local stack",
        "",
        "Next:",
        f"  cd {tmp_path}/my-project",
        "  docker compose up     (or make up, which works without Docker too)",
        "",
        "and open https://localhost:8443",
    ]


def test_in_the_folder_one_is_in_the_next_command_is_short(bake: Bake, tmp_path: Path) -> None:
    result = bake(Path(), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "  cd my-project\n" in result.stdout


# Working in the template's folder.


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("name", [".env", ".local", ".venv"])
def test_a_template_with_secrets_of_its_own_is_refused(
    name: str, relative: bool, template: Path, bake: Bake, tmp_path: Path
) -> None:
    dirty = tmp_path / "dirty"
    shutil.copytree(template, dirty)
    (dirty / TEMPLATE_FOLDER / name).mkdir()
    result = bake(tmp_path, template=Path("dirty") if relative else dirty, cwd=tmp_path)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("template: ")
    assert f"/{name} would be copied into every project" in line
    assert list(tmp_path.iterdir()) == [dirty]
