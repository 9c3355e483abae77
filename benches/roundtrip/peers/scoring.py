"""What all peers share: a JSON request in, a row of float32 features, a batch through the model, a body out."""

import argparse
import operator
import struct

import numpy
import onnxruntime
import orjson

FEATURES = ["amount", "balance", "limit", "card_age", "account_age", "today", "mean", "failed"]
WIDTH = len(FEATURES)
pick = operator.itemgetter(*FEATURES)
pack = struct.Struct(f"={WIDTH}f").pack

#: What `row` raises for a request that is no JSON, no object, or has a feature missing, of the wrong type or too large.
BAD_REQUEST = (ValueError, KeyError, TypeError, OverflowError, struct.error)


def arguments(about):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--url", required=True, help="amqp://user:password@host:port/vhost")
    parser.add_argument("--queue", required=True, help="exists; it is never declared")
    parser.add_argument("--model", required=True, help="model.onnx: features [n, 8] -> y [n, 8]")
    return parser


def row(request):
    """The features of a request, 32 bytes."""
    return pack(*pick(request))


def decode(body):
    return row(orjson.loads(body))


def outcome(score):
    return orjson.dumps({"score": score})


def rejection(error):
    """Problem details, as RFC 9457 has them."""
    detail = f"{type(error).__name__}: {error}"
    return orjson.dumps({"type": "about:blank", "title": "invalid request", "status": 422, "detail": detail})


class Model:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def scores(self, rows):
        """The first output of each row, all in one run."""
        features = numpy.frombuffer(b"".join(rows), numpy.float32).reshape(-1, WIDTH)
        (y,) = self.session.run(["y"], {"features": features})
        return y[:, 0].tolist()

    def replies(self, requests, to_row=decode):
        """Type and body of the reply to each request, the good ones all in one run."""
        rows, replies = [], []
        for request in requests:
            try:
                rows.append(to_row(request))
                replies.append(None)
            except BAD_REQUEST as error:
                replies.append(("rejection", rejection(error)))
        scores = iter(self.scores(rows) if rows else ())
        return [reply or ("outcome", outcome(next(scores))) for reply in replies]
