"""Waits for a condition, with a bound, where a shell script would sleep and hope.

probe.py ports N                              prints N free loopback ports
probe.py amqp URL --seconds S [--pid P]       until a broker offers AMQP at URL
probe.py http URL --seconds S [--pid P]       until a GET of URL answers 200; prints the body

Exits 1 with the reason when the time is up, or at once when process P is gone.
"""

import argparse
import contextlib
import os
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

PAUSE_S = 0.05
ATTEMPT_S = 2.0


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def offers_amqp(url):
    """`None` when the peer at `url` begins the AMQP 0-9-1 handshake, else why not."""
    parts = urllib.parse.urlsplit(url)
    tls = parts.scheme == "amqps"
    address = (parts.hostname or "localhost", parts.port or (5671 if tls else 5672))
    try:
        with socket.create_connection(address, ATTEMPT_S) as peer:
            if tls:
                return None
            peer.settimeout(ATTEMPT_S)
            peer.sendall(b"AMQP\x00\x00\x09\x01")
            # A frame of type 1 (method) on channel 0: Connection.Start.
            answer = peer.recv(3)
            return None if answer == b"\x01\x00\x00" else "the peer does not speak AMQP 0-9-1"
    except OSError as fault:
        return f"{address[0]}:{address[1]}: {fault}"


def answers_http(url):
    """`None` and the body when `url` answers 200, else why not."""
    try:
        with urllib.request.urlopen(url, timeout=ATTEMPT_S) as answer:
            return None, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as fault:
        said = " ".join(fault.read().decode(errors="replace").split())
        return f"HTTP {fault.code}: {said[:400]}", ""
    except OSError as fault:
        return f"{url}: {fault}", ""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait(attempt, seconds, pid):
    """Runs `attempt` until it returns `(None, text)`; returns the text."""
    until = time.monotonic() + seconds
    while True:
        reason, text = attempt()
        if reason is None:
            return text
        if pid is not None and not alive(pid):
            sys.exit(f"the process {pid} ended before it was ready ({reason})")
        if time.monotonic() >= until:
            sys.exit(f"not ready within {seconds:g} s ({reason})")
        time.sleep(PAUSE_S)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["ports", "amqp", "http"])
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--pid", type=int)
    args = parser.parse_args()
    os.environ.update(no_proxy="*")  # what is probed stands on this machine
    if args.what == "ports":
        print(*free_ports(int(args.target)))
    elif args.what == "amqp":
        wait(lambda: (offers_amqp(args.target), ""), args.seconds, args.pid)
    else:
        print(wait(lambda: answers_http(args.target), args.seconds, args.pid).strip())


if __name__ == "__main__":
    main()
