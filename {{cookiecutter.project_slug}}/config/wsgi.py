"""The WSGI application, which exists only if the encryption checks pass."""

import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

from config.middleware import utf8_only

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = utf8_only(get_wsgi_application())
# WSGI servers run no system checks of their own; a SystemCheckError ends the start.
call_command("check", "--tag", "encryption")
