"""The conversation through pika, the blocking client. It has no words for a float in a header."""

import time

import pika

import wire

DIRECT = "amq.rabbitmq.reply-to"


def converse(url, cases, seconds, hear):
    """Sends every case, calls `hear(case, properties, body)` for every reply until none is missing."""
    until = time.monotonic() + seconds
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.blocked_connection_timeout = seconds
    connection = pika.BlockingConnection(parameters)
    missing = {case.name for case in cases if case.awaits_reply}
    try:
        for case in cases:
            send(connection, case, missing, hear)
        while missing and time.monotonic() < until:
            connection.process_data_events(time_limit=until - time.monotonic())
    finally:
        if connection.is_open:
            connection.close()


def send(connection, case, missing, hear):
    # A channel of its own: direct reply-to allows one consumer a channel, and a fault closes a channel.
    channel = connection.channel()
    channel.confirm_delivery()
    properties = dict(case.properties)
    if "timestamp" in properties:
        properties["timestamp"] = int(properties["timestamp"])
    if case.awaits_reply:
        queue = DIRECT if case.direct_reply else channel.queue_declare("", exclusive=True).method.queue
        properties["reply_to"] = queue

        def receive(_channel, _method, found, body):
            missing.discard(case.name)
            hear(case, {key: getattr(found, key) for key in wire.REPLY_PROPERTIES}, body)

        channel.basic_consume(queue, receive, auto_ack=True)
    channel.basic_publish(case.exchange, case.routing_key, case.body, pika.BasicProperties(**properties))
