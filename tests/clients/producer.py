"""The producer of the README: `producer.py AMQP_URL PACKAGE FILE.json`, with pika and nothing else."""

import sys

import pika

url, package, file = sys.argv[1:]
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()


def answered(channel, method, properties, body):
    print(properties.type, body.decode())
    channel.stop_consuming()


channel.basic_consume("amq.rabbitmq.reply-to", answered, auto_ack=True)
request = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", content_type="application/json", expiration="5000")
channel.basic_publish("inferq", package, open(file, "rb").read(), request)
channel.start_consuming()
