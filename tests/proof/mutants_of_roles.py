"""Mutants of who may what in the database, and of how processes log in to it."""

from mutant import Edit, Mutant, in_tests

COMPOSE_FILE = "compose.yaml"
INSTALL_FILE = "services/credentials/install"
LOGIN_FILE = "apps/database/login.py"
MAKING_FILE = "apps/database/making.py"
PASSWORDS_FILE = "apps/database/passwords.py"
CONNECTING_FILE = "apps/database/connecting.py"
RELEASE_FILE = "scripts/release"
SETTINGS = "config/settings.py"

COMPOSE = "test_compose"
IAM = "database/test_iam"
ROLES = "database/test_roles"
ROTATION = "database/test_rotation"
SCRIPTS = "test_scripts"
SERVERS = "test_servers"

RIGHTS = [
    Mutant(
        name="the application's role may make tables",
        protection="who breaks into what serves changes no schema",
        edits=[
            Edit(
                MAKING_FILE,
                "GRANT USAGE ON SCHEMA public TO {app}",
                "GRANT USAGE, CREATE ON SCHEMA public TO {app}",
            )
        ],
        tests=in_tests(ROLES, "test_app_changes_no_schema"),
    ),
    Mutant(
        name="the application's role owns what it owned",
        protection="an older database is brought into line",
        edits=[
            Edit(
                MAKING_FILE,
                '    _run(connection, "REASSIGN OWNED BY {app} TO {migrator}")\n',
                "",
            )
        ],
        tests=in_tests(ROLES, "test_a_database_that_belonged_to_app_is_taken_over_without_loss"),
    ),
    Mutant(
        name="the migrator gets the database of before",
        protection="who migrates cannot drop the database",
        edits=[
            Edit(
                MAKING_FILE,
                '        _run(connection, "ALTER DATABASE {database} OWNER TO CURRENT_USER")\n',
                "        pass\n",
            )
        ],
        tests=in_tests(ROLES, "test_a_database_that_belonged_to_app_is_taken_over_without_loss"),
    ),
    Mutant(
        name="the application's role may do everything with new tables",
        protection="the application's role reads and writes rows only",
        edits=[
            Edit(
                MAKING_FILE,
                "    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}",
                "    GRANT ALL ON TABLES TO {app}",
            )
        ],
        tests=in_tests(ROLES, "test_app_changes_no_schema"),
    ),
    Mutant(
        name="rights that were given by hand stay",
        protection="every release takes back what somebody gave",
        edits=[
            Edit(
                MAKING_FILE,
                "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, {app};\n",
                "",
            )
        ],
        tests=in_tests(ROLES, "test_what_was_given_by_hand_is_taken_back"),
    ),
    Mutant(
        name="every role may connect to the database",
        protection="nobody but the project's roles gets in",
        edits=[
            Edit(
                MAKING_FILE,
                "REVOKE ALL ON DATABASE {database} FROM PUBLIC, {app}, {migrator};\n",
                "",
            )
        ],
        tests=in_tests(ROLES, "test_nobody_else_gets_in", "test_app_changes_no_schema"),
    ),
    Mutant(
        name="new roles may make roles",
        protection="the application's role may do no more than it needs",
        edits=[Edit(MAKING_FILE, "CREATE ROLE {} LOGIN", "CREATE ROLE {} LOGIN CREATEROLE")],
        tests=in_tests(
            ROLES, "test_app_changes_no_schema", "test_the_migrator_is_no_administrator"
        ),
    ),
    Mutant(
        name="a powerful role of that name is taken as it is",
        protection="a superuser called app is refused",
        edits=[Edit(MAKING_FILE, "if is_powerful or set(", "if set(")],
        tests=in_tests(ROLES, "test_a_role_that_may_too_much_is_refused"),
    ),
    Mutant(
        name="a role of that name may be a member of any other",
        protection="a member of a powerful role is refused",
        edits=[
            Edit(
                MAKING_FILE,
                "if is_powerful or set(_ask(connection, _MEMBER_OF, role) or ()) "
                "- _MAY_BE_MEMBER[role]:",
                "if is_powerful:",
            )
        ],
        tests=in_tests(ROLES, "test_a_role_that_may_too_much_is_refused"),
    ),
    Mutant(
        name="the master user stays a member of the roles",
        protection="who makes the roles has none of them",
        edits=[
            Edit(
                MAKING_FILE,
                '            _run(connection, "REVOKE {app}, {migrator} FROM CURRENT_USER")\n',
                "",
            )
        ],
        tests=in_tests(ROLES, "test_the_master_is_no_member_afterwards"),
    ),
    Mutant(
        name="PostgreSQL is told the roles' passwords",
        protection="the server and its log see verifiers only",
        edits=[Edit(MAKING_FILE, "Literal(made.decode())", "Literal(password)")],
        tests=in_tests(ROLES, "test_the_server_and_its_log_see_no_password"),
    ),
    Mutant(
        name="after IAM the roles keep both ways to log in",
        protection="a role has one way to log in",
        edits=[
            Edit(
                MAKING_FILE,
                "    if _exists(connection, _IAM):  # whose",
                "    if False:  # whose",
            )
        ],
        tests=in_tests(ROLES, "test_from_passwords_to_iam_and_back"),
    ),
]

LOGINS = [
    Mutant(
        name="a refused password is not followed by another",
        protection="no login fails while a password rotates",
        edits=[
            Edit(LOGIN_FILE, "            if not _is_refusal(error):\n", "            if True:\n")
        ],
        tests=in_tests(ROTATION, "test_no_query_fails_while_the_password_rotates"),
    ),
    Mutant(
        name="every failure counts as a refused password",
        protection="a server that is away gets no second password",
        edits=[
            Edit(
                LOGIN_FILE,
                "return error.pgconn is not None and bool(error.pgconn.used_password)",
                "return True",
            )
        ],
        tests=in_tests(ROTATION, "test_another_failure_is_not_taken_for_a_refusal"),
    ),
    Mutant(
        name="the password stored before is not tried",
        protection="a rotation that died locks nobody out",
        edits=[
            Edit(
                LOGIN_FILE,
                "yield from (password for password in stored if password != kept)",
                "yield stored[0]",
            )
        ],
        tests=in_tests(
            ROTATION,
            "test_a_rotation_that_died_harms_nobody_and_is_finished_later",
            "test_the_newest_is_tried_again_after_the_former",
        ),
    ),
    Mutant(
        name="a rotation stores the old password again",
        protection="after a rotation the old password is worthless",
        edits=[
            Edit(PASSWORDS_FILE, "password = get_random_string(_LENGTH)", "password = login.kept")
        ],
        tests=in_tests(ROTATION, "test_the_old_password_is_worthless_then"),
    ),
    Mutant(
        name="one token for all connections",
        protection="a token is good for 15 minutes, and made anew",
        edits=[
            Edit(
                LOGIN_FILE,
                "        yield self._client.generate_db_auth_token(**self._address)\n",
                '        if "token" not in vars(self):\n'
                "            self.token = self._client.generate_db_auth_token(**self._address)\n"
                "        yield self.token\n",
            )
        ],
        tests=in_tests(IAM, "test_a_token_is_made_for_each_connection"),
    ),
    Mutant(
        name="a server that asks for no token is taken for RDS",
        protection="with IAM the server has to ask for the token",
        edits=[
            Edit(
                SETTINGS,
                '"channel_binding": "disable", "require_auth": "password"',
                '"channel_binding": "disable", "require_auth": "none,password"',
            )
        ],
        tests=in_tests(IAM, "test_who_asks_for_nothing_is_not_rds"),
    ),
    Mutant(
        name="commands connect without the application's TLS options",
        protection="the master's password goes to a verified server only",
        edits=[
            Edit(
                CONNECTING_FILE,
                "**{**options, **settings.DATABASE_LOGINS[by]},",
                "**settings.DATABASE_LOGINS[by],",
            )
        ],
        tests=in_tests(ROLES, "test_it_connects_to_a_verified_server_only"),
    ),
    Mutant(
        name="commands connect with whatever the settings say",
        protection="a command checks the settings that it connects with",
        edits=[
            Edit(
                CONNECTING_FILE,
                "    for error in database_errors(settings.DATABASES):\n",
                "    for error in database_errors({}):\n",
            )
        ],
        tests=in_tests(ROLES, "test_it_connects_to_a_verified_server_only"),
    ),
    Mutant(
        name="the migrator's password is stored beside the application's",
        protection="what serves cannot read the migrator's password",
        edits=[
            Edit(
                SETTINGS,
                'SSMSecretsRetriever(f"{SECRETS_PREFIX}release/")',
                "SSMSecretsRetriever(SECRETS_PREFIX)",
            )
        ],
        tests=in_tests(
            "config/test_settings", "test_the_migrator_s_password_is_not_the_application_s"
        ),
    ),
]

LOCAL = [
    Mutant(
        name="the application logs in as the migrator",
        protection="what serves is no owner of the schema",
        edits=[
            Edit(
                COMPOSE_FILE,
                "      ROLE: app\n",
                "      ROLE: app\n      DATABASE_USER: migrator\n",
            )
        ],
        tests=in_tests(COMPOSE, "test_only_the_release_is_the_migrator"),
    ),
    Mutant(
        name="the application gets the release's credentials",
        protection="what serves has no password but its own",
        edits=[
            Edit(
                COMPOSE_FILE,
                'volumes: ["credentials-app:/run/credentials:ro"]',
                'volumes: ["credentials-release:/run/credentials:ro"]',
            )
        ],
        tests=in_tests(COMPOSE, "test_a_container_sees_no_other_credentials_than_its_own"),
    ),
    Mutant(
        name="the worker is given the migrator's password",
        protection="what serves has no password but its own",
        edits=[
            Edit(
                INSTALL_FILE,
                "ca.crt=worker/ca.crt\n  give seed",
                'ca.crt=worker/ca.crt "migrator-password:=$(value MIGRATOR_PASSWORD)"\n  give seed',
            )
        ],
        tests=in_tests(
            SCRIPTS,
            "test_each_service_gets_what_it_needs_and_nothing_else",
            "test_a_password_of_the_database_is_for_whom_it_is_for",
        ),
    ),
    Mutant(
        name="the migrator's password is in the stand-in for AWS",
        protection="what shows everything to everybody knows no such password",
        edits=[Edit(INSTALL_FILE, "grep '^SEED_'", "grep -E '^(SEED|MIGRATOR)_'")],
        tests=in_tests(SCRIPTS, "test_a_password_of_the_database_is_for_whom_it_is_for"),
    ),
    Mutant(
        name="every native process is the migrator",
        protection="what serves is no owner of the schema",
        edits=[Edit("scripts/native.py", 'if os.environ.get("ROLE") == "release":', "if True:")],
        tests=in_tests(SERVERS, "test_only_the_native_release_is_the_migrator"),
    ),
    Mutant(
        name="other users and databases of PostgreSQL are reached",
        protection="the network reaches one database, as three users",
        covers=["database"],
        edits=[
            Edit(
                "services/postgres/pg_hba.conf",
                "app       app,migrator,postgres",
                "all       all                  ",
            )
        ],
        tests=in_tests(SERVERS, "test_every_entry_asks_for_tls_and_a_password"),
    ),
    Mutant(
        name="the database's health check may go without TLS",
        protection="no conversation with the database is plaintext",
        covers=["database"],
        edits=[
            Edit("services/postgres/Dockerfile", "user=app sslmode=require", "user=app"),
        ],
        tests=in_tests(SERVERS, "test_the_health_check_never_tries_plaintext"),
    ),
    Mutant(
        name="a migration as the application is tried",
        protection="who may not migrate is told who may",
        edits=[Edit("apps/database/apps.py", "    if not may_create:\n", "    if False:\n")],
        tests=in_tests(ROLES, "test_a_migration_as_app_says_who_may"),
    ),
    Mutant(
        name="migrations run with the master's password",
        protection="only the step that makes the roles has the master's password",
        edits=[
            Edit(
                RELEASE_FILE,
                "unset DATABASE_MASTER_USER DATABASE_MASTER_PASSWORD "
                "DATABASE_MASTER_PASSWORD_FILE\n",
                "",
            )
        ],
        tests=in_tests(ROLES, "test_only_the_step_that_makes_the_roles_knows_the_master"),
    ),
    Mutant(
        name="a release goes on after a step that failed",
        protection="no migration runs on roles that are not in line",
        edits=[Edit(RELEASE_FILE, "\nset -eu\n", "\nset -u\n")],
        tests=in_tests(ROLES, "test_the_release_ends_with_the_step_that_fails"),
    ),
]

MUTANTS = [*RIGHTS, *LOGINS, *LOCAL]
