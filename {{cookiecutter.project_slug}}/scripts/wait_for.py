#!/usr/bin/env python3
"""Waits until each HOST:PORT accepts connections, at most two minutes."""

import socket
import sys
import time

deadline = time.monotonic() + 120
for address in sys.argv[1:]:
    host, _, port = address.rpartition(":")
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            break
        except OSError as error:
            if time.monotonic() > deadline:
                sys.exit(f"wait_for: nothing listens on {address}: {error}")
            time.sleep(0.1)
