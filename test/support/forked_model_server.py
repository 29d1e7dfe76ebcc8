"""What a stack starts in place of `python -m tfsd.model_server`: it has one forked (`preloaded_model_server`), hands
SIGTERM on and ends with its exit code.

    python -S forked_model_server.py SOCKET FLAG...

A stack has one of these for each model server: it imports next to nothing.
"""

import signal
import socket
import sys

STOP = b"stop"
SEPARATOR = "\0"  # of flags, in a message


def main() -> int:
    """Have a model server forked; returns its exit code."""
    path, *flags = sys.argv[1:]
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.connect(path)
    signal.signal(signal.SIGTERM, lambda number, frame: server.send(STOP))
    socket.send_fds(server, [SEPARATOR.join(flags).encode()], [1, 2])
    server.recv(16)  # its process id
    return int(server.recv(16) or b"1") & 0xFF


if __name__ == "__main__":
    sys.exit(main())
