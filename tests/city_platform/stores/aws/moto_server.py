"""moto's server in a process of its own: `python -m … ` prints its URL as its first line and ends
when its standard input does."""

from __future__ import annotations

import sys

from moto.moto_server.threaded_moto_server import ThreadedMotoServer


def main() -> None:
    """Serve on a free port of loopback until standard input ends."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    sys.stdout.write(f"http://{host}:{port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
