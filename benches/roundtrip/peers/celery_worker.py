"""Celery with celery-batches: 64 requests or a pause make a batch; the task sends its replies and they are confirmed.

The producer writes Celery's message protocol 2 (README.md says how). kombu waits for the confirm of each publish before
the next, and publishes again after a lost connection. celery-batches acknowledges a batch when its task ends, however
it ends: README.md says which guarantees that costs.
"""

import os

from celery import Celery
from celery_batches import Batches
from kombu import Queue

import scoring


def application(options):
    app = Celery("peer", broker=options.url)
    app.conf.update(
        # Celery never declares the queue, but must know its kind: quorum queues refuse the global prefetch it would set.
        task_queues=[Queue(options.queue, no_declare=True, queue_arguments={"x-queue-type": "quorum"})],
        broker_transport_options={"confirm_publish": True},
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # Celery multiplies it by the processes.
        worker_prefetch_multiplier=options.prefetch // options.concurrency,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
    )
    model = {}

    @app.task(base=Batches, name="score", flush_every=64, flush_interval=options.flush_interval)
    def score(requests):
        if not model:  # once a process, after the fork
            model["score"] = scoring.Model(options.model)
        calls = [(request.args, request.kwargs) for request in requests]
        replies = model["score"].replies(calls, lambda call: scoring.row(*call[0], **call[1]))
        with app.producer_pool.acquire(block=True) as producer:
            for request, (kind, reply) in zip(requests, replies):
                producer.publish(
                    reply,
                    routing_key=request.reply_to,
                    content_type="application/json",
                    content_encoding="utf-8",
                    delivery_mode=2,
                    correlation_id=request.correlation_id,
                    message_id=request.id,
                    type=kind,
                    retry=True,
                )

    return app


def main():
    parser = scoring.arguments(__doc__)
    parser.add_argument("--pool", default="prefork", help="prefork is Celery's default")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--concurrency", type=int, default=cores, help="processes; one a core is Celery's default")
    parser.add_argument("--prefetch", type=int, default=1000)
    parser.add_argument("--flush-interval", type=float, default=0.1)
    options = parser.parse_args()
    worker = ["--quiet", "worker", "--pool", options.pool, f"--concurrency={options.concurrency}", "--loglevel=ERROR"]
    worker += ["--queues", options.queue, "--without-gossip", "--without-mingle", "--without-heartbeat"]
    application(options).worker_main(worker)


main()
