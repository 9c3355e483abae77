"""aio-pika, written by hand: an asyncio queue, dynamic batches, confirms gathered, then one ack a batch.

`score` forms batches of what has come, up to --batch (a short one waits --wait-ms for more), runs them and publishes
their replies. It does not wait for the confirms: `settle` does, and acknowledges batch after batch. Deliveries reach
`score` in the order of their tags, so that an ack of a batch's last with `multiple` covers nothing unconfirmed.

A lost connection ends the process with 1: what was in hand comes back to the queue.
"""

import asyncio
import signal
import sys

import aio_pika
import uvloop
from aio_pika.exceptions import DeliveryError, PublishError

import scoring

#: RabbitMQ drops acks that wait for a quorum queue when their channel closes.
LINGER_S = 0.25


class Worker:
    def __init__(self, options):
        self.options = options
        self.model = scoring.Model(options.model)
        self.arrived = asyncio.Queue()
        self.answered = asyncio.Queue()
        self.ended = False

    async def run(self):
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        connect = aio_pika.connect
        async with await connect(self.options.url) as consuming, await connect(self.options.url) as publishing:
            replies = await publishing.channel(publisher_confirms=True, on_return_raises=True)
            self.exchange = replies.default_exchange
            requests = await consuming.channel()
            await requests.set_qos(prefetch_count=self.options.prefetch)
            queue = await requests.get_queue(self.options.queue, ensure=False)
            tag = await queue.consume(self.on_request)

            work = asyncio.gather(self.score(), self.settle())
            stopping = asyncio.create_task(stop.wait())
            events = [work, stopping, replies.closed(), requests.closed()]
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                sys.exit(f"the worker failed or a channel closed: {work}")
            await queue.cancel(tag)
            self.arrived.put_nowait(None)
            await work
            await asyncio.sleep(LINGER_S)

    async def on_request(self, request):
        if request.reply_to:
            self.arrived.put_nowait(request)
        else:
            await request.reject(requeue=False)  # nobody to answer: to the dead letters

    async def form(self):
        """The next batch; an empty one at the end."""
        batch, waited = [], False
        while not self.ended and len(batch) < self.options.batch:
            if batch and self.arrived.empty():
                if waited:
                    break
                waited = True
                await asyncio.sleep(self.options.wait_ms / 1000)
                continue
            request = await self.arrived.get()
            if request:
                batch.append(request)
            else:
                self.ended = True
        return batch

    async def score(self):
        while batch := await self.form():
            replies = self.model.replies([request.body for request in batch])
            publishes = [self.publish(request, *reply) for request, reply in zip(batch, replies)]
            self.answered.put_nowait((batch, asyncio.gather(*publishes, return_exceptions=True)))
        self.answered.put_nowait(None)

    def publish(self, request, kind, body):
        message = aio_pika.Message(
            body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            correlation_id=request.correlation_id,
            message_id=request.message_id,
            type=kind,
        )
        return self.exchange.publish(message, request.reply_to)

    async def settle(self):
        while entry := await self.answered.get():
            batch, publishes = entry
            results = await publishes
            if not any(isinstance(result, BaseException) for result in results):
                await batch[-1].ack(multiple=True)
                continue
            for request, result in zip(batch, results):
                if isinstance(result, PublishError):  # returned, there is no such queue: to the dead letters
                    await request.reject(requeue=False)
                elif isinstance(result, DeliveryError):  # refused by the reply queue: once more
                    await request.nack(requeue=True)
                elif isinstance(result, BaseException):
                    raise result
                else:
                    await request.ack()


def main():
    parser = scoring.arguments(__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--wait-ms", type=float, default=2)
    parser.add_argument("--prefetch", type=int, default=1000)
    uvloop.run(Worker(parser.parse_args()).run())


main()
