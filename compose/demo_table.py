"""Prints what came back to the demo as one table: `demo_table.py FOLDER`.

FOLDER/requests.tsv   package <tab> file, one line a request, as published
FOLDER/replies/*      one line of JSON a reply, as `inferq send --json` prints them, one file a package

A request whose file begins with `bad-` should be rejected and every other one not: exits 1 otherwise.
"""

import json
import pathlib
import shutil
import sys

HEADINGS = ["package", "request", "outcome, or the code and reason of the rejection", "latency"]
LEAST_WIDTH = 100


def brief(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + " ".join(f"{key} {brief(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(brief(each) for each in value) + "]"
    return str(value)


def outcome(body):
    if not isinstance(body, dict):
        return brief(body)
    return "  ".join(f"{field} {brief(value)}" for field, value in body.items())


def rejection(body):
    reason = body.get("detail") or body.get("title") or ""
    errors = "; ".join(
        f"{each.get('pointer') or '(whole)'}: {each.get('detail')}" for each in body.get("errors") or []
    )
    return f"✗ {body.get('code')}: {reason}" + (f" ({errors})" if errors else "")


def row(package, file, reply):
    """The cells of one request, and whether it went as its name says."""
    name = pathlib.PurePath(file).name
    bad = name.startswith("bad-")
    if reply is None:
        return [package, name, "no reply", ""], False
    latency = f"{reply['latency_ms']:.1f} ms"
    if reply["status"] == "outcome":
        return [package, name, outcome(reply["body"]), latency], not bad
    return [package, name, rejection(reply["body"]), latency], bad and reply["status"] == "rejection"


def read_replies(folder):
    replies = {}
    for path in sorted(folder.glob("*.ndjson")):
        for line in path.read_text(encoding="utf-8").splitlines():
            reply = json.loads(line)
            replies[path.stem, pathlib.PurePath(reply["file"]).name] = reply
    return replies


def fit(text, width):
    return text if len(text) <= width else text[: width - 1] + "…"


def show(rows):
    """Every column as wide as it needs to be, but the third, which takes what is left."""
    widths = [max(len(cells[i]) for cells in [HEADINGS, *rows]) for i in range(4)]
    screen = max(shutil.get_terminal_size((160, 24)).columns, LEAST_WIDTH)
    widths[2] = min(widths[2], screen - widths[0] - widths[1] - widths[3] - 6)
    for cells in [HEADINGS, ["─" * width for width in widths], *rows]:
        left = [fit(text, width).ljust(width) for text, width in zip(cells[:3], widths[:3])]
        print("  ".join([*left, cells[3].rjust(widths[3])]))


def main():
    folder = pathlib.Path(sys.argv[1])
    replies = read_replies(folder / "replies")
    requests = [line.split("\t") for line in (folder / "requests.tsv").read_text(encoding="utf-8").splitlines()]
    judged = [row(package, file, replies.get((package, pathlib.PurePath(file).name))) for package, file in requests]
    rows = [cells for cells, _ in judged]
    show(rows)
    kinds = [reply["status"] for reply in replies.values()]
    print(
        f"\n{len(requests)} requests: {kinds.count('outcome')} outcomes, "
        f"{kinds.count('rejection')} rejections, {len(requests) - len(replies)} without reply"
    )
    odd = [f"{cells[0]}/{cells[1]}" for cells, as_named in judged if not as_named]
    if odd:
        print("not what the file's name says: " + ", ".join(odd))
    return 1 if odd or not requests else 0


if __name__ == "__main__":
    sys.exit(main())
