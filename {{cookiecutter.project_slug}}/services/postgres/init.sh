#!/bin/sh
# Runs once, when the cluster is made: the application's database. The local release makes
# its roles, as on AWS. The superuser's connection is given by the PG* environment variables.
set -eu

psql --quiet --set ON_ERROR_STOP=1 --dbname postgres <<'SQL'
CREATE DATABASE app;
REVOKE ALL ON DATABASE app FROM PUBLIC;
SQL
