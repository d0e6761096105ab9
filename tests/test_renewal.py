"""New secrets and certificates under data that stay."""

import shutil

import pytest
from stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_data_survive_new_secrets(stack: Stack) -> None:
    """As when a folder is deleted and generated again, and the stack's data are still there."""
    before = stack.secrets
    stack.shell("User.objects.create_user('kept@example.com', 'any')")
    stack.down()
    (stack.project / ".env").unlink()
    shutil.rmtree(stack.project / ".local" / "certs")
    stack.up()

    del stack.secrets  # what it has cached
    for name, value in before.items():
        assert "PORT" in name or stack.secrets[name] != value, name
    assert stack.shell("print(User.objects.filter(email='kept@example.com').count())") == "1"
    verification = stack.verify()
    assert verification.exit_status == 0, verification.message
