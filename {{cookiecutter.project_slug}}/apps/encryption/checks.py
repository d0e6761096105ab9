"""System checks that stop the start when a protection is missing.

They look at settings only; `manage.py verify_encryption` looks at the running
system. There is no setting that turns them off.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from apps.encryption import hops
from apps.encryption.probes import PROBES
from apps.files.storage import EncryptedS3Storage

TAG = "encryption"

# 64 characters of random letters and digits, or more: Django's own check wants 50.
_MIN_SECRET_KEY = 50
_MIN_PASSWORD = 20


class EncryptionError(Error):
    """An error that SILENCED_SYSTEM_CHECKS does not silence."""

    def is_silenced(self) -> bool:
        """No."""
        return False


def encryption_error(number: int, message: str, hint: str) -> Error:
    return EncryptionError(message, hint=hint, id=f"encryption.E{number:03}")


def _is_file(value: object) -> bool:
    return isinstance(value, str) and bool(value) and Path(value).is_file()


def database_errors(databases: dict[str, dict[str, Any]]) -> Iterator[Error]:
    """Every database verifies its server fully and binds SCRAM to the channel.

    IAM authentication is the one exception: RDS asks for the token itself, which works
    inside verified TLS alone, for 15 minutes, and for this host, port and user only.
    """
    for alias, database in databases.items():
        options = database.get("OPTIONS", {})
        where = f"DATABASES[{alias!r}]"
        if database.get("ENGINE") != "apps.fields.postgresql":
            yield encryption_error(
                1,
                f"{where} does not use this project's PostgreSQL backend.",
                "Use apps.fields.postgresql: its TLS is checked here, and its migrations "
                "encrypt columns.",
            )
            continue
        if options.get("sslmode") != "verify-full":
            yield encryption_error(
                2,
                f"{where} does not verify its server: sslmode is {options.get('sslmode')!r}.",
                "Set OPTIONS['sslmode'] to 'verify-full'; every other mode accepts a false server.",
            )
        if not _is_file(options.get("sslrootcert")):
            yield encryption_error(
                3,
                f"{where} has no root certificate: {options.get('sslrootcert')!r} is not a file.",
                "Point DATABASE_CA_FILE at the CA's certificate (locally: make certs).",
            )
        if options.get("login") == "iam":
            # Nothing but the token: a server that asks for SCRAM or for nothing is not RDS.
            if options.get("require_auth") != "password":
                yield encryption_error(
                    4,
                    f"{where} would log in with IAM in another way than RDS asks for.",
                    "Set OPTIONS['require_auth'] to 'password': the token, inside TLS.",
                )
        elif options.get("channel_binding") != "require":
            yield encryption_error(
                4,
                f"{where} does not require channel binding.",
                "Set OPTIONS['channel_binding'] to 'require', so that a relay cannot log in. "
                "Only with OPTIONS['login'] = 'iam' it cannot be had.",
            )
        elif options.get("require_auth") != "scram-sha-256":
            yield encryption_error(
                4,
                f"{where} would tell its password to a server that asks for it.",
                "Set OPTIONS['require_auth'] to 'scram-sha-256', which never sends it.",
            )


def cache_errors(caches: dict[str, dict[str, Any]]) -> Iterator[Error]:
    """Every cache speaks TLS and verifies chain and name."""
    for alias, cache in caches.items():
        options = cache.get("OPTIONS", {})
        where = f"CACHES[{alias!r}]"
        locations = cache.get("LOCATION", "")
        if isinstance(locations, str):
            locations = re.split("[;,]", locations)  # as RedisCache does
        if cache.get("BACKEND") != "django.core.cache.backends.redis.RedisCache" or {
            urlsplit(location).scheme for location in locations
        } != {"rediss"}:
            yield encryption_error(
                5,
                f"{where} is not a cache over TLS.",
                "Use Django's RedisCache with a rediss:// location.",
            )
            continue
        if options.get("ssl_cert_reqs") != "required" or not options.get("ssl_check_hostname"):
            yield encryption_error(
                6,
                f"{where} does not verify its server.",
                "Set OPTIONS ssl_cert_reqs='required' and ssl_check_hostname=True.",
            )
        if any("ssl_" in urlsplit(location).query for location in locations):
            yield encryption_error(
                6,
                f"{where} overrides TLS options in its location.",
                "Remove the ssl_ parameters from the URL; they win over OPTIONS.",
            )
        if not _is_file(options.get("ssl_ca_certs")):
            yield encryption_error(
                7,
                f"{where} has no root certificate: {options.get('ssl_ca_certs')!r} is not a file.",
                "Point CACHE_CA_FILE at the CA's certificate (locally: make certs).",
            )


def _encrypts_files(backend: str) -> bool:
    try:
        return issubclass(import_string(backend), EncryptedS3Storage)
    except (ImportError, TypeError):
        return False


def aws_errors(
    storages: dict[str, dict[str, Any]], endpoints: Iterable[str], ca_file: str
) -> Iterator[Error]:
    """Object storage and secret store are reached over verified HTTPS."""
    default = storages.get("default", {})
    options = default.get("OPTIONS", {})
    if not _encrypts_files(default.get("BACKEND", "")):
        yield encryption_error(
            8,
            "STORAGES['default'] does not encrypt files before they reach S3.",
            "Use apps.files.storage.EncryptedS3Storage, or a subclass, with an encrypted bucket.",
        )
    if options.get("verify") is False or options.get("use_ssl") is False:
        yield encryption_error(
            9,
            "STORAGES['default'] does not verify its server or does not use TLS.",
            "Remove 'verify': False and 'use_ssl': False from its OPTIONS.",
        )
    for url in (*endpoints, options.get("endpoint_url")):
        if url and urlsplit(url).scheme != "https":
            yield encryption_error(
                10,
                f"The AWS endpoint {url} is not https.",
                "Set it to an https:// address, or leave it unset on AWS.",
            )
    if ca_file and not _is_file(ca_file):
        yield encryption_error(
            11,
            f"AWS_CA_BUNDLE points to {ca_file!r}, which is not a file.",
            "Point it at the CA's certificate (locally: make certs), or unset it on AWS.",
        )


def secret_errors(
    secret_key: str, fallbacks: Iterable[str], passwords: dict[str, str]
) -> Iterator[Error]:
    """Secrets are present and long; the messages never show one."""
    keys = {"SECRET_KEY": secret_key}
    keys |= {f"SECRET_KEY_FALLBACKS[{index}]": key for index, key in enumerate(fallbacks)}
    for name, key in keys.items():
        if len(key) < _MIN_SECRET_KEY or len(set(key)) < 10:
            yield encryption_error(
                12,
                f"{name} is too short or too plain.",
                "Put a random value of 64 characters into the parameter store.",
            )
    for name, value in passwords.items():
        if len(value) < _MIN_PASSWORD:
            yield encryption_error(
                13,
                f"The password of {name} is missing or shorter than {_MIN_PASSWORD} characters.",
                "Put a random value of 40 characters into the parameter store.",
            )


def browser_errors(values: Any) -> Iterator[Error]:
    """The browser is told to stay on HTTPS, and hosts are named."""
    wanted: dict[str, Callable[[Any], bool]] = {
        "SESSION_COOKIE_SECURE": bool,
        "CSRF_COOKIE_SECURE": bool,
        "SECURE_SSL_REDIRECT": bool,
        "SECURE_HSTS_SECONDS": lambda seconds: seconds >= 31536000,
        "SECURE_CSP": bool,
    }
    for name, good in wanted.items():
        if not good(getattr(values, name, None)):
            yield encryption_error(
                14, f"{name} is weaker than this project's default.", f"Restore {name} in settings."
            )
    if values.DEBUG:
        yield encryption_error(
            15, "DEBUG is on.", "Set DEBUG to False: its error pages show settings."
        )
    if any("*" in host for host in values.ALLOWED_HOSTS) or not values.ALLOWED_HOSTS:
        yield encryption_error(
            16,
            "ALLOWED_HOSTS is empty or has a wildcard.",
            "Name the hosts; health probes are answered before host validation.",
        )


def mail_errors(mailers: dict[str, dict[str, Any]] | None) -> Iterator[Error]:
    """Mail leaves over TLS or not at all. Django's SMTP backend then verifies the server."""
    if mailers is None:
        yield encryption_error(
            19,
            "MAILERS is not set, so mail would go to localhost without TLS.",
            "Set MAILERS to {}, or name mailers that use TLS.",
        )
    for alias, mailer in (mailers or {}).items():
        options = mailer.get("OPTIONS", {})
        smtp = "smtp" in mailer.get("BACKEND", "smtp")  # Django's default
        if smtp and not (options.get("use_tls") or options.get("use_ssl")):
            yield encryption_error(
                19,
                f"MAILERS[{alias!r}] sends mail without TLS.",
                "Set 'use_tls' or 'use_ssl' to True in its OPTIONS.",
            )


def list_errors() -> Iterator[Error]:
    """`encryption.toml` can be read, and every entry has its probe."""
    try:
        listed = hops.load()
    except (OSError, ValueError) as error:
        yield encryption_error(
            17, f"The list of hops cannot be read: {error}", "Repair encryption.toml."
        )
        return
    for item in listed:
        if item.probe not in PROBES:
            yield encryption_error(
                18,
                f"encryption.toml: {item.name} names the probe {item.probe!r}, which is missing.",
                "Write that probe in apps/encryption/probes.py.",
            )


@register(TAG)
def check_encryption(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Run all of the above on the settings in force."""
    databases: dict[str, dict[str, Any]] = settings.DATABASES
    caches: dict[str, dict[str, Any]] = settings.CACHES
    database = databases["default"]
    by_token = database.get("OPTIONS", {}).get("login") == "iam"
    passwords = {
        **({} if by_token else {"the database": database.get("PASSWORD", "")}),
        "the cache": caches["default"].get("OPTIONS", {}).get("password", ""),
    }
    # One for all services, or one each: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_SSM.
    endpoints = [url for name, url in os.environ.items() if name.startswith("AWS_ENDPOINT_URL")]
    return [
        *database_errors(databases),
        *cache_errors(caches),
        *aws_errors(settings.STORAGES, endpoints, settings.AWS_CA_FILE),
        *secret_errors(settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS, passwords),
        *browser_errors(settings),
        *mail_errors(getattr(settings, "MAILERS", None)),
        *list_errors(),
    ]
