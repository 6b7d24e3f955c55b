"""An ArcadeDB that speaks Bolt, in a process of its own: `python -m … FOLDER PORT HTTP_PORT`.

Prints `ready` when it can be asked and ends when its standard input does.
"""

from __future__ import annotations

import sys

import arcadedb_embedded

PASSWORD = "only-for-this-test"
DATABASE = "devices"


def main() -> None:
    """Serve until standard input ends."""
    folder, port, http_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    server = arcadedb_embedded.create_server(
        folder,
        root_password=PASSWORD,
        config={
            "bolt_port": port,
            "http_port": http_port,
            "server_plugins": "Bolt:com.arcadedb.bolt.BoltProtocolPlugin",
        },
    )
    server.start()
    server.create_database(DATABASE)
    sys.stdout.write("\nready\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
