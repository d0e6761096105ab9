from django.apps import AppConfig


class EncryptionConfig(AppConfig):
    name = "apps.encryption"

    def ready(self) -> None:
        from apps.encryption import checks  # noqa: F401  (registers them)
