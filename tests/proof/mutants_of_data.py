"""Mutants of what rests or is shown: fields, files, keys, sessions, logs, error reports."""

from mutant import Edit, Mutant, in_tests

SETTINGS = "config/settings.py"
VALUES_FILE = "apps/fields/values.py"
FIELDS_FILE = "apps/fields/fields.py"
STREAM_FILE = "apps/files/stream.py"
STORAGE_FILE = "apps/files/storage.py"
KEYRING_FILE = "apps/keys/keyring.py"
AWS_KEYS_FILE = "apps/keys/aws.py"
SSM_FILE = "apps/secrets/ssm.py"
ERRORS_FILE = "config/errors.py"
LOGS_FILE = "config/logs.py"
VIEWS_FILE = "apps/notes/views.py"

INTEGRITY = "fields/test_integrity"
FORM = "fields/test_stored_form"
STREAM = "files/test_stream"
STORAGE = "files/test_storage"
DATA_KEY = "keys/test_data_key"
KEYS_IN_AWS = "keys/test_aws"
SECRECY = "notes/test_secrecy"
LOGS = "config/test_logs"
ERRORS = "config/test_errors"

FIELDS = [
    Mutant(
        name="a value is not bound to its column",
        protection="a value cannot be read in another column",
        covers=["columns"],
        edits=[
            Edit(
                VALUES_FILE,
                'AESGCM(key.derive(f"field {place}")), place.encode()',
                'AESGCM(key.derive("field")), b""',
            )
        ],
        short=["columns"],
        claim="A value encrypted now can be read in its own column only",
    ),
    Mutant(
        name="a field is stored in plaintext",
        protection="values are encrypted before the database sees them",
        covers=["columns"],
        edits=[
            Edit(
                VALUES_FILE,
                "    return header + nonce + cipher.encrypt(nonce, plaintext, header + bound)",
                "    return header + nonce + plaintext + cipher.encrypt("
                "nonce, plaintext, header + bound)",
            ),
            Edit(
                VALUES_FILE,
                "cipher.decrypt(stored[size:begin], stored[begin:],",
                "cipher.decrypt(stored[size:begin], "
                "stored[(begin + len(stored) - _TAG_SIZE) // 2 :],",
            ),
        ],
        tests=(
            *in_tests(
                FORM,
                "test_form_of_a_value_that_is_not_searchable",
                "test_json_keys_are_encrypted",
            ),
            *in_tests("encryption/test_probes", "test_columns_hold_with_rows_and_without"),
        ),
    ),
    Mutant(
        name="associated data gone",
        protection="no index can be put on another value",
        covers=["columns"],
        edits=[
            Edit(
                VALUES_FILE,
                "cipher.encrypt(nonce, plaintext, header + bound)",
                'cipher.encrypt(nonce, plaintext, b"")',
            ),
            Edit(VALUES_FILE, "stored[begin:], stored[:size] + bound)", 'stored[begin:], b"")'),
        ],
        tests=in_tests(
            INTEGRITY, "test_an_index_of_another_row", "test_every_altered_byte_is_detected"
        ),
    ),
    Mutant(
        name="all columns share one key",
        protection="one column's values cannot exhaust another's nonces",
        covers=["columns"],
        edits=[Edit(VALUES_FILE, 'key.derive(f"field {place}")', 'key.derive("field")')],
        tests=in_tests(INTEGRITY, "test_the_place_is_authenticated_and_has_a_key_of_its_own"),
    ),
    Mutant(
        name="the nonce is constant",
        protection="equal values differ in the database",
        covers=["columns"],
        edits=[Edit(VALUES_FILE, "nonce = os.urandom(_NONCE_SIZE)", "nonce = bytes(_NONCE_SIZE)")],
        tests=in_tests(
            FORM, "test_no_nonce_comes_twice", "test_equal_values_differ_but_for_the_index"
        ),
    ),
    Mutant(
        name="the blind index has no key",
        protection="nobody computes an index to guess a value",
        covers=["columns"],
        edits=[
            Edit(
                VALUES_FILE,
                'HMAC(key.derive(f"index {place}"), SHA256())',
                "HMAC(place.encode(), SHA256())",
            )
        ],
        tests=in_tests(FORM, "test_the_index_has_a_key"),
    ),
    Mutant(
        name="the blind index is the same in every column",
        protection="equal values of two columns are not seen to be equal",
        covers=["columns"],
        edits=[Edit(VALUES_FILE, 'f"index {place}"', '"index"')],
        tests=in_tests(FORM, "test_the_same_value_has_another_index_in_another_column"),
    ),
    Mutant(
        name="a database without this project's backend is accepted",
        protection="no migration leaves plaintext in an encrypted column",
        covers=["columns"],
        edits=[
            Edit(FIELDS_FILE, 'if not getattr(connection, "encrypts_fields", False):', "if False:")
        ],
        tests=in_tests("fields/test_migrations", "test_a_backend_that_cannot_convert_is_refused"),
    ),
    Mutant(
        name="the index is made of the ciphertext's column",
        protection="a field that would index ciphertext is refused",
        edits=[
            Edit(
                FIELDS_FILE,
                'Use searchable=True.": self.db_index,',
                'Use searchable=True.": False,',
            )
        ],
        tests=in_tests("fields/test_checks", "test_an_index_of_the_ciphertext"),
    ),
    Mutant(
        name="a default of the database is stored in plaintext",
        protection="a field with such a default is refused",
        edits=[Edit(FIELDS_FILE, "self.has_db_default()", "False")],
        tests=in_tests("fields/test_checks", "test_a_default_of_the_database"),
    ),
    Mutant(
        name="a dump holds plaintext",
        protection="dumpdata writes what the database holds",
        covers=["columns"],
        edits=[
            Edit(
                "apps/fields/serializers/__init__.py",
                "if not isinstance(field, EncryptedField):\n            return super()",
                "if field:\n            return super()",
            )
        ],
        tests=in_tests("fields/test_serializers", "test_every_format_hides_or_refuses"),
    ),
    Mutant(
        name="a dump as XML",
        protection="formats that would show values are refused",
        edits=[
            Edit(SETTINGS, '    "xml": "apps.fields.serializers.refused",\n', ""),
            Edit(FIELDS_FILE, "def value_to_string(self", "def _value_to_string(self"),
        ],
        tests=in_tests("fields/test_serializers", "test_every_format_hides_or_refuses"),
    ),
    Mutant(
        name="an error shows the value that it is about",
        protection="errors show no value",
        edits=[
            Edit(
                FIELDS_FILE,
                '                "column, or restore the row."\n            ) from None',
                '                f"column, or restore the row. {plaintext!r}"\n'
                "            ) from None",
            )
        ],
        tests=in_tests(INTEGRITY, "test_a_value_of_another_type"),
    ),
    Mutant(
        name="users are named by their address",
        protection="the admin's history holds no address",
        edits=[Edit("apps/users/models.py", 'return f"User {self.pk}"', "return self.email")],
        tests=in_tests(SECRECY, "test_the_admins_history_and_messages_show_no_value"),
    ),
]

FILES = [
    Mutant(
        name="files are stored unencrypted",
        protection="files are encrypted before they reach object storage",
        covers=["media"],
        edits=[
            Edit(
                STORAGE_FILE, "super()._save(name, File(encrypted))", "super()._save(name, content)"
            )
        ],
        tests=in_tests(
            "files/test_s3",
            "test_temporary_files_hold_ciphertext_only",
            "test_a_file_goes_and_comes_back",
        ),
    ),
    Mutant(
        name="settings with a storage that does not encrypt",
        protection="files are encrypted before they reach object storage",
        covers=["media", "E008"],
        edits=[
            Edit(
                SETTINGS, "apps.files.storage.EncryptedS3Storage", "storages.backends.s3.S3Storage"
            )
        ],
        tests=in_tests("encryption/test_checks", "test_the_project_s_settings_have_no_error"),
    ),
    Mutant(
        name="a file is not bound to its name",
        protection="a file put in another's place is refused",
        covers=["media"],
        edits=[Edit(STREAM_FILE, "self._place = header + name.encode()", "self._place = header")],
        tests=in_tests(STREAM, "test_a_file_under_another_name_is_found"),
    ),
    Mutant(
        name="the last chunk of a file is not marked",
        protection="a file that was cut off is refused",
        covers=["media"],
        edits=[Edit(STREAM_FILE, "bytes([last])", "bytes([0])")],
        tests=in_tests(STREAM, "test_a_truncation_at_a_border_of_whole_chunks_is_found"),
    ),
    Mutant(
        name="the chunks of a file are not numbered",
        protection="a file whose parts were exchanged is refused",
        covers=["media"],
        edits=[Edit(STREAM_FILE, "number.to_bytes(_COUNTER_SIZE)", "bytes(_COUNTER_SIZE)")],
        tests=in_tests(
            STREAM, "test_no_other_order_of_the_chunks_is_accepted", "test_no_nonce_serves_twice"
        ),
    ),
    Mutant(
        name="every file has the same salt",
        protection="each file has a key of its own",
        covers=["media"],
        edits=[
            Edit(
                STREAM_FILE,
                "os.urandom(_SALT_SIZE + _PREFIX_SIZE)",
                "bytes(_SALT_SIZE + _PREFIX_SIZE)",
            )
        ],
        tests=in_tests(STREAM, "test_nothing_is_encrypted_alike_twice"),
    ),
    Mutant(
        name="a file is given out before it is authenticated",
        protection="nothing of an altered file is sent",
        covers=["media"],
        edits=[Edit(STREAM_FILE, "for number in range(raw.chunks):", "for number in range(0):")],
        tests=in_tests("notes/test_files", "test_nothing_of_an_altered_file_is_sent"),
    ),
    Mutant(
        name="a file has an address of its own",
        protection="files leave through a view that decrypts and asks who it is",
        edits=[Edit(STORAGE_FILE, "    def url(self, name", "    def _url(self, name")],
        tests=in_tests(STORAGE, "test_there_is_no_address"),
    ),
    Mutant(
        name="object storage learns the media type",
        protection="object storage learns nothing of the plaintext",
        edits=[
            Edit(
                STORAGE_FILE,
                'parameters | {"ContentType": self.default_content_type}',
                "parameters",
            )
        ],
        tests=in_tests("files/test_s3", "test_the_store_learns_no_media_type_and_no_encoding"),
    ),
    Mutant(
        name="an object has the file's name",
        protection="the name of an object tells nothing",
        edits=[
            Edit(
                "apps/notes/attachments.py",
                'f"attachments/{uuid4().hex}"',
                'f"attachments/{uuid4().hex}-{upload.name}"',
            )
        ],
        tests=in_tests("notes/test_files", "test_the_objects_name_tells_nothing"),
    ),
    Mutant(
        name="large uploads are spooled to a disk",
        protection="an upload stays in memory until it is encrypted",
        covers=["media"],
        edits=[
            Edit(
                SETTINGS,
                '["apps.files.uploads.MemoryUploadHandler"]',
                '["django.core.files.uploadhandler.TemporaryFileUploadHandler"]',
            )
        ],
        tests=in_tests("files/test_uploads", "test_a_large_upload_is_not_written_to_a_disk"),
    ),
    Mutant(
        name="a request above the limit is spooled to a disk",
        protection="an upload stays in memory until it is encrypted",
        edits=[Edit("apps/files/uploads.py", "if not self.activated:", "if False:")],
        tests=in_tests("files/test_uploads", "test_a_request_above_the_limit_is_refused"),
    ),
    Mutant(
        name="a browser shows an attached file",
        protection="a file of a stranger is downloaded, never run by the browser",
        edits=[Edit(VIEWS_FILE, "as_attachment=True", "as_attachment=False")],
        tests=in_tests("notes/test_files", "test_a_download_is_safe_for_a_browser"),
    ),
    Mutant(
        name="notes of others can be read",
        protection="a note that is not one's own does not exist",
        edits=[Edit("apps/notes/models.py", "live, owner_id=user.pk", "live")],
        tests=in_tests("notes/test_pages", "test_nobody_sees_the_note_of_another"),
    ),
]

KEYS = [
    Mutant(
        name="wrapped keys without an encryption context",
        protection="a wrapped key is of no use elsewhere",
        covers=["keys"],
        edits=[
            Edit(AWS_KEYS_FILE, '            "purpose": purpose,\n', ""),
            Edit(AWS_KEYS_FILE, '            "environment": settings.ENVIRONMENT,\n', ""),
        ],
        tests=in_tests(
            KEYS_IN_AWS,
            "test_a_wrapped_key_is_of_no_use_elsewhere",
            "test_generate_names_the_key_and_the_context",
        ),
    ),
    Mutant(
        name="secrets and keys are written as plain Strings",
        protection="parameters are SecureStrings under a KMS key",
        covers=["parameters"],
        edits=[Edit(SSM_FILE, 'Type="SecureString"', 'Type="String"')],
        tests=(
            *in_tests(KEYS_IN_AWS, "test_write_replaces_a_secure_string"),
            *in_tests(
                "secrets/test_rotate_secret_key", "test_each_step_is_one_write_of_a_secure_string"
            ),
        ),
    ),
    Mutant(
        name="secrets are written under the account's default key",
        protection="only the project's KMS key opens its secrets",
        covers=["parameters"],
        edits=[Edit(SSM_FILE, "KeyId=settings.KMS_KEY,", "")],
        tests=in_tests(KEYS_IN_AWS, "test_write_replaces_a_secure_string"),
    ),
    Mutant(
        name="the key store holds keys that are not wrapped",
        protection="the parameter store never sees a key",
        covers=["parameters", "keys"],
        edits=[
            Edit(
                AWS_KEYS_FILE,
                'base64.b64encode(made["CiphertextBlob"])',
                'base64.b64encode(made["Plaintext"])',
            )
        ],
        tests=in_tests(KEYS_IN_AWS, "test_no_parameter_holds_a_key_that_is_not_wrapped"),
    ),
    Mutant(
        name="a key from KMS is believed to be the right one",
        protection="a store that was altered is found",
        covers=["keys"],
        edits=[Edit(KEYRING_FILE, "if key.id.hex() != stored.id:", "if False:")],
        tests=in_tests("keys/test_keyring", "test_a_wrong_key_from_kms_is_refused"),
    ),
    Mutant(
        name="the keys are not wrapped by KMS",
        protection="data keys are wrapped by KMS",
        covers=["keys", "E020"],
        edits=[Edit(SETTINGS, "apps.keys.aws.AWSKeyStore", "apps.keys.memory.MemoryKeyStore")],
        tests=in_tests("encryption/test_checks", "test_the_project_s_settings_have_no_error"),
    ),
    Mutant(
        name="a key shows itself",
        protection="no log and no report shows a key",
        edits=[Edit(KEYRING_FILE, 'f"<DataKey {self.id.hex()}>"', 'f"<DataKey {self._secret!r}>"')],
        tests=in_tests(DATA_KEY, "test_a_key_shows_its_id_only", "test_a_log_shows_its_id_only"),
    ),
    Mutant(
        name="a key can be pickled",
        protection="no cache and no queue holds a key",
        edits=[Edit(KEYRING_FILE, "def __reduce__(self)", "def _reduce(self)")],
        tests=in_tests(DATA_KEY, "test_no_protocol_pickles_it"),
    ),
    Mutant(
        name="core dumps allowed",
        protection="a process that crashes writes no key to a disk",
        edits=[
            Edit(
                KEYRING_FILE,
                "    resource.setrlimit(resource.RLIMIT_CORE, (0,",
                "    (lambda *_: None)(resource.RLIMIT_CORE, (0,",
            )
        ],
        tests=in_tests("keys/test_keyring", "test_a_process_with_keys_leaves_no_core_file"),
    ),
    Mutant(
        name="secrets show their values",
        protection="no log and no report shows a secret",
        edits=[
            Edit(SSM_FILE, 'f"<Secrets {sorted(self._values)}>"', 'f"<Secrets {self._values}>"')
        ],
        tests=in_tests("secrets/test_ssm", "test_the_mapping_shows_names_only"),
    ),
    Mutant(
        name="one project reads the secrets of another",
        protection="a prefix matches one environment only",
        edits=[Edit(SSM_FILE, 'prefix.endswith("/") and ', "")],
        tests=in_tests("secrets/test_ssm", "test_a_prefix_that_could_match_another_is_refused"),
    ),
    Mutant(
        name="a damaged secret is shown",
        protection="errors show no secret",
        edits=[
            Edit(
                "apps/secrets/secret_key.py",
                'f"The secret {FALLBACKS} is not',
                'f"The secret {FALLBACKS} {secrets.get(FALLBACKS)} is not',
            )
        ],
        tests=in_tests(
            "secrets/test_rotate_secret_key",
            "test_a_damaged_value_stops_the_start_and_is_not_shown",
        ),
    ),
]

REPORTS = in_tests(ERRORS, "test_no_value_of_a_request_is_reported")

SHOWN = [
    Mutant(
        name="sessions are stored under the cookie's own key",
        protection="what is stored opens no session",
        edits=[
            Edit(
                "apps/users/sessions.py",
                "return hashlib.sha256(session_key.encode()).hexdigest()[:40]",
                "return session_key",
            )
        ],
        tests=in_tests("users/test_sessions", "test_what_is_stored_opens_no_session"),
    ),
    Mutant(
        name="Django's own sessions",
        protection="what is stored opens no session",
        edits=[
            Edit(SETTINGS, '"apps.users.sessions"', '"django.contrib.sessions.backends.cached_db"')
        ],
        tests=in_tests("users/test_sessions", "test_what_is_stored_opens_no_session"),
    ),
    Mutant(
        name="messages in a cookie of their own",
        protection="every cookie is bound to this host",
        edits=[Edit(SETTINGS, "storage.session.SessionStorage", "storage.cookie.CookieStorage")],
        tests=in_tests("config/test_cookies", "test_every_cookie_has_the_host_prefix"),
    ),
    Mutant(
        name="a new password leaves old sessions open",
        protection="a new password ends the other sessions",
        edits=[
            Edit(
                "apps/users/models.py",
                "            self.password,\n            secret=",
                '            "",\n            secret=',
            )
        ],
        tests=in_tests("users/test_pages", "test_a_new_password_ends_the_other_sessions"),
    ),
    Mutant(
        name="passwords hashed with MD5",
        protection="a stolen hash is hard to guess from",
        edits=[Edit(SETTINGS, "hashers.Argon2PasswordHasher", "hashers.MD5PasswordHasher")],
        tests=in_tests(
            "config/test_protections", "test_passwords_are_hard_to_guess_from_their_hashes"
        ),
    ),
    Mutant(
        name="any password will do",
        protection="common passwords are refused",
        edits=[Edit(SETTINGS, '        "CommonPasswordValidator",\n', "")],
        tests=in_tests(
            "config/test_protections", "test_passwords_are_hard_to_guess_from_their_hashes"
        ),
    ),
    Mutant(
        name="logs are not redacted",
        protection="logs hold no secret",
        edits=[Edit(LOGS_FILE, "        redact,\n", "")],
        tests=in_tests(
            LOGS,
            "test_an_exception_s_text_is_redacted",
            "test_lines_of_other_libraries_are_redacted",
        ),
    ),
    Mutant(
        name="logs show passwords in addresses",
        protection="logs hold no secret",
        edits=[
            Edit(LOGS_FILE, r'return _SECRET_IN_URL.sub(r"\1:[redacted]@", value)', "return value")
        ],
        tests=in_tests(LOGS, "test_only_the_password_in_a_url_is_blanked"),
    ),
    Mutant(
        name="logs show values under secret names",
        protection="logs hold no secret",
        edits=[
            Edit(
                LOGS_FILE,
                '"[redacted]" if _SECRET_NAME.search(str(key)) else _clean(inner)',
                "_clean(inner)",
            )
        ],
        tests=in_tests(LOGS, "test_a_key_that_sounds_secret_is_blanked"),
    ),
    Mutant(
        name="logs show what AWS answers",
        protection="logs hold no secret",
        edits=[
            Edit(LOGS_FILE, '"botocore": {"level": "WARNING"}', '"botocore": {"level": "DEBUG"}')
        ],
        tests=in_tests(LOGS, "test_botocore_never_logs_what_it_receives"),
    ),
    Mutant(
        name="logs with query strings",
        protection="logs do not say what people search for",
        edits=[Edit("config/middleware.py", "{request.path}", "{request.get_full_path()}")],
        tests=in_tests(LOGS, "test_what_people_search_for_is_not_logged"),
    ),
    Mutant(
        name="error reports with the values of variables",
        protection="error reports show no value",
        edits=[
            Edit(
                ERRORS_FILE,
                "(name, self.cleansed_substitute) for name in tb_frame.f_locals",
                "(name, value) for name, value in tb_frame.f_locals.items()",
            )
        ],
        tests=REPORTS,
    ),
    Mutant(
        name="error reports with what was sent",
        protection="error reports show no value",
        edits=[Edit(ERRORS_FILE, "def get_post_parameters(", "def _get_post_parameters(")],
        tests=REPORTS,
    ),
    Mutant(
        name="error reports with headers",
        protection="error reports show no value",
        edits=[Edit(ERRORS_FILE, "def get_safe_request_meta(", "def _get_safe_request_meta(")],
        tests=REPORTS,
    ),
    Mutant(
        name="error reports with cookies",
        protection="error reports show no value",
        edits=[Edit(ERRORS_FILE, "def get_safe_cookies(", "def _get_safe_cookies(")],
        tests=REPORTS,
    ),
    Mutant(
        name="Django's own error reports",
        protection="error reports show no value",
        edits=[
            Edit(SETTINGS, 'DEFAULT_EXCEPTION_REPORTER_FILTER = "config.errors.NoValuesFilter"', "")
        ],
        tests=REPORTS,
    ),
]

MUTANTS = [*FIELDS, *FILES, *KEYS, *SHOWN]
