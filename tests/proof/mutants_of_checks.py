"""Mutants of what finds mistakes: checks that find nothing, probes that always say yes."""

from mutant import Edit, Mutant, in_tests

CHECKS_FILE = "apps/encryption/checks.py"
KEY_CHECKS_FILE = "apps/keys/checks.py"
PROBES_FILE = "apps/encryption/probes.py"
CLIENTS_FILE = "apps/encryption/clients.py"
TLS_FILE = "apps/encryption/tls.py"
COMMAND_FILE = "apps/encryption/management/commands/verify_encryption.py"

CHECKS = "encryption/test_checks"
PROBES = "encryption/test_probes"
TLS = "encryption/test_tls"
VERIFY = "encryption/test_verify"


def silent(number: int, condition: str, *, what: str = "", file: str = CHECKS_FILE) -> Mutant:
    """A check that never finds anything, because the condition is never true."""
    check = f"E{number:03}"
    tests = in_tests(CHECKS, "test_a_weakened_setting_is_found")
    if file == KEY_CHECKS_FILE:
        tests = in_tests("keys/test_checks", "test_another_store_than_that_on_kms_is_found")
    return Mutant(
        name=f"the check {check} finds nothing" + (f" ({what})" if what else ""),
        protection="a weakened setting stops the start",
        covers=[check],
        edits=[Edit(file, condition, "False")],
        tests=tests,
    )


SYSTEM_CHECKS = [
    silent(1, 'database.get("ENGINE") != "apps.fields.postgresql"'),
    silent(2, 'options.get("sslmode") != "verify-full"'),
    silent(3, 'not _is_file(options.get("sslrootcert"))'),
    silent(4, 'options.get("channel_binding") != "require"'),
    Mutant(
        name="the check E005 finds nothing",
        protection="a weakened setting stops the start",
        covers=["E005"],
        edits=[
            Edit(
                CHECKS_FILE,
                'if cache.get("BACKEND") != "django.core.cache.backends.redis.RedisCache" or {',
                "if False and {",
            )
        ],
        tests=in_tests(CHECKS, "test_a_weakened_setting_is_found"),
    ),
    silent(
        6, 'options.get("ssl_cert_reqs") != "required" or not options.get("ssl_check_hostname")'
    ),
    silent(6, 'any("ssl_" in urlsplit(location).query for location in locations)', what="address"),
    silent(7, 'not _is_file(options.get("ssl_ca_certs"))'),
    silent(8, 'not _encrypts_files(default.get("BACKEND", ""))'),
    silent(9, 'options.get("verify") is False or options.get("use_ssl") is False'),
    silent(10, 'url and urlsplit(url).scheme != "https"'),
    silent(11, "ca_file and not _is_file(ca_file)"),
    silent(12, "len(key) < _MIN_SECRET_KEY or len(set(key)) < 10"),
    silent(13, "len(value) < _MIN_PASSWORD"),
    silent(14, "not good(getattr(values, name, None))"),
    silent(15, "values.DEBUG"),
    silent(16, 'any("*" in host for host in values.ALLOWED_HOSTS) or not values.ALLOWED_HOSTS'),
    Mutant(
        name="the check E017 finds nothing",
        protection="a broken list of hops stops the start",
        covers=["E017"],
        edits=[
            Edit(
                CHECKS_FILE,
                "    except (OSError, ValueError) as error:\n",
                "    except (OSError, ValueError):\n        return\n"
                "    except TypeError as error:\n",
            )
        ],
        tests=in_tests(CHECKS, "test_a_weakened_setting_is_found"),
    ),
    silent(18, "item.probe not in PROBES"),
    silent(19, "mailers is None"),
    silent(19, 'smtp and not (options.get("use_tls") or options.get("use_ssl"))', what="a mailer"),
    silent(20, "settings.KEY_STORE != AWS_KEY_STORE", file=KEY_CHECKS_FILE),
    Mutant(
        name="the check E021 finds nothing",
        protection="a process without keys does not start",
        covers=["E021"],
        edits=[Edit(KEY_CHECKS_FILE, "            keyring(purpose)\n", "            pass\n")],
        tests=in_tests(
            "keys/test_checks",
            "test_each_purpose_without_a_key_is_named_once",
            "test_a_wrong_key_is_found",
        ),
    ),
    Mutant(
        name="the checks can be silenced",
        protection="no setting turns a check off",
        edits=[
            Edit(CHECKS_FILE, '"""No."""\n        return False', '"""Yes."""\n        return True')
        ],
        tests=in_tests(CHECKS, "test_no_setting_silences_an_error"),
    ),
    Mutant(
        name="the application starts without checks",
        protection="nothing is served before the checks have passed",
        edits=[Edit("config/wsgi.py", '\ncall_command("check", "--tag", "encryption")', "")],
        tests=in_tests(CHECKS, "test_the_application_exists_only_if_the_checks_pass"),
    ),
    Mutant(
        name="the checks are registered nowhere",
        protection="worker, scheduler and migrations start only if the checks pass",
        edits=[Edit(CHECKS_FILE, "@register(TAG)\n", "")],
        tests=in_tests(CHECKS, "test_the_other_processes_start_only_if_the_checks_pass"),
    ),
]

PROBING = [
    Mutant(
        name="every probe says yes",
        protection="a probe that finds something says no",
        edits=[Edit(PROBES_FILE, "holds=question()", "holds=bool(question()) or True")],
        tests=in_tests(
            PROBES,
            "test_plaintext_beside_tls_is_found",
            "test_old_tls_is_found",
            "test_a_certificate_near_its_end_is_found",
            "test_an_object_without_kms_is_found",
        ),
    ),
    Mutant(
        name="an error while probing counts as yes",
        protection="what could not be asked is not taken for granted",
        edits=[Edit(PROBES_FILE, "holds=False, reason=reason", "holds=True, reason=reason")],
        tests=in_tests(PROBES, "test_an_error_while_asking_is_the_answer_no"),
    ),
    Mutant(
        name="a hop of which nothing was proved is well",
        protection="nothing is taken for granted",
        edits=[Edit(PROBES_FILE, "bool(self.proofs) and all(", "all(")],
        tests=in_tests(PROBES, "test_a_result_without_proofs_is_not_ok"),
    ),
    Mutant(
        name="the probe of old TLS says yes",
        protection="old versions of TLS are looked for",
        edits=[
            Edit(
                PROBES_FILE,
                "lambda: not accepts_version(peer(), _BELOW[hop.min_tls])",
                "lambda: True",
            )
        ],
        tests=in_tests(PROBES, "test_old_tls_is_found"),
    ),
    Mutant(
        name="the probe of plaintext says yes",
        protection="plaintext is looked for",
        edits=[
            Edit(
                PROBES_FILE,
                "not answers(plaintext_reply(at.host, at.port, request()))",
                "at is not None",
            )
        ],
        tests=in_tests(PROBES, "test_plaintext_beside_tls_is_found"),
    ),
    Mutant(
        name="the probe of the certificate's end says yes",
        protection="an alarm comes before a certificate ends",
        edits=[
            Edit(
                PROBES_FILE, "session.expires - datetime.now(UTC) > MIN_REMAINING", "bool(session)"
            )
        ],
        tests=in_tests(PROBES, "test_a_certificate_near_its_end_is_found"),
    ),
    Mutant(
        name="the probe of client certificates says yes",
        protection="a gunicorn that serves anybody is found",
        covers=["gunicorn"],
        edits=[Edit(PROBES_FILE, "lambda: not accepts_stranger(peer())", "lambda: True")],
        tests=in_tests(PROBES, "test_a_gunicorn_that_serves_anybody_is_found"),
    ),
    Mutant(
        name="the probe of our own clients says yes",
        protection="a client that verifies nothing is found",
        edits=[Edit(PROBES_FILE, "lambda bend=bend: refuses(bend)", "lambda bend=bend: True")],
        tests=in_tests(
            PROBES,
            "test_a_weaker_sslmode_is_found",
            "test_a_cache_client_that_verifies_less_is_found",
            "test_a_storage_client_that_verifies_nothing_is_found",
            "test_an_aws_client_that_verifies_nothing_is_found",
        ),
    ),
    Mutant(
        name="the probe of the database's own connection says yes",
        protection="plaintext is found as the server sees it",
        covers=["database"],
        edits=[Edit(CLIENTS_FILE, "    if not version:\n", "    if False:\n")],
        tests=in_tests(PROBES, "test_the_database_tells_how_it_sees_this_connection"),
    ),
    Mutant(
        name="the probe of the cache's own connection says yes",
        protection="plaintext is found in our own pool",
        covers=["cache"],
        edits=[
            Edit(
                CLIENTS_FILE,
                "        if not isinstance(sock, ssl.SSLSocket):\n",
                "        if not isinstance(sock, ssl.SSLSocket):\n"
                '            return Seen(version="TLSv1.3", cipher="")\n',
            )
        ],
        tests=in_tests(PROBES, "test_the_cache_s_own_connection_must_be_tls"),
    ),
    Mutant(
        name="any failure to connect passes for a refusal",
        protection="a server that is away was not refused",
        edits=[
            Edit(
                CLIENTS_FILE,
                "        if _is_verification_failure(error):\n",
                "        if error:\n",
            )
        ],
        tests=in_tests(PROBES, "test_nothing_listening_is_no_refusal"),
    ),
    Mutant(
        name="the probe of uploads ignores KMS",
        protection="an upload that rests without KMS is found",
        covers=["media"],
        edits=[Edit(PROBES_FILE, 'head.get("ServerSideEncryption") == "aws:kms"', "head")],
        tests=in_tests(PROBES, "test_an_object_without_kms_is_found"),
    ),
    Mutant(
        name="the probe of uploads ignores plaintext",
        protection="an upload that the application did not encrypt is found",
        covers=["media"],
        edits=[Edit(PROBES_FILE, "if content in stored.read():", "if not stored.read():")],
        tests=in_tests(PROBES, "test_an_object_that_the_application_did_not_encrypt_is_found"),
    ),
    Mutant(
        name="the probe of columns ignores where a value belongs",
        protection="encryption that binds to no column is found",
        covers=["columns"],
        edits=[
            Edit(
                PROBES_FILE,
                'unseal("probe.here", stored) == b"probe"\n        return False',
                'unseal("probe.here", stored) == b"probe"\n        return True',
            )
        ],
        tests=in_tests(PROBES, "test_encryption_that_binds_to_no_column_is_found"),
    ),
    Mutant(
        name="the probe of columns reads no value",
        protection="values that cannot be decrypted are found",
        covers=["columns"],
        edits=[Edit(PROBES_FILE, "table.look(_VALUES_TO_READ)", "table.look(0)")],
        tests=in_tests(PROBES, "test_a_value_that_is_not_encrypted_here_is_found"),
    ),
    Mutant(
        name="the probe of parameters says yes",
        protection="a parameter that is a plain String is found",
        covers=["parameters"],
        edits=[Edit(PROBES_FILE, 'set(kinds) == {"SecureString"}', "bool(kinds)")],
        tests=in_tests(PROBES, "test_plain_parameters_are_found"),
    ),
    Mutant(
        name="the probes' own handshake verifies nothing",
        protection="a certificate is verified before it is called good",
        edits=[
            Edit(
                TLS_FILE,
                "return ssl.create_default_context(cafile=peer.ca_file or None)",
                "return ssl._create_unverified_context()",
            )
        ],
        tests=in_tests(TLS, "test_a_handshake_verifies_name_chain_and_dates"),
    ),
    Mutant(
        name="silence passes for a refusal of plaintext",
        protection="what could not be asked is not taken for granted",
        edits=[
            Edit(
                TLS_FILE,
                "            return sock.recv(64)\n        except ConnectionError:",
                "            return sock.recv(64)\n        except OSError:",
            )
        ],
        tests=in_tests(TLS, "test_silence_is_no_refusal"),
    ),
    Mutant(
        name="verify_encryption always ends well",
        protection="a hop that falls short stops a deployment",
        edits=[Edit(COMMAND_FILE, "if failed:", "if False:")],
        tests=in_tests(VERIFY, "test_what_falls_short_is_named_and_exits_1"),
    ),
    Mutant(
        name="a role without hops is well",
        protection="nothing proved is not all proved",
        edits=[Edit(COMMAND_FILE, "if not results:", "if False:")],
        tests=in_tests(VERIFY, "test_a_role_without_hops_is_an_error"),
    ),
    Mutant(
        name="everybody sees the status page",
        protection="what the stack is made of is for staff",
        edits=[Edit("apps/encryption/views.py", "if not request.user.is_staff:", "if False:")],
        tests=in_tests(VERIFY, "test_an_ordinary_user_is_refused"),
    ),
    Mutant(
        name="/readyz says why something is not ready",
        protection="the public answer names no address and no reason",
        edits=[
            Edit(
                "apps/health/readiness.py",
                '{"ok": False, "tls": None}',
                '{"ok": False, "tls": str(error)}',
            )
        ],
        tests=in_tests("health/test_health", "test_not_ready_says_what_but_not_why"),
    ),
    Mutant(
        name="every path is answered before the host is validated",
        protection="only the two probes are answered under any host",
        edits=[
            Edit(
                "apps/health/middleware.py",
                'if request.path == "/livez":',
                'if request.path != "/readyz":',
            )
        ],
        tests=in_tests("health/test_health", "test_other_paths_still_validate_the_host"),
    ),
]

MUTANTS = [*SYSTEM_CHECKS, *PROBING]
