#!/bin/sh
# Runs once, when the cluster is made: the application's own role and database.
# The superuser's connection is given by the PG* environment variables.
set -eu

psql --quiet --set ON_ERROR_STOP=1 --set password="$(cat "${CREDENTIALS_DIR:-/run/credentials}/app-password")" --dbname postgres <<'SQL'
CREATE ROLE app LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE;
CREATE DATABASE app OWNER app;
REVOKE ALL ON DATABASE app FROM PUBLIC;
SQL
