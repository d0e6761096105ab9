"""Certificates of the tests' own making: good ones, and ones that nobody should accept."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

type Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_USAGES = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
}


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate."""

    key: Path
    crt: Path


@dataclass(frozen=True)
class Authority(Pair):
    """A CA: one of the tests' own, or a project's, whose key lies in .local/certs."""

    def issue(
        self,
        folder: Path,
        name: str,
        *others: str,
        usage: str = "serverAuth",
        starts: int = 0,
        days: int = 30,
        is_rsa: bool = False,
    ) -> Pair:
        """Make a certificate for the DNS name `name`, and for others, in a new folder.

        It is good from `starts` days from now on (before now if negative) for `days` days.
        """
        ca = x509.load_pem_x509_certificate(self.crt.read_bytes())
        ca_key = serialization.load_pem_private_key(self.key.read_bytes(), password=None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        key = rsa.generate_private_key(65537, 2048) if is_rsa else _new_key()
        builder = _leaf([name, *others], key, ca_key, usage, starts, days).issuer_name(ca.subject)
        return _write(folder, "tls", key, builder.sign(ca_key, hashes.SHA256()))


def make_authority(folder: Path) -> Authority:
    """Make a CA that nobody trusts."""
    key = _new_key()
    builder = (
        _dated(_name("Another CA"), key, 0, 30)
        .issuer_name(_name("Another CA"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_ca=True), critical=True)
    )
    pair = _write(folder, "ca", key, builder.sign(key, hashes.SHA256()))
    return Authority(pair.key, pair.crt)


def self_signed(folder: Path, name: str, *others: str, usage: str = "serverAuth") -> Pair:
    """Make a certificate that no CA has signed."""
    key = _new_key()
    builder = _leaf([name, *others], key, key, usage, 0, 30).issuer_name(_name(name))
    return _write(folder, "tls", key, builder.sign(key, hashes.SHA256()))


def authority_of(project: Path) -> Authority:
    """The development CA of a generated project."""
    certs = project / ".local" / "certs"
    return Authority(certs / "ca.key", certs / "ca.crt")


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=not is_ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _dated(subject: x509.Name, key: Key, starts: int, days: int) -> x509.CertificateBuilder:
    # A little earlier: certificates know no fractions of a second.
    begin = datetime.now(UTC) + timedelta(days=starts, minutes=-1)
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _subject(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ip_address(name))
    return x509.DNSName(name)


def _leaf(
    names: Sequence[str], key: Key, issuer: Key, usage: str, starts: int, days: int
) -> x509.CertificateBuilder:
    """All that a strict client wants, so that it refuses for what is wrong on purpose only."""
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    return (
        _dated(_name(names[0]), key, starts, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USAGES[usage]]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_subject(name) for name in names]), critical=False
        )
        .add_extension(signer, critical=False)
    )


def _write(folder: Path, name: str, key: Key, certificate: x509.Certificate) -> Pair:
    folder.mkdir(parents=True)
    pair = Pair(folder / f"{name}.key", folder / f"{name}.crt")
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    pair.crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return pair
