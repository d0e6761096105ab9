"""The copy of a project that is proved: all that its team wrote, and no secret of theirs."""

import subprocess
from pathlib import Path

import pytest
from conftest import copy_project


@pytest.fixture
def team_project(own_project: Path) -> Path:
    """A project that has run once, with a file that is not committed yet."""
    (own_project / ".venv").mkdir()
    (own_project / ".venv" / "large").touch()
    (own_project / "apps" / "new.py").touch()
    assert (own_project / ".env").is_file()
    assert (own_project / ".local" / "certs" / "ca.key").is_file()
    return own_project


@pytest.mark.parametrize("repository", ["its own", "of a parent that ignores it", "none"])
def test_copy(repository: str, team_project: Path, tmp_path: Path) -> None:
    if repository == "its own":
        subprocess.run(["git", "init", "--quiet", team_project], check=True)
    if repository == "of a parent that ignores it":
        subprocess.run(["git", "init", "--quiet", team_project.parent], check=True)
        (team_project.parent / ".gitignore").write_text(f"/{team_project.name}/\n")
    copy = tmp_path / "copy"
    copy_project(team_project, copy)
    assert (copy / "encryption.toml").is_file()
    assert (copy / "apps" / "new.py").is_file()
    for name in (".env", ".local", ".venv", ".git"):
        assert not (copy / name).exists(), name
