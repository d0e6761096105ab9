"""Mutants of what makes and runs the stack: scripts, containers, servers' files, git."""

from mutant import Edit, Mutant, in_tests

COMPOSE_FILE = "compose.yaml"
CERTS_FILE = "scripts/certs"
INSTALL_FILE = "services/credentials/install"
POSTGRES_FILE = "services/postgres/postgresql.conf"

COMPOSE = "test_compose"
SCRIPTS = "test_scripts"
SERVERS = "test_servers"
KEPT_OUT = "test_kept_out"

CONFINED = in_tests(COMPOSE, "test_a_container_is_confined")

CONTAINERS = [
    Mutant(
        name="containers can write to their disk",
        protection="read-only root file systems",
        edits=[Edit(COMPOSE_FILE, "&hardened\n  read_only: true", "&hardened\n  read_only: false")],
        tests=CONFINED,
    ),
    Mutant(
        name="containers keep Docker's capabilities",
        protection="no capability",
        edits=[
            Edit(
                COMPOSE_FILE,
                "  cap_drop: [ALL]\n  security_opt",
                "  cap_drop: [NET_RAW]\n  security_opt",
            )
        ],
        tests=CONFINED,
    ),
    Mutant(
        name="containers may gain privileges",
        protection="no new privileges",
        edits=[
            Edit(
                COMPOSE_FILE,
                '  security_opt: ["no-new-privileges:true"]\n  ulimits',
                '  security_opt: ["no-new-privileges:false"]\n  ulimits',
            )
        ],
        tests=CONFINED,
    ),
    Mutant(
        name="containers leave core dumps",
        protection="no core dump holds keys",
        edits=[Edit(COMPOSE_FILE, "ulimits: {core: 0} #", "ulimits: {core: -1} #")],
        tests=CONFINED,
    ),
    Mutant(
        name="the container that holds the network is root",
        protection="no container runs as root",
        edits=[Edit(COMPOSE_FILE, 'user: "65534:65534"', 'user: "0:0"')],
        tests=CONFINED,
    ),
    Mutant(
        name="the container that installs keys has a network",
        protection="who sees every key reaches nobody",
        edits=[Edit(COMPOSE_FILE, "    network_mode: none\n", "")],
        tests=CONFINED,
    ),
    Mutant(
        name="the HTTPS port is published on 0.0.0.0",
        protection="the local stack is reached from this machine only",
        covers=["edge"],
        edits=[Edit(COMPOSE_FILE, "127.0.0.1:${HTTPS_PORT", "${HTTPS_PORT")],
        tests=in_tests(COMPOSE, "test_only_the_proxy_s_ports_are_published_and_on_loopback_only"),
    ),
    Mutant(
        name="the database's port is published",
        protection="only the proxy is reached from outside",
        covers=["database"],
        edits=[
            Edit(
                COMPOSE_FILE,
                "    build: {context: services/postgres}\n",
                "    build: {context: services/postgres}\n    ports: [127.0.0.1:5432:5432]\n",
            )
        ],
        tests=in_tests(COMPOSE, "test_only_the_proxy_s_ports_are_published_and_on_loopback_only"),
    ),
    Mutant(
        name="a secret is in a container's environment",
        protection="docker inspect shows no secret",
        edits=[
            Edit(
                COMPOSE_FILE,
                "POSTGRES_PASSWORD_FILE: /run/credentials/password",
                "POSTGRES_PASSWORD: ${POSTGRES_PASSWORD}",
            )
        ],
        tests=in_tests(COMPOSE, "test_no_secret_is_in_an_environment"),
    ),
    Mutant(
        name="the application gets the proxy's credentials",
        protection="each service sees its own key only",
        covers=["gunicorn"],
        edits=[
            Edit(
                COMPOSE_FILE,
                'volumes: ["credentials-app:/run/credentials:ro"]',
                'volumes: ["credentials-proxy:/run/credentials:ro"]',
            )
        ],
        tests=in_tests(COMPOSE, "test_a_container_sees_no_other_credentials_than_its_own"),
    ),
    Mutant(
        name="the database trusts its own machine",
        protection="a password from the first moment",
        covers=["database"],
        edits=[Edit(COMPOSE_FILE, "--auth-host=scram-sha-256", "--auth-host=trust")],
        tests=in_tests(COMPOSE, "test_the_database_asks_for_a_password_from_the_first_moment"),
    ),
    Mutant(
        name="an image runs as root",
        protection="no container runs as root",
        edits=[Edit("services/app/Dockerfile", "USER 10001:10001\n", "")],
        tests=in_tests(KEPT_OUT, "test_an_image_runs_as_an_ordinary_user_and_holds_no_key"),
    ),
    Mutant(
        name="an image holds .env",
        protection="no secret is in an image",
        edits=[Edit("services/app/Dockerfile", "COPY manage.py ", "COPY .env manage.py ")],
        tests=in_tests(KEPT_OUT, "test_an_image_runs_as_an_ordinary_user_and_holds_no_key"),
    ),
]

FILES = [
    Mutant(
        name="git sees .env",
        protection="no secret is committed",
        edits=[Edit(".gitignore", "/.env\n", "")],
        tests=in_tests(KEPT_OUT, "test_git_ignores_it"),
    ),
    Mutant(
        name="git sees the keys in .local",
        protection="no key is committed",
        edits=[Edit(".gitignore", "/.local/\n", "")],
        tests=in_tests(KEPT_OUT, "test_git_ignores_it"),
    ),
    Mutant(
        name="Docker sees the whole folder",
        protection="no secret gets into a build",
        edits=[Edit(".dockerignore", "\n*\n", "\n")],
        tests=in_tests(KEPT_OUT, "test_the_build_context_holds_only_what_is_named"),
    ),
    Mutant(
        name="the file of secrets is world-readable",
        protection="the file of secrets is for its owner only",
        edits=[Edit("scripts/env", "umask 077", "umask 022")],
        tests=in_tests(SCRIPTS, "test_the_file_of_secrets_is_for_its_owner_only"),
    ),
    Mutant(
        name="every project has the same secrets",
        protection="secrets are random",
        edits=[Edit("scripts/env", "openssl rand -base64 96 |", "printf %0100d 1 |")],
        tests=in_tests(SCRIPTS, "test_secrets_are_long_and_never_the_same"),
    ),
    Mutant(
        name="private keys are world-readable",
        protection="private keys are for their owner only",
        edits=[Edit(CERTS_FILE, "umask 077", "umask 022")],
        tests=in_tests(SCRIPTS, "test_keys_are_for_their_owner_only"),
    ),
    Mutant(
        name="every service gets the CA's key",
        protection="who breaks into a service signs nothing",
        edits=[
            Edit(
                CERTS_FILE,
                '|| cp "$ca_crt" "$dir/$service/ca.crt"',
                '|| cp "$ca_crt" "$ca_key" "$dir/$service/"',
            )
        ],
        tests=in_tests(SCRIPTS, "test_the_key_of_the_ca_is_in_one_place_only"),
    ),
    Mutant(
        name="the CA's key is never thrown away",
        protection="nobody signs for a task after its start",
        edits=[Edit(CERTS_FILE, 'discard ] || rm -f "$ca_key"', "discard ] || true")],
        tests=in_tests(SCRIPTS, "test_the_key_of_the_ca_can_be_thrown_away"),
    ),
    Mutant(
        name="leaf certificates with CA:TRUE",
        protection="who breaks into a service signs nothing",
        edits=[Edit(CERTS_FILE, "critical, CA:FALSE", "critical, CA:TRUE")],
        tests=in_tests(SCRIPTS, "test_a_leaf_signs_nothing_and_is_for_one_use"),
    ),
    Mutant(
        name="a CA without name constraints",
        protection="the development CA cannot vouch for other sites",
        edits=[
            Edit(
                CERTS_FILE,
                "nameConstraints = critical, permitted;DNS:localhost",
                "nsComment = none",
            )
        ],
        tests=in_tests(SCRIPTS, "test_the_ca_vouches_for_this_installation_only"),
    ),
    Mutant(
        name="certificates for two years",
        protection="leaf certificates for less than 90 days",
        edits=[Edit(CERTS_FILE, "LEAF_DAYS:=60", "LEAF_DAYS:=600")],
        tests=in_tests(SCRIPTS, "test_a_leaf_signs_nothing_and_is_for_one_use"),
    ),
    Mutant(
        name="all services share one key",
        protection="each service has a key of its own",
        edits=[
            Edit(
                CERTS_FILE,
                '  mv "$work/leaf.key" "$key"',
                '  [ -s "$dir/one.key" ] || cp "$work/leaf.key" "$dir/one.key"\n'
                '  cp "$dir/one.key" "$key"',
            )
        ],
        tests=in_tests(SCRIPTS, "test_every_certificate_has_a_key_of_its_own"),
    ),
    Mutant(
        name="installed keys are readable by everybody",
        protection="a service's key is for the service only",
        edits=[Edit(INSTALL_FILE, 'chmod 0400 "$to.new"', 'chmod 0444 "$to.new"')],
        tests=in_tests(SCRIPTS, "test_only_the_service_can_read_it"),
    ),
    Mutant(
        name="the worker gets the proxy's client certificate",
        protection="only the proxy is a client of gunicorn",
        covers=["gunicorn"],
        edits=[
            Edit(
                INSTALL_FILE,
                "ca.crt=worker/ca.crt\n  give seed",
                "ca.crt=worker/ca.crt client.key=proxy/client.key\n  give seed",
            )
        ],
        tests=in_tests(SCRIPTS, "test_each_service_gets_what_it_needs_and_nothing_else"),
    ),
    Mutant(
        name="the cache's default user needs no password",
        protection="who has no password does nothing in the cache",
        covers=["cache"],
        edits=[Edit(INSTALL_FILE, "user default off", "user default on nopass ~* &* +@all")],
        tests=in_tests(SCRIPTS, "test_nobody_uses_the_cache_without_a_password"),
    ),
    Mutant(
        name="the application may administer the cache",
        protection="the application's user may do no more than it needs",
        covers=["cache"],
        edits=[Edit(INSTALL_FILE, " -@admin -@dangerous", "")],
        tests=in_tests(SCRIPTS, "test_nobody_uses_the_cache_without_a_password"),
    ),
    Mutant(
        name="the cache's plaintext port is open",
        protection="the cache has no plaintext port",
        covers=["cache"],
        edits=[Edit("services/cache/cache.conf", "\nport 0", "\nport 6380")],
        tests=in_tests(SERVERS, "test_the_cache_has_no_plaintext_port_and_no_open_mode"),
    ),
    Mutant(
        name="PostgreSQL keeps passwords as MD5",
        protection="passwords rest as SCRAM verifiers",
        covers=["database"],
        edits=[
            Edit(
                POSTGRES_FILE,
                "password_encryption = 'scram-sha-256'",
                "password_encryption = 'md5'",
            )
        ],
        tests=in_tests(
            SERVERS, "test_passwords_rest_as_verifiers_and_errors_are_logged_without_values"
        ),
    ),
    Mutant(
        name="PostgreSQL logs the values of errors",
        protection="logs hold no value",
        edits=[Edit(POSTGRES_FILE, "log_error_verbosity = terse", "log_error_verbosity = verbose")],
        tests=in_tests(
            SERVERS, "test_passwords_rest_as_verifiers_and_errors_are_logged_without_values"
        ),
    ),
    Mutant(
        name="PostgreSQL logs the statements that fail",
        protection="logs hold no value",
        edits=[
            Edit(
                POSTGRES_FILE, "log_min_error_statement = panic", "log_min_error_statement = error"
            )
        ],
        tests=in_tests(
            SERVERS, "test_passwords_rest_as_verifiers_and_errors_are_logged_without_values"
        ),
    ),
    Mutant(
        name="the database is the application's from the first moment",
        protection="the application's role may do no more than it needs",
        edits=[
            Edit(
                "services/postgres/init.sh",
                "CREATE DATABASE app;",
                "CREATE ROLE app; CREATE DATABASE app OWNER app;",
            )
        ],
        tests=in_tests(
            SERVERS, "test_the_database_is_its_superuser_s_and_closed_until_the_release"
        ),
    ),
    Mutant(
        name="the native database listens on every address",
        protection="the local stack is reached from this machine only",
        covers=["database"],
        edits=[Edit("Procfile", "listen_addresses=localhost", "listen_addresses='*'")],
        tests=in_tests(SERVERS, "test_native_servers_listen_on_loopback_only"),
    ),
    Mutant(
        name="the native proxy listens on every address",
        protection="the local stack is reached from this machine only",
        covers=["edge"],
        edits=[Edit("Procfile", "HTTPS_LISTEN=127.0.0.1:", "HTTPS_LISTEN=0.0.0.0:")],
        tests=in_tests(SERVERS, "test_native_servers_listen_on_loopback_only"),
    ),
    Mutant(
        name="secrets are in the native environment",
        protection="no process has secrets in its environment",
        edits=[Edit("scripts/native.py", "if separator and name in PORTS:", "if separator:")],
        tests=in_tests(SERVERS, "test_no_secret_of_the_file_gets_into_the_native_environment"),
    ),
]

MUTANTS = [*CONTAINERS, *FILES]
