#!/bin/sh
# The contract of the official valkey image: step down from root, private files, no protected mode.
set -e

case $1 in
-* | *.conf) set -- valkey-server "$@" ;;
esac

if [ "$1" = valkey-server ]; then
    if [ "$(id -u)" = 0 ]; then
        find . ! -user valkey -exec chown valkey {} +
        exec setpriv --reuid=valkey --regid=valkey --clear-groups -- "$0" "$@"
    fi
    if [ ! -w . ]; then
        echo "error: directory is not writable by current user ($(id -u))" >&2
        exit 1
    fi
    # The official binary is compiled with protected mode off; what the project says wins here too.
    if ! grep -qs -e '^protected-mode' -- "$2" && ! echo "$*" | grep -q -e --protected-mode; then
        set -- "$@" --protected-mode no
    fi
fi

[ "$(umask)" != 0022 ] || umask 0077
# shellcheck disable=SC2086
exec "$@" $VALKEY_EXTRA_FLAGS
