"""The embedded model server as forks of one process that has TensorFlow loaded: a start takes half a second.

    server SOCKET       load TensorFlow, say `ready` on stdout, then fork a model server for each client of SOCKET
    run SOCKET FLAG...  what a stack starts in place of `python -m tfsd.model_server`: it has a model server forked,
                        hands SIGTERM on and ends with its exit code

A model server dies with the process that had it forked, however that one ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading

STOP = b"stop"


def serve(path: str) -> None:
    """Fork a model server for each client, until stdin ends."""
    from tfsd.model_server import server as _tensorflow_is_loaded  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            become_model_server(client)
        client.close()


def become_model_server(client: socket.socket) -> None:
    """Be a model server with the client's flags, stdout and stderr. Does not return."""
    from tfsd.model_server import __main__ as program

    code = program.FAILED
    try:
        message, descriptors, _, _ = socket.recv_fds(client, 65536, 2)
        for number, descriptor in enumerate(descriptors, 1):
            os.dup2(descriptor, number)
        threading.Thread(target=_obey, args=(client,), daemon=True).start()
        code = program.main(json.loads(message))
    finally:
        client.send(b"%d" % code)
        os._exit(code)


def _obey(client: socket.socket) -> None:
    """Stop when the client says so, die when it is gone."""
    while client.recv(len(STOP)):
        os.kill(os.getpid(), signal.SIGTERM)
    os._exit(1)


def run(path: str, flags: list[str]) -> int:
    """Have a model server forked; returns its exit code."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    signal.signal(signal.SIGTERM, lambda number, frame: server.send(STOP))
    socket.send_fds(server, [json.dumps(flags).encode()], [1, 2])
    return int(server.recv(16) or b"1")


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(sys.argv[2])
    sys.exit(run(sys.argv[2], sys.argv[3:]))
