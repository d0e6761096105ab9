from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "apps.keys"

    def ready(self) -> None:
        from apps.keys import checks  # noqa: F401  (registers it)
