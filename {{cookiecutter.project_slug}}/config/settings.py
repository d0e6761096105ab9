"""Settings of the running project: the same file on a laptop, in CI and on AWS.

Environment variables give addresses; secrets come from `apps.secrets.ssm`; names
from `project.toml`. Encryption has no switch here: `apps.encryption.checks` stops
the start if a value below is weakened.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP

from apps.database.login import Connection
from apps.database.roles import APP, MIGRATOR
from apps.secrets.secret_key import fallback_keys
from apps.secrets.ssm import SSMSecretsRetriever, load_secrets
from config import logs, schedule
from config.project import BASE_DIR
from config.project import load as load_project

env = environ.Env()
PROJECT = load_project()

# Where this process runs ("local", "staging", "production", ...) and as what
# ("app", "worker", "scheduler", "release"): the hops a process has depend on it.
ENVIRONMENT = env.str("ENVIRONMENT")
ROLE = env.str("ROLE", default="app")
IS_LOCAL = ENVIRONMENT == "local"

# boto3 reads its region, credentials, endpoint and CA bundle from the environment:
# https://docs.aws.amazon.com/boto3/latest/guide/configuration.html#using-environment-variables
os.environ.setdefault("AWS_DEFAULT_REGION", PROJECT.region)

# "password", or "iam" for a token of RDS's IAM authentication: there is no password then.
DATABASE_LOGIN = env.str("DATABASE_LOGIN", default="password")
DATABASE_USER = env.str("DATABASE_USER", default=APP)
database_secrets = ["DATABASE_PASSWORD"] if DATABASE_LOGIN == "password" else []

SECRETS_PREFIX = f"/{PROJECT.slug}/{ENVIRONMENT}/"
secrets = load_secrets(
    ["SECRET_KEY", "CACHE_PASSWORD", *(database_secrets if DATABASE_USER == APP else [])],
    os.environ,
    SSMSecretsRetriever(SECRETS_PREFIX),
    optional=["SECRET_KEY_FALLBACKS"],
)
# The migrator's is out of the reach of what serves.
migrator_secrets = load_secrets(
    database_secrets if DATABASE_USER == MIGRATOR else [],
    os.environ,
    SSMSecretsRetriever(f"{SECRETS_PREFIX}release/"),
)
# Where ECS takes CACHE_PASSWORD from; only who reports its age is told.
CACHE_LOGIN_ARN = env.str("CACHE_LOGIN_ARN", default="")

# Core -----------------------------------------------------------------------
SECRET_KEY = secrets["SECRET_KEY"]
SECRET_KEY_FALLBACKS = fallback_keys(secrets)  # manage.py rotate_secret_key
DEBUG = False
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[PROJECT.domain])
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_structlog",
    "django_tasks_db",
    "apps.users",
    "apps.encryption",
    "apps.secrets",
    "apps.database",
    "apps.keys",
    "apps.fields",
    "apps.rotation",
    "apps.scheduler",
    "apps.operations",
    "apps.notes",
]

MIDDLEWARE = [
    # First: a load balancer probes by IP address, which no host validation allows.
    "apps.health.middleware.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "apps.users.middleware.LogInMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.middleware.RequestLogMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "config" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context_processors.project",
            ],
        },
    },
]

# Database: https://www.postgresql.org/docs/current/libpq-ssl.html ------------
# What each login leaves the server no choice about. RDS's IAM authentication asks for the
# token itself: inside verified TLS, but nothing of it can be bound to the channel.
DATABASE_LOGINS = {
    "password": {"channel_binding": "require", "require_auth": "scram-sha-256"},
    "iam": {"channel_binding": "disable", "require_auth": "password"},
}
if DATABASE_LOGIN not in DATABASE_LOGINS:
    raise ImproperlyConfigured("Set DATABASE_LOGIN to 'password' or 'iam'.")
DATABASES = {
    "default": {
        "ENGINE": "apps.fields.postgresql",
        "HOST": env.str("DATABASE_HOST"),
        "PORT": env.int("DATABASE_PORT", default=5432),
        "NAME": env.str("DATABASE_NAME", default="app"),
        "USER": DATABASE_USER,
        # The first one only: see apps.database.login.
        "PASSWORD": {**secrets, **migrator_secrets}.get("DATABASE_PASSWORD", ""),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "sslmode": "verify-full",
            "sslrootcert": env.str("DATABASE_CA_FILE"),
            # libpq cannot choose ciphers. TLS 1.3 has no bad ones.
            "ssl_min_protocol_version": "TLSv1.3",
            **DATABASE_LOGINS[DATABASE_LOGIN],
            "login": DATABASE_LOGIN,
            "gssencmode": "disable",
            "connect_timeout": 5,
            "application_name": ROLE,
            # https://docs.djangoproject.com/en/6.1/ref/databases/#connection-pool
            "pool": {
                "connection_class": Connection,
                "min_size": 1,
                "max_size": env.int("DATABASE_POOL_SIZE", default=8),
                # Seconds that a request waits for a connection, and that an attempt is
                # repeated: the next request tries anew, so a restart is soon noticed.
                "timeout": 5,
                "reconnect_timeout": 5,
            },
        },
    }
}

# Error reports name a frame's variables, but show no value.
DEFAULT_EXCEPTION_REPORTER = "config.errors.NoValuesReporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.errors.NoValuesFilter"

# Data keys of encrypted fields and files ---------------------------------------------
KEY_STORE = "apps.keys.aws.AWSKeyStore"
KMS_KEY = env.str("KMS_KEY", default=f"alias/{PROJECT.slug}-{ENVIRONMENT}")
# Seconds after which no process uses a former state of the keyring any more. A rotation
# waits so long between its steps; so long the key store may be away unnoticed.
KEYRING_MAX_AGE = env.float("KEYRING_MAX_AGE", default=300)
SERIALIZATION_MODULES = {
    "python": "apps.fields.serializers.python",
    "json": "apps.fields.serializers.json",
    "jsonl": "apps.fields.serializers.jsonl",
    "xml": "apps.fields.serializers.refused",
    "yaml": "apps.fields.serializers.refused",
}

# Cache: https://docs.djangoproject.com/en/6.1/topics/cache/#redis -------------
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"rediss://{env.str('CACHE_HOST')}:{env.int('CACHE_PORT', default=6379)}/0",
        "KEY_PREFIX": PROJECT.slug,
        "OPTIONS": {
            "username": env.str("CACHE_USER", default="app"),
            "password": secrets["CACHE_PASSWORD"],
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": env.str("CACHE_CA_FILE"),
            "ssl_ciphers": "ECDHE+AESGCM:ECDHE+CHACHA20",  # of TLS 1.2
            "socket_connect_timeout": 5,
            "socket_timeout": 5,
            "health_check_interval": 30,
        },
    }
}
SESSION_ENGINE = "apps.users.sessions"
# Messages would otherwise travel in a cookie of their own, without the __Host- prefix.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# Files: https://django-storages.readthedocs.io/en/latest/backends/amazon-S3.html
STORAGES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "apps.files.storage.EncryptedS3Storage",
        "OPTIONS": {
            "bucket_name": env.str("MEDIA_BUCKET", default=f"{PROJECT.slug}-{ENVIRONMENT}-media"),
            "region_name": os.environ["AWS_DEFAULT_REGION"],
            "use_ssl": True,
            # None lets botocore verify with AWS_CA_BUNDLE or its own roots.
            "verify": None,
            "file_overwrite": False,
            "default_acl": None,
            "querystring_auth": True,
            "max_memory_size": 5 * 1024 * 1024,
        },
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_URL = "static/"
STATIC_ROOT = env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles"))
STATICFILES_DIRS = [BASE_DIR / "config" / "static"]
WHITENOISE_ALLOW_ALL_ORIGINS = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
# As client_max_body_size in services/nginx/nginx.conf: no upload is written to a disk.
FILE_UPLOAD_HANDLERS = ["apps.files.uploads.MemoryUploadHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = 12 * 1024 * 1024

# Background work: the database is the broker, so its hop is the only one -------
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
SCHEDULE = schedule.COMMANDS

# Users ------------------------------------------------------------------------
AUTH_USER_MODEL = "users.User"
AUTHENTICATION_BACKENDS = ["apps.users.backends.ThrottledBackend"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# Wrong attempts in each window; docs/operations.md and apps.users.throttle explain them.
ATTEMPT_WINDOW = timedelta(minutes=15)
ATTEMPT_LIMITS = {
    "device": 10,  # a browser in which the user has logged in before; for all others:
    "account_and_network": 10,
    "network": 200,
    "account": 25,
    "sign_up": 300,  # for one network
}

# No mail is sent until a mailer is named; encryption.E019 wants TLS of it.
# https://docs.djangoproject.com/en/6.1/ref/settings/#mailers
MAILERS: dict[str, dict[str, Any]] = {}
SILENCED_SYSTEM_CHECKS = ["mail.W001"]  # "no default mailer"

# Browser: https://docs.djangoproject.com/en/6.1/topics/security/ ---------------
# gunicorn itself speaks TLS to the proxy, so `request.is_secure()` is true without
# trusting a header: SECURE_PROXY_SSL_HEADER stays unset on purpose.
SECURE_HSTS_SECONDS = int(timedelta(days=730).total_seconds())
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SECURE_SSL_REDIRECT = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CSP = {
    "default-src": [CSP.NONE],
    "style-src": [CSP.SELF],
    "script-src": [CSP.SELF],
    "img-src": [CSP.SELF],
    "font-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
}
X_FRAME_OPTIONS = "DENY"
# __Host- binds a cookie to this host, to HTTPS and to the path /:
# https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes
SESSION_COOKIE_NAME = "__Host-session"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "__Host-csrf"
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"

# Time and language --------------------------------------------------------------
TIME_ZONE = "UTC"
USE_TZ = True
LANGUAGE_CODE = "en"

# Encryption: what the probes connect to (the peers of this process are above) -----
ENCRYPTION_HOPS_FILE = BASE_DIR / "encryption.toml"
EDGE_ADDRESS = env.str("EDGE_ADDRESS", default=f"{PROJECT.domain}:443")
EDGE_CA_FILE = env.str("EDGE_CA_FILE", default="")
AWS_CA_FILE = env.str("AWS_CA_BUNDLE", default="")
GUNICORN_ADDRESS = env.str("GUNICORN_ADDRESS", default="127.0.0.1:8000")
CREDENTIALS_DIR = Path(env.str("CREDENTIALS_DIR", default="/run/credentials"))

# Logs -----------------------------------------------------------------------------
LOGGING = logs.configure(json=not IS_LOCAL)
