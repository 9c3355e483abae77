"""The conversation through aio-pika, the asyncio client."""

import asyncio
import datetime
import functools

import aio_pika

import wire

DIRECT = "amq.rabbitmq.reply-to"


def converse(url, cases, seconds, hear):
    """Sends every case, calls `hear(case, properties, body)` for every reply until none is missing."""
    asyncio.run(conversation(url, cases, seconds, hear))


async def conversation(url, cases, seconds, hear):
    missing = {case.name for case in cases if case.awaits_reply}
    done = asyncio.Event()

    async def receive(case, message):
        missing.discard(case.name)
        hear(case, {key: getattr(message, key) for key in wire.REPLY_PROPERTIES}, message.body)
        if not missing:
            done.set()

    try:
        async with asyncio.timeout(seconds):
            async with await aio_pika.connect(url) as connection:
                for case in cases:
                    await send(connection, case, receive)
                if missing:
                    await done.wait()
    except TimeoutError:
        return


def writable(value):
    """AMQP byte arrays as this client's encoder wants them."""
    if isinstance(value, bytes):
        return bytearray(value)
    if isinstance(value, list):
        return [writable(each) for each in value]
    if isinstance(value, dict):
        return {key: writable(each) for key, each in value.items()}
    return value


async def send(connection, case, receive):
    # A channel of its own: direct reply-to allows one consumer a channel, and a fault closes a channel.
    channel = await connection.channel()
    properties = {**case.properties, "headers": writable(case.properties.get("headers"))}
    if "expiration" in properties:
        # aio-pika takes a duration and writes AMQP's string of milliseconds itself.
        properties["expiration"] = datetime.timedelta(milliseconds=int(properties["expiration"]))
    if case.awaits_reply:
        if case.direct_reply:
            queue = await channel.get_queue(DIRECT, ensure=False)
        else:
            queue = await channel.declare_queue(exclusive=True)
        properties["reply_to"] = queue.name
        await queue.consume(functools.partial(receive, case), no_ack=True)
    exchange = channel.default_exchange
    if case.exchange:
        exchange = await channel.get_exchange(case.exchange, ensure=False)
    message = aio_pika.Message(case.body, **properties)
    await exchange.publish(message, case.routing_key, mandatory=False)
