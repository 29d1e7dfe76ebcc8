"""What a stack starts in place of `python -m tfsd.model_server`: it has one forked (`preloaded_model_server`), hands
SIGTERM on and ends with its exit code.

    python -S forked_model_server.py SOCKET FLAG...

A stack has one of these for each model server: it imports next to nothing.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import sys

STOP = b"stop"
SEPARATOR = "\0"  # of flags, in a message
STDOUT, STDERR = 1, 2


def main() -> int:
    """Have a model server forked; returns its exit code."""
    path, *flags = sys.argv[1:]
    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    server.connect(path)
    _signal.signal(_signal.SIGTERM, lambda number, frame: server.send(STOP))
    descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (STDOUT, STDERR))
    passed = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)
    server.sendmsg([SEPARATOR.join(flags).encode()], [passed])
    server.recv(16)  # its process id
    return int(server.recv(16) or b"1") & 0xFF


if __name__ == "__main__":
    sys.exit(main())
