"""Relay: connect the standard streams to a port of this machine. `slurm debug --attach` sends this text to a node.

The output is lines of base64, because Slurm holds back output that does not end with a line break.
"""

import binascii
import os
import socket
import sys
import threading


def main() -> None:
    """Copy data in both directions until the port closes the connection."""
    connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))

    def send() -> None:
        while data := os.read(0, 65536):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    threading.Thread(target=send, daemon=True).start()
    while data := connection.recv(32768):
        line = binascii.b2a_base64(data)
        while line:
            line = line[os.write(1, line) :]


if __name__ == "__main__":
    main()
