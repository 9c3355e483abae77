"""Speaks inferq's wire contract as a producer would, with a client that nobody here wrote.

Reads a JSON list of cases on standard input (see wire.py), publishes each, and prints one line of JSON per
reply as it arrives: name, properties, body_base64 and object, the body as the client's libraries read it.
Exits 1 naming the cases without reply, 2 for cases that cannot be sent.
"""

import argparse
import sys

import wire


def conversation(client):
    if client == "pika":
        import with_pika

        return with_pika.converse
    import with_aio_pika

    return with_aio_pika.converse


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--client", choices=["pika", "aio-pika"], required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--case", action="append", metavar="NAME", help="only this case (repeatable)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to wait for all replies")
    args = parser.parse_args()
    try:
        cases = wire.read_cases(sys.stdin.read())
    except (ValueError, KeyError, wire.BadCase) as fault:
        print(f"bad cases: {fault}", file=sys.stderr)
        return 2
    if args.case:
        cases = [case for case in cases if case.name in args.case]

    answered = set()

    def hear(case, properties, body):
        answered.add(case.name)
        print(wire.reply_line(case, properties, body), flush=True)

    conversation(args.client)(args.url, cases, args.seconds, hear)
    silent = [case.name for case in cases if case.awaits_reply and case.name not in answered]
    if silent:
        print(f"no reply within {args.seconds:g} s: {', '.join(silent)}", file=sys.stderr)
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
