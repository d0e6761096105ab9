"""Reading `encryption.toml`."""

from pathlib import Path

import pytest

from apps.encryption import hops

HOP = """
[[hop]]
name = "queue"
title = "Application to queue"
from = ["app", "worker"]
to = "queue"
protocol = "AMQP"
min_tls = "1.3"
verifies = "the client verifies the server"
enforced_by = "config/settings.py"
probe = "queue"
probed_from = ["app"]
controls = []
"""
STORE = """
[[store]]
name = "NAME"
title = "Files"
at_rest = "SSE-KMS"
enforced_by = "infra"
probe = "files"
probed_from = ["app"]
controls = ["FSBP S3.17"]
"""


def read(tmp_path: Path, text: str) -> hops.EncryptionList:
    file = tmp_path / "encryption.toml"
    file.write_text(text)
    return hops.load(file)


def test_entries_become_data(tmp_path: Path) -> None:
    listed = read(tmp_path, HOP + STORE)
    assert listed.hops[0].origins == ("app", "worker")
    assert listed.hops[0].exception == ""
    assert listed.stores[0].controls == ("FSBP S3.17",)
    assert [item.name for item in listed] == ["queue", "NAME"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no hop"),
        (STORE, "lists no hop"),
        (HOP + HOP, "uses a name twice"),
        (HOP + STORE.replace("NAME", "queue"), "uses a name twice"),
        (HOP.replace('to = "queue"', ""), "missing 1 required keyword-only argument: 'to'"),
        (HOP + 'mintls = "1.2"', "unexpected keyword argument 'mintls'"),
        (HOP.replace("[[hop]]", "[hop]"), "has no attribute"),
        ("[[hop]", "Expected"),
    ],
)
def test_a_broken_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)
