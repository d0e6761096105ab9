"""A bill of materials for each image, beside the report."""

import json
import tomllib
from pathlib import Path

import pytest
from report import Evidence
from sbom import SERVERS, bill_of, debian_packages, problem_of
from stack import DockerStack
from tools import version

LOCKS = {"app": ("uv.lock", "django"), "aws": ("services/aws/uv.lock", "ministack")}
PACKAGES = {"cache": "openssl", "postgres": "openssl", "proxy": "nginx"}


@pytest.mark.proof
@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", SERVERS)
def test_bill_of_materials(
    kind: str,
    docker: DockerStack,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    evidence: Evidence,
) -> None:
    evidence.version("cyclonedx-bom", version("cyclonedx-bom"))
    bill = bill_of(f"{docker.name}-{kind}", kind, tmp_path / "environment")
    text = json.dumps(bill, indent=1)
    folder: Path = pytestconfig.getoption("--report") or tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"sbom-{kind}.cdx.json"
    path.write_text(text)

    problem = problem_of(text, tmp_path)
    found = {each["name"].lower(): each["version"] for each in bill["components"]}
    purls = [each["purl"].partition("/")[0] for each in bill["components"] if "purl" in each]
    counts = ", ".join(f"{purls.count(each)} {each}" for each in sorted(set(purls)))
    evidence.line(
        "scanners",
        subject=f"image {kind}: {path.name}",
        tried="bill of materials, validated against the schema of CycloneDX 1.6",
        expected="valid, with the locked versions",
        seen=problem or f"valid: {counts}",
    )
    evidence.figure("scanners", "components in the bills of materials", len(found))
    assert problem == ""
    assert "dpkg" in found
    if kind in LOCKS:
        lock, known = LOCKS[kind]
        packages = tomllib.loads((docker.project / lock).read_text())["package"]
        locked = {each["name"]: each.get("version", "") for each in packages}
        assert found[known] == locked[known]
        # All that was installed is in the lock, at that version.
        installed = [each for each in bill["components"] if each.get("purl", "")[:8] == "pkg:pypi"]
        names = {each["name"].lower().replace("_", "-").replace(".", "-") for each in installed}
        assert len(installed) > 5
        assert names <= set(locked)
    else:
        assert PACKAGES[kind] in found


def test_only_installed_packages_count() -> None:
    status = (
        "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.5.1-1+b1\n"
        "Description: Secure Sockets Layer\n more\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n"
    )
    (found,) = debian_packages(status)
    assert found["purl"] == "pkg:deb/debian/openssl@3.5.1-1%2Bb1?arch=amd64"


@pytest.mark.proof
@pytest.mark.timeout(300)
def test_the_validator_refuses_a_bad_document(tmp_path: Path) -> None:
    good = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": []}
    assert problem_of(json.dumps(good), tmp_path) == ""
    bad = {**good, "components": [{"type": "library"}]}
    assert "name" in problem_of(json.dumps(bad), tmp_path)
