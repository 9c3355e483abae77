"""mosec: an HTTP server that batches. No broker: what a model's batching costs in the field, alone."""

import os

from mosec import Server, ValidationError, Worker
from scoring import BAD_REQUEST, Model, decode, outcome


class Scoring(Worker):
    def __init__(self):
        super().__init__()
        self.model = Model(os.environ["MODEL"])

    def deserialize(self, data):
        try:
            return decode(data)
        except BAD_REQUEST as error:
            raise ValidationError(str(error)) from error

    def serialize(self, data):
        return outcome(data)

    def forward(self, data):
        return self.model.scores(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Scoring, num=1, max_batch_size=64, max_wait_time=2)
    server.run()
