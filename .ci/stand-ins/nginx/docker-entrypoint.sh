#!/bin/sh
# Runs the executable scripts of /docker-entrypoint.d before nginx, as the official image does.
set -e

case $1 in
nginx | nginx-debug)
    for script in /docker-entrypoint.d/*.sh; do
        [ ! -x "$script" ] || "$script"
    done
    ;;
esac

exec "$@"
