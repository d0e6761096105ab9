"""Software bills of materials of the images, in CycloneDX 1.6.

What pip installed is listed by cyclonedx-py from the image's own environment; what Debian's
package manager installed from its database in the image. Programs that were compiled into an
image by other means are not seen: the server's own version is asked and added.

https://cyclonedx.org/docs/1.6/json/
"""

import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tools import tool

# How the main program of an image says its version, and where its Python packages are.
SERVERS = {
    "app": ("python3", "--version"),
    "aws": ("python3", "--version"),
    "cache": ("valkey-server", "--version"),
    "postgres": ("postgres", "--version"),
    "proxy": ("nginx", "-v"),
}
ENVIRONMENTS = {"app": "/app/.venv", "aws": "/srv/.venv"}

_VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()) or "")
"""


def _in_image(image: str, *command: str) -> bytes:
    run = ("docker", "run", "--rm", "--network", "none", "--user", "65534", "--entrypoint")
    return subprocess.run(
        [*run, command[0], image, *command[1:]],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if command[-1].startswith("-") else subprocess.DEVNULL,
    ).stdout


def debian_packages(status: str) -> Iterator[dict[str, Any]]:
    """Yield a component for each installed package of a dpkg database.

    https://github.com/package-url/purl-spec/blob/main/types-doc/deb-definition.md
    """
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status") != "install ok installed":
            continue
        name, version, architecture = (fields[k] for k in ("Package", "Version", "Architecture"))
        purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={architecture}"
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
        }


def python_packages(image: str, environment: str, folder: Path) -> dict[str, Any]:
    """Return what cyclonedx-py says of a virtual environment in an image."""
    packages = f"{environment}/lib/python3.13/site-packages"
    listing = "cd " + packages + " && tar -cf - ./*.dist-info"
    site = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    with tarfile.open(fileobj=BytesIO(_in_image(image, "sh", "-c", listing))) as archive:
        archive.extractall(site, filter="data")
    options = ("--no-validate", "--sv", "1.6", "--of", "JSON")  # `problem_of` validates the whole
    command = ("cyclonedx-py", "environment", *options, folder)
    result = tool("cyclonedx", *command, cwd=folder)
    if result.returncode != 0:
        raise RuntimeError(f"cyclonedx-py: {result.stderr}")
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def bill_of(image: str, kind: str, folder: Path) -> dict[str, Any]:
    """Return the bill of materials of one of the stack's images."""
    document: dict[str, Any] = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
    if environment := ENVIRONMENTS.get(kind):
        document = python_packages(image, environment, folder)
    program = SERVERS[kind]
    version = re.search(rb"\d+\.\d+(\.\d+)?", _in_image(image, *program))
    if not version:
        raise RuntimeError(f"{program[0]} of {image} does not say its version.")
    name = program[0].removesuffix("-server")
    server = {
        "type": "application",
        "bom-ref": f"server:{name}",
        "name": name,
        "version": version[0].decode(),
    }
    debian = debian_packages(_in_image(image, "cat", "/var/lib/dpkg/status").decode())
    inspected = json.loads(
        subprocess.run(
            ["docker", "image", "inspect", image], check=True, capture_output=True
        ).stdout
    )
    document["components"] = [*document.get("components", []), server, *debian]
    document.setdefault("metadata", {})["component"] = {
        "type": "container",
        "bom-ref": "image",
        "name": image,
        "version": inspected[0]["Id"],
    }
    return document


def problem_of(document: str, cwd: Path) -> str:
    """Return what CycloneDX's own validator has against a document, or nothing."""
    path = cwd / "document.json"
    path.write_text(document)
    script = _VALIDATE.replace("sys.stdin.read()", f"open({str(path)!r}).read()")
    result = tool("cyclonedx", "python", "-c", script, cwd=cwd)
    if result.returncode != 0:
        raise RuntimeError(f"cyclonedx's validator: {result.stderr}")
    return result.stdout.strip()
