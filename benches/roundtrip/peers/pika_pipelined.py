"""pika, SelectConnection: dynamic batches, pipelined publisher confirms, runs of acks.

One thread, one loop. What one turn of the loop has read is scored in batches and answered; nothing waits for a confirm.
A request is acknowledged once its reply and all replies before it are confirmed. Replies leave in the order of the
deliveries, so that publish number n answers `pending[n - oldest]`.

A lost connection or a closed channel ends the process with 1: what was in hand comes back to the queue.
"""

import collections
import dataclasses
import signal
import sys

import pika
from pika.spec import Basic

import scoring

#: RabbitMQ drops acks that wait for a quorum queue when their channel closes.
LINGER_S = 0.25
CONFIRMED, REFUSED, RETURNED = "confirmed", "refused", "returned"


class OneWritePerBatch(pika.SelectConnection):
    """pika writes each of a message's three frames with a `send` of its own. This one collects a batch's."""

    corked = None

    def _adapter_emit_data(self, data):
        if self.corked is None:
            super()._adapter_emit_data(data)
        else:
            self.corked.append(data)

    def uncork(self):
        frames, self.corked = self.corked, None
        super()._adapter_emit_data(b"".join(frames))


@dataclasses.dataclass(slots=True)
class Pending:
    tag: int  # of the request, whose reply has been published
    request: pika.BasicProperties
    returned: bool = False
    verdict: str = None


class Worker:
    def __init__(self, options):
        self.options, self.model = options, scoring.Model(options.model)
        self.arrived, self.pending, self.oldest = [], collections.deque(), 1
        self.cancelled = self.done = False
        url = pika.URLParameters(options.url)
        self.connection = OneWritePerBatch(url, self.on_open, self.on_close, self.on_close)
        self.loop = self.connection.ioloop

    def on_open(self, connection):
        self.channel = connection.channel(on_open_callback=self.on_channel)

    def on_channel(self, channel):
        channel.add_on_close_callback(self.on_close)
        channel.add_on_return_callback(self.on_return)
        channel.confirm_delivery(self.on_confirm)
        channel.basic_qos(prefetch_count=self.options.prefetch)
        self.consumer = channel.basic_consume(self.options.queue, self.on_request)

    def on_request(self, channel, method, properties, body):
        if not properties.reply_to:  # nobody to answer: to the dead letters
            return channel.basic_reject(method.delivery_tag, requeue=False)
        if not self.arrived:  # after all that this turn of the loop reads
            self.loop.call_later(0, self.answer)
        self.arrived.append((method.delivery_tag, properties, body))

    def answer(self):
        arrived, self.arrived = self.arrived, []
        for first in range(0, len(arrived), self.options.batch):
            self.connection.corked = []
            self.answer_batch(arrived[first : first + self.options.batch])
            self.connection.uncork()

    def answer_batch(self, batch):
        replies = self.model.replies([body for _tag, _request, body in batch])
        for (tag, request, _), (kind, reply) in zip(batch, replies):
            properties = pika.BasicProperties(
                content_type="application/json",
                delivery_mode=2,
                correlation_id=request.correlation_id,
                message_id=request.message_id,
                type=kind,
            )
            self.channel.basic_publish("", request.reply_to, reply, properties, mandatory=True)
            self.pending.append(Pending(tag, request))

    def on_return(self, _channel, method, properties, _body):
        """A return does not say which publish it is of, but comes before the confirm of that publish."""
        for each in self.pending:
            if (each.request.reply_to, each.request.message_id) == (method.routing_key, properties.message_id):
                each.returned = True

    def on_confirm(self, frame):
        verdict = CONFIRMED if isinstance(frame.method, Basic.Ack) else REFUSED
        last = frame.method.delivery_tag - self.oldest
        for each in [self.pending[index] for index in range(0 if frame.method.multiple else last, last + 1)]:
            each.verdict = each.verdict or (RETURNED if each.returned else verdict)
        self.settle()

    def settle(self):
        confirmed = None
        while self.pending and self.pending[0].verdict:
            each = self.pending.popleft()
            self.oldest += 1
            if each.verdict is CONFIRMED:
                confirmed = each.tag
            else:  # refused by the reply queue: once more; returned, for there is no such queue: to the dead letters
                self.channel.basic_nack(each.tag, requeue=each.verdict is REFUSED)
        if confirmed:
            self.channel.basic_ack(confirmed, multiple=True)
        self.close_if_done()

    def stop(self):
        self.channel.basic_cancel(self.consumer, self.on_cancelled)

    def on_cancelled(self, _frame):
        self.cancelled = True
        self.answer()
        self.close_if_done()

    def close_if_done(self):
        if self.cancelled and not self.pending and not self.done:
            self.done = True
            self.loop.call_later(LINGER_S, self.connection.close)

    def on_close(self, _which, reason):
        self.loop.stop()
        if not self.done:
            sys.exit(f"closed: {reason}")


def main():
    parser = scoring.arguments(__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--prefetch", type=int, default=2000)
    worker = Worker(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: worker.loop.add_callback_threadsafe(worker.stop))
    worker.loop.start()


main()
