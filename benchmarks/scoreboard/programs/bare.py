"""The least that a Python process can do: one question by mDNS, one answer, one mutual TLS handshake.

Run: ``python benchmarks/scoreboard/programs/bare.py FOLDER IP PORT``; the certificates are those of
`tls_peer`. It imports nothing of ours, so that nothing but this is in its time.
"""

import os
import socket
import ssl
import sys
import time

_GROUP = ("224.0.0.251", 5353)
_QUESTION = os.urandom(2) + b"\0\0\0\1\0\0\0\0\0\0\x08_peernet\x04_tcp\x05local\0\0\x0c\x80\1"


def _say(event: str) -> None:
    print(f'{{"event": "{event}", "peer": "", "at": {time.monotonic()}}}', flush=True)


def _main(folder: str, ip: str, port: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        _say("asked")
        sock.sendto(_QUESTION, _GROUP)
        sock.recvfrom(9000)
        _say("answered")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.load_cert_chain(f"{folder}/own.pem")
    context.load_verify_locations(f"{folder}/trusted.pem")
    _say("dialed")
    with context.wrap_socket(socket.create_connection((ip, int(port)), 5)) as link:
        link.recv(1)
        _say("linked")
        sys.stdin.read()


if __name__ == "__main__":
    _main(*sys.argv[1:])
