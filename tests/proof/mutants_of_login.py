"""Mutants of what limits guessing, and of who is let in while others guess."""

from mutant import Edit, Mutant, in_tests

SETTINGS = "config/settings.py"
THROTTLE_FILE = "apps/users/throttle.py"
DEVICES_FILE = "apps/users/devices.py"
CHECKS_FILE = "apps/users/checks.py"

THROTTLE = "users/test_throttle"

MUTANTS = [
    Mutant(
        name="Django's own log-in, without limits",
        protection="nobody guesses passwords without limit",
        edits=[
            Edit(
                SETTINGS,
                "apps.users.backends.ThrottledBackend",
                "django.contrib.auth.backends.ModelBackend",
            )
        ],
        tests=in_tests(
            THROTTLE,
            "test_wrong_passwords_are_looked_at_so_many_times",
            "test_the_settings_pass",
        ),
    ),
    Mutant(
        name="log-ins are counted after the password is looked at",
        protection="attempts made at once do not pass together",
        edits=[
            Edit(
                "apps/users/backends.py",
                "        throttle.count(counters)\n        user: User | None = super()"
                ".authenticate(request, username, password)\n",
                "        user: User | None = super().authenticate(request, username, password)\n"
                "        throttle.count(counters)\n",
            )
        ],
        tests=in_tests(THROTTLE, "test_wrong_passwords_are_looked_at_so_many_times"),
    ),
    Mutant(
        name="log-ins are not counted while the cache is away",
        protection="an attack on the cache opens no log-in",
        edits=[Edit(THROTTLE_FILE, "raise CannotCountError from error", "return")],
        tests=in_tests(THROTTLE, "test_nobody_is_let_through_uncounted"),
    ),
    Mutant(
        name="no limit for an account",
        protection="many networks do not help against one account",
        edits=[Edit(THROTTLE_FILE, '        counter("account", account),\n    ]', "    ]")],
        tests=in_tests(THROTTLE, "test_many_networks_do_not_help_against_one_account"),
    ),
    Mutant(
        name="no limit for a network",
        protection="one network does not try one password on every account",
        edits=[Edit(THROTTLE_FILE, '        counter("network", origin),\n', "")],
        tests=in_tests(THROTTLE, "test_many_accounts_do_not_help_one_network"),
    ),
    Mutant(
        name="one network uses up an account",
        protection="nobody locks others out",
        edits=[
            Edit(THROTTLE_FILE, '        counter("account_and_network", account, origin),\n', "")
        ],
        tests=in_tests(THROTTLE, "test_one_network_cannot_use_up_the_account"),
    ),
    Mutant(
        name="a known browser has no way in of its own",
        protection="nobody locks others out",
        edits=[
            Edit(
                THROTTLE_FILE,
                "if user and (number := device(request, user)):",
                "if user and (number := None):",
            )
        ],
        tests=in_tests(
            THROTTLE, "test_a_browser_that_was_let_in_before_is_let_in_during_an_attack"
        ),
    ),
    Mutant(
        name="a known browser may guess without limit",
        protection="nobody guesses passwords without limit",
        edits=[Edit(THROTTLE_FILE, 'return [counter("device", account, number)]', "return []")],
        tests=in_tests(THROTTLE, "test_a_known_browser_has_a_limit_of_its_own"),
    ),
    Mutant(
        name="one browser's cookie is good for every account",
        protection="a browser is known to those who have logged in with it",
        edits=[Edit(DEVICES_FILE, "{user.pk} {user.get_session_auth_hash()}", "")],
        tests=in_tests(
            THROTTLE,
            "test_a_browser_that_knows_somebody_else_is_a_stranger",
            "test_a_new_password_makes_browsers_strangers",
        ),
    ),
    Mutant(
        name="counters are named in plaintext",
        protection="the cache does not tell who logs in from where",
        edits=[
            Edit(
                THROTTLE_FILE,
                'digest = salted_hmac(__name__, text, algorithm="sha256").hexdigest()',
                'digest = text.replace(" ", "")',
            )
        ],
        tests=in_tests(THROTTLE, "test_nothing_that_is_kept_names_account_or_network"),
    ),
    Mutant(
        name="signing up tells without limit who has an account",
        protection="nobody collects addresses by signing up",
        edits=[Edit("apps/users/views.py", "        throttle.count(counters)\n", "        pass\n")],
        tests=in_tests(THROTTLE, "test_who_has_an_account_cannot_be_asked_without_limit"),
    ),
    Mutant(
        name="the old password is asked for without limit",
        protection="who finds a browser logged in does not guess the password",
        edits=[
            Edit(
                "apps/users/forms.py",
                "if not authenticate(self.request, username=self.user.get_username(), "
                "password=password):",
                "if not self.user.check_password(password):",
            )
        ],
        tests=in_tests(THROTTLE, "test_the_old_password_is_limited_too"),
    ),
    Mutant(
        name="every IPv6 address counts for itself",
        protection="one network is one, however many addresses it has",
        edits=[Edit("apps/users/networks.py", "(address.packed, 64)", "(address.packed, 128)")],
        tests=in_tests(THROTTLE, "test_a_network"),
    ),
    Mutant(
        name="the check users.E001 finds nothing",
        protection="a log-in without limits stops the start",
        edits=[
            Edit(
                CHECKS_FILE,
                "if issubclass(backend, ModelBackend) and not issubclass(",
                "if issubclass(backend, ModelBackend) and isinstance(",
            )
        ],
        tests=in_tests(THROTTLE, "test_a_backend_without_limits_is_an_error"),
    ),
]
