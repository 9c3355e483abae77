"""FastStream, as its documentation shows it: a handler for each message, which returns what goes to `reply_to`.

Beyond the documentation's first page are only what the guarantees need: a persistent reply with its properties, an ack
policy that gives the message back when the reply is not confirmed (the default discards it), a return that raises (by
default it is a success), an answer to requests that do not validate, and the queue taken as it is.
"""

import uvloop
from fast_depends.exceptions import ValidationError
from faststream import AckPolicy, ExceptionMiddleware, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue, RabbitResponse
from pydantic import BaseModel

import scoring


class Payment(BaseModel):
    amount: float
    balance: float
    limit: float
    card_age: float
    account_age: float
    today: float
    mean: float
    failed: float


def reply(kind, body, request):
    return RabbitResponse(
        body,
        persist=True,
        content_type="application/json",
        message_type=kind,
        message_id=request.message_id,
        correlation_id=request.correlation_id,
    )


rejecting = ExceptionMiddleware()


@rejecting.add_handler(ValidationError, publish=True)
@rejecting.add_handler(ValueError, publish=True)
def reject(error: Exception, request: RabbitMessage):
    return reply("rejection", scoring.rejection(error), request)


def application(options):
    model = scoring.Model(options.model)
    channel = Channel(prefetch_count=options.prefetch, on_return_raises=True)
    broker = RabbitBroker(options.url, default_channel=channel, middlewares=[rejecting], logger=None)

    @broker.subscriber(RabbitQueue(options.queue, declare=False), ack_policy=AckPolicy.NACK_ON_ERROR)
    async def score(payment: Payment, request: RabbitMessage):
        values = payment.model_dump()
        (first,) = model.scores([scoring.row(values)])
        return reply("outcome", scoring.outcome(first), request)

    return FastStream(broker, logger=None)


def main():
    parser = scoring.arguments(__doc__)
    parser.add_argument("--prefetch", type=int, default=100)
    uvloop.run(application(parser.parse_args()).run())


main()
