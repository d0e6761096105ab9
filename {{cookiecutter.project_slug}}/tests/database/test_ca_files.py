"""The CAs that the image has for AWS."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from config.project import BASE_DIR

APP = BASE_DIR / "services" / "app"
FILES = {
    "rds-ca.pem": ("Amazon RDS ",),
    "amazon-ca.pem": ("Amazon Root CA ", "Starfield Services "),
}


def certificates(file: Path) -> dict[str, x509.Certificate]:
    """Return them by common name."""
    found = x509.load_pem_x509_certificates(file.read_bytes())
    names = [c.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value for c in found]
    return dict(zip(map(str, names), found, strict=True))


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # Starfield's is 0
@pytest.mark.parametrize("name", FILES)
def test_every_certificate_is_a_valid_ca_of_amazon(name: str) -> None:
    latest_start = datetime.now(UTC) + timedelta(days=5 * 365)
    for common_name, certificate in certificates(APP / name).items():
        assert common_name.startswith(FILES[name])
        assert certificate.not_valid_after_utc > latest_start, common_name
        assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        certificate.verify_directly_issued_by(certificate)


def test_rds_has_three_in_each_region() -> None:
    names = [name.removeprefix("Amazon RDS ") for name in certificates(APP / "rds-ca.pem")]
    regions = {name.split()[0] for name in names}
    kinds = ("RSA2048", "RSA4096", "ECC384")
    assert sorted(names) == sorted(f"{r} Root CA {kind} G1" for r in regions for kind in kinds)
    assert {"eu-central-1", "eu-west-1", "us-east-1", "ap-southeast-2"} <= regions


def test_they_are_in_the_image() -> None:
    dockerfile = (APP / "Dockerfile").read_text()
    for name in FILES:
        assert f"services/app/{name} " in dockerfile
