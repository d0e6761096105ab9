"""An app that exists in migrations only, and the tables that they make of it.

    scratch.become(item(name=models.CharField(max_length=20)))
    scratch.become(item(name=EncryptedCharField(max_length=20)))

Each step writes the migration that `makemigrations` would write for those models, runs
it, and makes sure that `makemigrations` finds nothing more to do.
"""

from typing import Any

from django.apps.registry import Apps
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.migrations import Migration
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.operations.base import Operation
from django.db.migrations.questioner import MigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState

LABEL = "scratch"


class Questioner(MigrationQuestioner):
    """Says that what looks renamed is renamed, and with which value a new column begins."""

    def __init__(self, default: Any) -> None:
        super().__init__({"ask_rename": True, "ask_rename_model": True})
        self.default = default

    def ask_not_null_addition(self, field_name: str, model_name: str) -> Any:
        return self.default

    ask_not_null_alteration = ask_not_null_addition


def model(
    class_name: str, base: type[models.Model] = models.Model, /, **attributes: Any
) -> type[models.Model]:
    """Return a model of the app, as models.py would define it; `Meta` is a dictionary."""
    options = {"app_label": LABEL, "apps": Apps(), **attributes.pop("Meta", {})}
    attributes |= {"__module__": __name__, "Meta": type("Meta", (), options)}
    return type(class_name, (base,), attributes)


def item(**attributes: Any) -> type[models.Model]:
    """Return the model `Item`."""
    return model("Item", **attributes)


class Scratch:
    """The migrations so far, and what became of the database."""

    def __init__(self, *, atomic: bool = True, alias: str = DEFAULT_DB_ALIAS) -> None:
        self.atomic = atomic
        self.connection = connections[alias]
        self.migrations: list[Migration] = []
        self.states = [ProjectState()]

    def become(self, *classes: type[models.Model], default: Any = None) -> list[Operation]:
        """Make and run the migration to these models; return its operations."""
        operations = self.changes(*classes, default=default)
        self.run(*operations)
        assert not self.changes(*classes)
        return operations

    def changes(self, *classes: type[models.Model], default: Any = None) -> list[Operation]:
        """Return what `makemigrations` would write."""
        wanted = ProjectState()
        for found in classes:
            wanted.add_model(ModelState.from_model(found))
        detector = MigrationAutodetector(self.states[-1].clone(), wanted, Questioner(default))
        migrations = detector._detect_changes().get(LABEL, [])  # type: ignore[attr-defined]
        return [operation for migration in migrations for operation in migration.operations]

    def run(self, *operations: Operation, collect_sql: bool = False) -> list[str]:
        """Run a migration, or return its SQL as `sqlmigrate` does."""
        body = {"operations": operations, "atomic": self.atomic}
        migration = type("Migration", (Migration,), body)(f"{len(self.migrations):04}", LABEL)
        state = self.states[-1].clone()
        with self._editor(collect_sql=collect_sql) as editor:
            state = migration.apply(state, editor, collect_sql)
        if collect_sql:
            return list(editor.collected_sql)
        self.migrations.append(migration)
        self.states.append(state)
        return []

    def undo(self) -> None:
        """Run the last migration backwards."""
        with self._editor() as editor:
            self.migrations[-1].unapply(self.states[-2].clone(), editor)
        self.migrations.pop()
        self.states.pop()

    def _editor(self, *, collect_sql: bool = False) -> Any:
        return self.connection.schema_editor(collect_sql, atomic=self.atomic)

    def objects(self, name: str = "Item") -> Any:
        """Return the manager of a historical model."""
        found = self.states[-1].apps.get_model(LABEL, name)
        return found._default_manager.db_manager(self.connection.alias)

    def stored(self, column: str, table: str = f"{LABEL}_item") -> list[Any]:
        """Return a column as the database holds it, without the NULLs."""
        q = self.connection.ops.quote_name
        rows = self.query(
            f"SELECT {q(column)} FROM {q(table)} WHERE {q(column)} IS NOT NULL"  # noqa: S608
        )
        return [bytes(v) if isinstance(v, memoryview) else v for (v,) in rows]

    def query(self, sql: str, *params: Any) -> list[Any]:
        """Return the rows of a query, if it has any."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall()) if cursor.description else []

    def drop(self) -> None:
        """Remove all tables of the app."""
        cascade = "CASCADE" if self.connection.vendor == "postgresql" else ""
        with self.connection.constraint_checks_disabled():
            for table in self.connection.introspection.table_names():
                if LABEL in table.lower():
                    self.query(f'DROP TABLE "{table}" {cascade}')
