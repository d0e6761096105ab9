#!/bin/sh
# The contract of the official envoy image: options mean envoy, and root steps down unless ENVOY_UID is 0.
set -e

case $1 in
-*) set -- envoy "$@" ;;
esac
if [ "$1" = envoy ] && [ -n "$loglevel" ]; then
    set -- "$@" --log-level "$loglevel"
fi
if [ "$(id -u)" = 0 ] && [ "${ENVOY_UID:-101}" != 0 ]; then
    exec setpriv --reuid="${ENVOY_UID:-101}" --regid="${ENVOY_GID:-101}" --clear-groups -- "$@"
fi
exec "$@"
