"""Mutants of the network: servers that accept too much, clients that verify too little."""

from mutant import Edit, Leaf, Mutant, in_tests

SETTINGS = "config/settings.py"
NGINX = "services/nginx/nginx.conf"
START = "services/nginx/start"
GUNICORN = "services/app/gunicorn.conf.py"
CERTS = "scripts/certs"

EDGE = "encryption/test_edge_hop"
BEHIND = "encryption/test_gunicorn_hop"
SECRECY = "encryption/test_proxy_secrecy"
DATABASE = "encryption/test_database_hop"
CACHE = "encryption/test_cache_hop"
STORAGE = "encryption/test_storage_hop"
AWS = "encryption/test_aws_hops"
PROTECTIONS = "config/test_protections"

VERIFIES = "The certificate verifies (chain, name, dates)"
LASTS = "The certificate lasts 7 more days"
PLAINTEXT = "Plaintext is refused"
AWS_HOPS = ("storage", "secrets", "keys")

# What verify_encryption finds while a server is wrong ------------------------------------

SERVERS = [
    Mutant(
        name="the proxy accepts TLS 1.1",
        protection="the edge offers TLS 1.2 and 1.3 only",
        covers=["edge"],
        edits=[
            Edit(NGINX, "ssl_protocols TLSv1.2", "ssl_protocols TLSv1.1"),
            Edit(NGINX, "ssl_ciphers ", "ssl_ciphers @SECLEVEL=0:ECDHE-ECDSA-AES128-SHA:"),
        ],
        tests=in_tests(EDGE, "test_tls_1_1_is_refused"),
        server="proxy",
        short=["edge"],
        claim="TLS below 1.2 is refused",
    ),
    Mutant(
        name="the proxy serves plaintext on its TLS port",
        protection="the edge serves HTTPS only",
        covers=["edge"],
        edits=[Edit(NGINX, "${HTTPS_LISTEN} ssl;", "${HTTPS_LISTEN};")],
        server="proxy",
        short=["edge"],
        claim=PLAINTEXT,
    ),
    Mutant(
        name="the proxy's certificate is for another name",
        protection="the edge's certificate is for its name",
        covers=["edge"],
        server="proxy",
        leaf=Leaf(name="other.internal"),
        short=["edge"],
        claim=VERIFIES,
    ),
    Mutant(
        name="the proxy's certificate ends in two days",
        protection="certificates are renewed in time",
        covers=["edge"],
        server="proxy",
        leaf=Leaf(days=2),
        short=["edge"],
        claim=LASTS,
    ),
    Mutant(
        name="gunicorn asks for no client certificate",
        protection="gunicorn serves nobody but the proxy",
        covers=["gunicorn"],
        edits=[Edit(GUNICORN, "context.verify_mode = ssl.CERT_REQUIRED", "")],
        tests=in_tests(BEHIND, "test_no_certificate_is_refused"),
        server="app",
        short=["gunicorn"],
        claim="A client without a certificate is refused",
    ),
    Mutant(
        name="gunicorn accepts TLS 1.2",
        protection="the proxy's hop is TLS 1.3",
        covers=["gunicorn"],
        edits=[Edit(GUNICORN, "TLSVersion.TLSv1_3", "TLSVersion.TLSv1_2")],
        tests=in_tests(BEHIND, "test_tls_1_2_is_refused"),
        server="app",
        short=["gunicorn"],
        claim="TLS below 1.3 is refused",
    ),
    Mutant(
        name="gunicorn serves plaintext",
        protection="the proxy's hop is TLS",
        covers=["gunicorn"],
        edits=[
            Edit(GUNICORN, 'certfile = f"{_credentials}/tls.crt"', ""),
            Edit(GUNICORN, 'keyfile = f"{_credentials}/tls.key"', ""),
            Edit(GUNICORN, "def ssl_context(", "def _unused("),
        ],
        tests=in_tests(BEHIND, "test_plaintext_is_refused"),
        server="app",
        short=["gunicorn"],
        claim=PLAINTEXT,
    ),
    Mutant(
        name="PostgreSQL: hostssl becomes host",
        protection="the database refuses plaintext",
        covers=["database"],
        edits=[Edit("services/postgres/pg_hba.conf", "hostssl", "host   ")],
        tests=in_tests("test_servers", "test_every_entry_asks_for_tls_and_a_password"),
        server="postgres",
        short=["database"],
        claim=PLAINTEXT,
    ),
    Mutant(
        name="PostgreSQL lets everybody in without a password",
        protection="SCRAM, bound to the channel",
        covers=["database"],
        edits=[Edit("services/postgres/pg_hba.conf", "all      scram-sha-256", "all      trust")],
        tests=in_tests("test_servers", "test_every_entry_asks_for_tls_and_a_password"),
        server="postgres",
        short=["database", "columns"],
        claim="The connection in use is TLS",
    ),
    Mutant(
        name="PostgreSQL accepts TLS 1.1",
        protection="the database offers TLS 1.2 and 1.3 only",
        covers=["database"],
        edits=[
            Edit("services/postgres/postgresql.conf", "= 'TLSv1.2'", "= 'TLSv1.1'"),
            Edit("services/postgres/postgresql.conf", "'ECDHE+AESGCM:", "'ALL:@SECLEVEL=0:"),
        ],
        server="postgres",
        short=["database"],
        claim="TLS below 1.2 is refused",
    ),
    Mutant(
        name="PostgreSQL's certificate ends in two days",
        protection="certificates are renewed in time",
        covers=["database"],
        server="postgres",
        leaf=Leaf(days=2),
        short=["database"],
        claim=LASTS,
    ),
    Mutant(
        name="the cache serves plaintext on its port",
        protection="the cache refuses plaintext",
        covers=["cache"],
        edits=[
            Edit("Procfile", "--tls-port $CACHE_PORT", "--port $CACHE_PORT"),
            # Nothing answers a TLS handshake there: let nobody wait for long.
            Edit("apps/encryption/tls.py", "TIMEOUT = 5.0", "TIMEOUT = 0.5"),
            Edit(SETTINGS, '"socket_timeout": 5', '"socket_timeout": 0.5'),
        ],
        server="cache",
        short=["cache"],
        claim=PLAINTEXT,
    ),
    Mutant(
        name="the cache accepts TLS 1.1",
        protection="the cache offers TLS 1.2 and 1.3 only",
        covers=["cache"],
        edits=[
            Edit("services/cache/cache.conf", '"TLSv1.2 TLSv1.3"', '"TLSv1.1 TLSv1.2"'),
            Edit("services/cache/cache.conf", "ciphers ECDHE+AESGCM:", "ciphers ALL:@SECLEVEL=0:"),
        ],
        server="cache",
        short=["cache"],
        claim="TLS below 1.2 is refused",
    ),
    Mutant(
        name="the cache's certificate is for another name",
        protection="the cache's certificate is for its name",
        covers=["cache"],
        server="cache",
        leaf=Leaf(name="other.internal"),
        short=["cache"],
        claim=VERIFIES,
    ),
    Mutant(
        name="the stand-in for AWS accepts TLS 1.1",
        protection="object storage, secrets and keys are reached over TLS 1.2 or newer",
        covers=AWS_HOPS,
        edits=[
            Edit("services/aws/serve.py", "TLSVersion.TLSv1_2", "TLSVersion.TLSv1_1"),
            Edit(
                "services/aws/serve.py", 'CIPHERS = "ECDHE+AESGCM:', 'CIPHERS = "ALL:@SECLEVEL=0:'
            ),
        ],
        server="aws",
        short=AWS_HOPS,
        claim="TLS below 1.2 is refused",
    ),
    Mutant(
        name="the stand-in for AWS has a certificate that ends in two days",
        protection="certificates are renewed in time",
        covers=AWS_HOPS,
        server="aws",
        leaf=Leaf(days=2),
        short=AWS_HOPS,
        claim=LASTS,
    ),
    Mutant(
        name="files go to a server whose certificate is of another CA",
        protection="object storage shows a certificate of the right CA",
        covers=["storage"],
        server="aws",
        leaf=Leaf(own_ca=False),
        env={
            "AWS_PORT": "{healthy[AWS_PORT]}",
            "AWS_ENDPOINT_URL_S3": "https://localhost:{own[AWS_PORT]}",
        },
        short=["storage", "media"],
        claim=VERIFIES,
    ),
    Mutant(
        name="keys come from a server whose certificate is of another CA",
        protection="no process starts with keys from a false server",
        covers=["keys", "E021"],
        server="aws",
        leaf=Leaf(own_ca=False),
        env={
            "AWS_PORT": "{healthy[AWS_PORT]}",
            "AWS_ENDPOINT_URL_KMS": "https://localhost:{own[AWS_PORT]}",
        },
        check="E021",
        starts=["migrate"],
    ),
    Mutant(
        name="a secret is stored as a plain String",
        protection="parameters are SecureStrings under a KMS key",
        covers=["parameters"],
        edits=[Edit("scripts/seed_local.py", 'Type="SecureString"', 'Type="String"')],
        tests=in_tests(
            "secrets/test_seed_local", "test_a_rotated_secret_key_survives_the_next_start"
        ),
        server="aws",
        seed=True,
        short=["parameters"],
        claim="Every parameter is a SecureString",
    ),
    Mutant(
        name="the bucket encrypts with a key of S3's own",
        protection="uploads rest under a KMS key",
        covers=["media"],
        edits=[
            Edit("scripts/seed_local.py", '"SSEAlgorithm": "aws:kms"', '"SSEAlgorithm": "AES256"')
        ],
        server="aws",
        seed=True,
        short=["media"],
        claim="A new object is stored with SSE-KMS",
    ),
]

# What the proxy does ---------------------------------------------------------------------

PROXY = [
    Mutant(
        name="proxy_ssl_verify off",
        protection="the proxy verifies gunicorn",
        covers=["gunicorn"],
        edits=[Edit(NGINX, "proxy_ssl_verify on", "proxy_ssl_verify off")],
        tests=in_tests(
            EDGE,
            "test_a_gunicorn_of_another_ca_is_refused",
            "test_a_gunicorn_of_another_name_is_refused",
            "test_an_expired_gunicorn_is_refused",
        ),
    ),
    Mutant(
        name="the proxy speaks TLS 1.2 to gunicorn",
        protection="the proxy's hop is TLS 1.3",
        covers=["gunicorn"],
        edits=[Edit(NGINX, "proxy_ssl_protocols TLSv1.3", "proxy_ssl_protocols TLSv1.2 TLSv1.3")],
        tests=in_tests(EDGE, "test_a_gunicorn_with_tls_1_2_is_refused"),
    ),
    Mutant(
        name="the proxy speaks plaintext to gunicorn",
        protection="the proxy's hop is TLS",
        covers=["gunicorn"],
        edits=[Edit(NGINX, "proxy_pass https://", "proxy_pass http://")],
        tests=in_tests(EDGE, "test_a_gunicorn_without_tls_is_refused"),
    ),
    Mutant(
        name="every server's certificate is good for a client",
        protection="gunicorn tells the proxy from the other services",
        covers=["gunicorn"],
        edits=[
            Edit(
                CERTS, 'leaf "$service" tls serverAuth', 'leaf "$service" tls serverAuth,clientAuth'
            )
        ],
        tests=in_tests(BEHIND, "test_a_server_s_certificate_is_refused"),
    ),
    Mutant(
        name="a client's X-Forwarded-For passes",
        protection="the proxy writes the client's address itself",
        covers=["edge"],
        edits=[
            Edit(NGINX, "X-Forwarded-For $remote_addr", "X-Forwarded-For $http_x_forwarded_for")
        ],
        tests=in_tests(EDGE, "test_a_client_cannot_forge_what_the_proxy_says_of_it"),
    ),
    Mutant(
        name="a client's X-Forwarded-For is added to",
        protection="the proxy writes the client's address itself",
        covers=["edge"],
        edits=[
            Edit(
                NGINX, "X-Forwarded-For $remote_addr", "X-Forwarded-For $proxy_add_x_forwarded_for"
            )
        ],
        tests=in_tests(EDGE, "test_a_client_cannot_forge_what_the_proxy_says_of_it"),
    ),
    Mutant(
        name="a client's X-Forwarded-Proto passes",
        protection="no client says that it came over HTTPS",
        covers=["edge"],
        edits=[Edit(NGINX, "X-Forwarded-Proto https", "X-Forwarded-Proto $http_x_forwarded_proto")],
        tests=in_tests(EDGE, "test_a_client_cannot_forge_what_the_proxy_says_of_it"),
    ),
    Mutant(
        name="a client's Forwarded passes",
        protection="the proxy clears the standard header of RFC 7239 too",
        covers=["edge"],
        edits=[Edit(NGINX, 'proxy_set_header Forwarded "";', "")],
        tests=in_tests(EDGE, "test_a_client_cannot_forge_what_the_proxy_says_of_it"),
    ),
    Mutant(
        name="a client's X-Forwarded-Host passes",
        protection="no client chooses the host in links",
        covers=["edge"],
        edits=[Edit(NGINX, 'proxy_set_header X-Forwarded-Host "";', "")],
        tests=in_tests(EDGE, "test_a_client_cannot_forge_what_the_proxy_says_of_it"),
    ),
    Mutant(
        name="a client chooses the port in links",
        protection="no client chooses the host in links",
        covers=["edge"],
        edits=[Edit(NGINX, "Host $host${HTTPS_SUFFIX};", "Host $http_host;")],
        tests=in_tests(EDGE, "test_a_client_cannot_choose_the_port_of_links"),
    ),
    Mutant(
        name="answers of the proxy's own without HSTS",
        protection="browsers stay on HTTPS",
        covers=["edge"],
        edits=[Edit(NGINX, "add_header Strict-Transport-Security $hsts always;", "")],
        tests=in_tests(EDGE, "test_every_answer_has_the_headers_of_a_secure_site"),
    ),
    Mutant(
        name="the plain port answers requests",
        protection="the plain port only redirects",
        covers=["edge"],
        edits=[Edit(NGINX, "return 308 https://$host${HTTPS_SUFFIX}$request_uri;", "return 200;")],
        tests=in_tests(EDGE, "test_the_plain_port_only_redirects"),
    ),
    Mutant(
        name="the edge accepts CBC ciphers",
        protection="only AEAD ciphers with forward secrecy",
        covers=["edge"],
        edits=[Edit(NGINX, "ssl_ciphers ", "ssl_ciphers DEFAULT:")],
        tests=in_tests(SECRECY, "test_ciphers_of_a_kind_that_was_broken_are_refused"),
    ),
    Mutant(
        name="the edge gives out session tickets",
        protection="no key of the server opens recorded sessions",
        covers=["edge"],
        edits=[Edit(NGINX, "ssl_session_tickets off", "ssl_session_tickets on")],
        tests=in_tests(SECRECY, "test_no_ticket_holds_the_keys_of_a_session"),
    ),
    Mutant(
        name="NGINX writes large uploads to a disk",
        protection="plaintext stays in memory",
        covers=["edge"],
        edits=[Edit(NGINX, "client_body_buffer_size 12m;", "")],
        tests=in_tests(SECRECY, "test_a_large_upload_is_not_written_to_a_disk"),
    ),
    Mutant(
        name="NGINX writes large answers to a disk",
        protection="plaintext stays in memory",
        covers=["edge"],
        edits=[Edit(NGINX, "proxy_max_temp_file_size 0;", "")],
        tests=in_tests(SECRECY, "test_a_large_answer_is_not_written_to_a_disk"),
    ),
    Mutant(
        name="NGINX logs requests with their queries",
        protection="logs hold no query",
        edits=[Edit(NGINX, "access_log off;", "access_log /dev/stdout;")],
        tests=in_tests(SECRECY, "test_nginx_logs_no_request"),
    ),
    Mutant(
        name="gunicorn logs requests with their queries",
        protection="logs hold no query",
        edits=[Edit(GUNICORN, "%(m)s %(U)s %(H)s", "%(r)s")],
        tests=in_tests(SECRECY, "test_gunicorn_logs_no_query"),
    ),
    Mutant(
        name="gunicorn listens on every address",
        protection="gunicorn is reached through the proxy only",
        covers=["gunicorn"],
        edits=[Edit(GUNICORN, "127.0.0.1:8000", "0.0.0.0:8000")],
        tests=in_tests("test_servers", "test_gunicorn_listens_on_loopback_only"),
    ),
    Mutant(
        name="a task keeps the key of its CA",
        protection="nobody signs for a task after its start",
        covers=["gunicorn"],
        edits=[Edit(START, "CA_KEY=discard", "CA_KEY=keep"), Edit(START, '  rm -rf "$made"\n', "")],
        tests=in_tests(EDGE, "test_a_task_without_a_certificate_makes_its_own"),
    ),
    Mutant(
        name="the proxy starts with an expired certificate",
        protection="an expired certificate stops the start",
        covers=["edge"],
        edits=[Edit(START, "-noout -checkend 0", "-noout")],
        tests=in_tests(EDGE, "test_with_an_expired_certificate_the_proxy_does_not_start"),
    ),
]

# What clients verify ---------------------------------------------------------------------

GOOD = in_tests("encryption/test_checks", "test_the_project_s_settings_have_no_error")

CLIENTS = [
    Mutant(
        name="PostgreSQL: verify-full becomes require",
        protection="the client verifies the database's CA and name",
        covers=["database", "E002"],
        edits=[Edit(SETTINGS, '"sslmode": "verify-full"', '"sslmode": "require"')],
        tests=in_tests(DATABASE, "test_another_name_is_refused"),
        check="E002",
        starts=["app", "worker", "scheduler", "migrate"],
    ),
    Mutant(
        name="PostgreSQL: verify-full becomes verify-ca",
        protection="the client verifies the database's name",
        covers=["database", "E002"],
        edits=[Edit(SETTINGS, '"sslmode": "verify-full"', '"sslmode": "verify-ca"')],
        tests=(*in_tests(DATABASE, "test_another_name_is_refused"), *GOOD),
    ),
    Mutant(
        name="PostgreSQL: verify-full becomes prefer, without a CA",
        protection="the client never goes on in plaintext",
        covers=["database", "E002", "E003"],
        edits=[
            Edit(SETTINGS, '"sslmode": "verify-full"', '"sslmode": "prefer"'),
            Edit(SETTINGS, '"sslrootcert": env.str("DATABASE_CA_FILE"),', ""),
        ],
        tests=in_tests(
            DATABASE, "test_plaintext_in_its_place_is_refused", "test_another_ca_is_refused"
        ),
    ),
    Mutant(
        name="PostgreSQL: channel_binding off",
        protection="a relay cannot log in",
        covers=["database", "E004"],
        edits=[Edit(SETTINGS, '"channel_binding": "require"', '"channel_binding": "disable"')],
        tests=in_tests(PROTECTIONS, "test_the_database_client_leaves_nothing_to_a_default"),
        check="E004",
        starts=["migrate"],
    ),
    Mutant(
        name="PostgreSQL: ssl_min_protocol_version gone",
        protection="the client offers TLS 1.2 and 1.3 only",
        covers=["database"],
        edits=[Edit(SETTINGS, '"ssl_min_protocol_version": "TLSv1.3",', "")],
        tests=in_tests(DATABASE, "test_tls_1_1_is_refused"),
    ),
    Mutant(
        name="PostgreSQL: gssencmode as it comes",
        protection="nothing takes the place of TLS",
        covers=["database"],
        edits=[Edit(SETTINGS, '"gssencmode": "disable",', "")],
        tests=in_tests(PROTECTIONS, "test_the_database_client_leaves_nothing_to_a_default"),
    ),
    Mutant(
        name="cache: certificate requirements off",
        protection="the client verifies the cache's CA",
        covers=["cache", "E006"],
        edits=[
            Edit(SETTINGS, '"ssl_cert_reqs": "required"', '"ssl_cert_reqs": "none"'),
            Edit(SETTINGS, '"ssl_check_hostname": True', '"ssl_check_hostname": False'),
        ],
        tests=in_tests(
            CACHE,
            "test_another_ca_is_refused",
            "test_another_name_is_refused",
            "test_an_expired_certificate_is_refused",
        ),
    ),
    Mutant(
        name="cache: host-name check off",
        protection="the client verifies the cache's name",
        covers=["cache", "E006"],
        edits=[Edit(SETTINGS, '"ssl_check_hostname": True', '"ssl_check_hostname": False')],
        tests=in_tests(CACHE, "test_another_name_is_refused"),
        check="E006",
        starts=["migrate"],
    ),
    Mutant(
        name="cache: rediss becomes redis",
        protection="the client speaks TLS to the cache",
        covers=["cache", "E005"],
        edits=[Edit(SETTINGS, 'f"rediss://', 'f"redis://')],
        tests=GOOD,
        check="E005",
        starts=["migrate"],
    ),
    Mutant(
        name="files: verify off",
        protection="the client verifies object storage",
        covers=["storage", "E009"],
        edits=[Edit(SETTINGS, '"verify": None', '"verify": False')],
        tests=in_tests(
            STORAGE,
            "test_another_ca_is_refused",
            "test_another_name_is_refused",
            "test_an_expired_certificate_is_refused",
        ),
        check="E009",
        starts=["migrate"],
    ),
    Mutant(
        name="files: an endpoint without TLS",
        protection="the client speaks TLS to object storage",
        covers=["storage", "E010"],
        edits=[Edit(SETTINGS, '"use_ssl": True', '"endpoint_url": "http://localhost:1"')],
        tests=GOOD,
        check="E010",
        starts=["migrate"],
    ),
    Mutant(
        name="the clients of secret store and keys verify nothing",
        protection="the client verifies the secret store and KMS",
        covers=["secrets", "keys"],
        edits=[Edit("apps/secrets/aws.py", "verify=verify,", "verify=False,")],
        tests=in_tests(
            AWS,
            "test_another_ca_is_refused",
            "test_another_name_is_refused",
            "test_an_expired_certificate_is_refused",
        ),
        short=["secrets", "keys"],
        claim="The client refuses a wrong CA",
    ),
    Mutant(
        name="the secret loader verifies nothing",
        protection="the client verifies the secret store",
        covers=["secrets"],
        edits=[Edit("apps/secrets/ssm.py", "verify=verify,", "verify=False,")],
        short=["secrets"],
        claim="The client refuses a wrong CA",
    ),
    Mutant(
        name="the client that unwraps keys verifies nothing",
        protection="the client verifies KMS",
        covers=["keys"],
        edits=[Edit("apps/keys/kms.py", "verify=verify,", "verify=False,")],
        short=["keys"],
        claim="The client refuses a wrong CA",
    ),
    Mutant(
        name="the client that unwraps keys verifies only for the probe",
        protection="the probes ask the client that is really used",
        covers=["keys"],
        edits=[Edit("apps/keys/kms.py", "verify=verify,", "verify=verify or False,")],
        short=["keys"],
        claim="The client refuses a wrong name",
    ),
    Mutant(
        name="secrets are asked of an endpoint without TLS",
        protection="nothing is asked of AWS in plaintext",
        covers=["secrets", "keys"],
        edits=[Edit("apps/secrets/aws.py", 'startswith("https://")', 'startswith("http")')],
        tests=in_tests(AWS, "test_an_endpoint_without_tls_is_never_asked"),
    ),
    Mutant(
        name="a second way to a client of AWS",
        protection="one factory makes the clients of AWS",
        covers=["keys"],
        edits=[
            Edit(
                "apps/keys/kms.py", "from apps.secrets.aws", "import boto3\n\nfrom apps.secrets.aws"
            ),
            Edit("apps/keys/kms.py", "return aws_client(", "return boto3.client("),
        ],
        tests=in_tests(AWS, "test_no_other_module_makes_a_client_of_aws"),
    ),
]

# What browsers are told ------------------------------------------------------------------

HEADERS = in_tests(PROTECTIONS, "test_every_page_carries_the_protections")
COOKIES = in_tests(PROTECTIONS, "test_cookies_are_for_this_site_s_own_requests")

BROWSERS = [
    Mutant(
        name="HSTS gone",
        protection="browsers stay on HTTPS",
        covers=["edge", "E014"],
        edits=[Edit(SETTINGS, "int(timedelta(days=730).total_seconds())", "0")],
        tests=(*HEADERS, *GOOD),
    ),
    Mutant(
        name="HSTS without subdomains",
        protection="browsers stay on HTTPS for every name below",
        covers=["edge"],
        edits=[
            Edit(
                SETTINGS,
                "SECURE_HSTS_INCLUDE_SUBDOMAINS = True",
                "SECURE_HSTS_INCLUDE_SUBDOMAINS = False",
            )
        ],
        tests=HEADERS,
    ),
    Mutant(
        name="no redirect to HTTPS",
        protection="Django too answers plain requests with a redirect",
        covers=["E014"],
        edits=[Edit(SETTINGS, "SECURE_SSL_REDIRECT = True", "SECURE_SSL_REDIRECT = False")],
        tests=GOOD,
    ),
    Mutant(
        name="CSP gone",
        protection="a page runs nothing but files of this site",
        covers=["E014"],
        edits=[
            Edit(SETTINGS, '    "django.middleware.csp.ContentSecurityPolicyMiddleware",\n', "")
        ],
        tests=HEADERS,
    ),
    Mutant(
        name="CSP allows inline scripts",
        protection="a page runs nothing but files of this site",
        edits=[Edit(SETTINGS, '"script-src": [CSP.SELF]', '"script-src": [CSP.UNSAFE_INLINE]')],
        tests=in_tests(PROTECTIONS, "test_pages_run_nothing_but_files_of_this_site"),
    ),
    Mutant(
        name="pages may be framed",
        protection="no other site frames a page",
        edits=[Edit(SETTINGS, 'X_FRAME_OPTIONS = "DENY"', 'X_FRAME_OPTIONS = "SAMEORIGIN"')],
        tests=HEADERS,
    ),
    Mutant(
        name="addresses leak to other sites",
        protection="other sites learn no address of a page",
        edits=[Edit(SETTINGS, '"same-origin"', '"unsafe-url"')],
        tests=in_tests(PROTECTIONS, "test_browsers_stay_on_https_here_and_below"),
    ),
    Mutant(
        name="cookies without Secure",
        protection="cookies travel over HTTPS only",
        covers=["E014"],
        edits=[Edit(SETTINGS, "SESSION_COOKIE_SECURE = True", "SESSION_COOKIE_SECURE = False")],
        tests=(*COOKIES, *GOOD),
    ),
    Mutant(
        name="cookies without HttpOnly",
        protection="no script reads the session",
        edits=[Edit(SETTINGS, "SESSION_COOKIE_HTTPONLY = True", "SESSION_COOKIE_HTTPONLY = False")],
        tests=COOKIES,
    ),
    Mutant(
        name="cookies without SameSite",
        protection="other sites' forms do not carry the session",
        edits=[
            Edit(SETTINGS, 'SESSION_COOKIE_SAMESITE = "Lax"', 'SESSION_COOKIE_SAMESITE = "None"')
        ],
        tests=COOKIES,
    ),
    Mutant(
        name="cookies without the prefix __Host-",
        protection="cookies are bound to this host",
        edits=[Edit(SETTINGS, '"__Host-session"', '"session"')],
        tests=(*COOKIES, *in_tests("config/test_cookies", "test_every_cookie_has_the_host_prefix")),
    ),
    Mutant(
        name="the CSRF cookie is readable by scripts",
        protection="no script reads the token",
        edits=[Edit(SETTINGS, "CSRF_COOKIE_HTTPONLY = True", "CSRF_COOKIE_HTTPONLY = False")],
        tests=COOKIES,
    ),
    Mutant(
        name="forms without CSRF protection",
        protection="other sites cannot send forms",
        edits=[Edit(SETTINGS, '    "django.middleware.csrf.CsrfViewMiddleware",\n', "")],
        tests=in_tests(PROTECTIONS, "test_a_form_of_another_site_is_refused"),
    ),
    Mutant(
        name="a header says that the request was secure",
        protection="no forwarding header is trusted",
        covers=["gunicorn"],
        edits=[
            Edit(
                SETTINGS,
                "SECURE_SSL_REDIRECT = True",
                'SECURE_SSL_REDIRECT = True\nSECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", '
                '"https")',
            )
        ],
        tests=(
            *in_tests("config/test_settings", "test_forwarding_headers_are_not_trusted"),
            *in_tests(PROTECTIONS, "test_no_header_makes_a_request_secure"),
        ),
    ),
    Mutant(
        name="ALLOWED_HOSTS with a wildcard",
        protection="links are made for named hosts only",
        covers=["E016"],
        edits=[Edit(SETTINGS, "default=[PROJECT.domain]", 'default=["*"]')],
        tests=(
            *in_tests("config/test_settings", "test_the_host_is_the_project_s_domain_unless_named"),
            *GOOD,
        ),
    ),
    Mutant(
        name="DEBUG on",
        protection="error pages show nothing",
        covers=["E015"],
        edits=[Edit(SETTINGS, "\nDEBUG = False", "\nDEBUG = True")],
        tests=GOOD,
    ),
    Mutant(
        name="DEBUG from the environment",
        protection="no variable switches a protection off",
        covers=["E015"],
        edits=[Edit(SETTINGS, "\nDEBUG = False", '\nDEBUG = env.bool("DEBUG", default=False)')],
        tests=in_tests("config/test_settings", "test_no_variable_changes_how_a_peer_is_verified"),
    ),
]

MUTANTS = [*SERVERS, *CLIENTS, *PROXY, *BROWSERS]
