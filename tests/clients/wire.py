"""Cases in and replies out, as JSON, for clients that know nothing of inferq.

A case is one request:

    name           unique; every reply carries it
    package        the routing key, unless `routing_key` is given; `exchange` is `inferq` unless given
    body_base64    the body, byte for byte; or
    object         encoded as `properties.content_type` says (JSON or MessagePack) and compressed as
                   `properties.content_encoding` says (gzip or zstd), by the client's own libraries
    properties     AMQP properties by name. A `reply_to` here is sent as it is and nobody listens there:
                   the case awaits no reply
    direct_reply   true: through amq.rabbitmq.reply-to, else through an exclusive queue of the case's own

JSON has no word for some AMQP values: {"$bytes": base64}, {"$timestamp": seconds}, {"$decimal": "1.5"}.
"""

import base64
import dataclasses
import datetime
import decimal
import gzip
import json

import msgpack
import zstandard

PROPERTIES = frozenset(
    "content_type content_encoding headers delivery_mode priority correlation_id reply_to "
    "expiration message_id timestamp type user_id app_id".split()
)
REPLY_PROPERTIES = [
    "type",
    "content_type",
    "content_encoding",
    "correlation_id",
    "message_id",
    "delivery_mode",
    "headers",
]


class BadCase(Exception):
    """A case that cannot be sent as it is written."""


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    exchange: str
    routing_key: str
    body: bytes
    properties: dict
    direct_reply: bool

    @property
    def awaits_reply(self):
        return "reply_to" not in self.properties


def untag(value):
    """AMQP's values out of their JSON form."""
    if isinstance(value, list):
        return [untag(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, held),) = value.items()
        if tag == "$bytes":
            return base64.b64decode(held, validate=True)
        if tag == "$timestamp":
            return datetime.datetime.fromtimestamp(held, datetime.timezone.utc)
        if tag == "$decimal":
            return decimal.Decimal(held)
    return {key: untag(each) for key, each in value.items()}


def tag(value):
    """The reverse, for `json.dumps`: bytes that are text in UTF-8 become text."""
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime.datetime):
        return {"$timestamp": value.timestamp()}
    if isinstance(value, decimal.Decimal):
        return {"$decimal": str(value)}
    raise TypeError(f"no JSON form for {type(value).__name__}")


def is_msgpack(content_type):
    return "msgpack" in (content_type or "")


def encoded(thing, properties):
    if is_msgpack(properties.get("content_type")):
        body = msgpack.packb(untag(thing), use_bin_type=True)
    else:
        body = json.dumps(thing).encode()
    encoding = properties.get("content_encoding")
    if encoding == "gzip":
        return gzip.compress(body)
    if encoding == "zstd":
        return zstandard.compress(body)
    return body


def decoded(content_type, body):
    """What a consumer would read out of a reply; `None` where the body is no such thing."""
    try:
        if is_msgpack(content_type):
            return msgpack.unpackb(body)
        return json.loads(body)
    except (ValueError, msgpack.UnpackException):
        return None


def read_cases(text):
    cases = [read_case(each) for each in json.loads(text)]
    names = [case.name for case in cases]
    if len(set(names)) != len(names):
        raise BadCase("two cases have the same name")
    return cases


def read_case(raw):
    known = {"name", "package", "exchange", "routing_key", "body_base64", "object", "properties", "direct_reply"}
    name = raw.get("name", "(no name)")
    properties = raw.get("properties", {})
    unknown = (raw.keys() - known) | (properties.keys() - PROPERTIES)
    if unknown:
        raise BadCase(f"{name}: unknown keys: {', '.join(sorted(unknown))}")
    if ("object" in raw) == ("body_base64" in raw):
        raise BadCase(f"{name}: exactly one of object and body_base64 is needed")
    if "object" in raw:
        body = encoded(raw["object"], properties)
    else:
        body = base64.b64decode(raw["body_base64"], validate=True)
    return Case(
        name=raw["name"],
        exchange=raw.get("exchange", "inferq"),
        routing_key=raw["routing_key"] if "routing_key" in raw else raw["package"],
        body=body,
        properties={key: untag(value) for key, value in properties.items()},
        direct_reply=raw.get("direct_reply", False),
    )


def reply_line(case, properties, body):
    """One reply as a line of JSON: its properties, its body, and the object that a consumer reads in it."""
    line = {"name": case.name}
    line.update({key: properties.get(key) for key in REPLY_PROPERTIES})
    line["body_base64"] = base64.b64encode(body).decode()
    line["object"] = decoded(properties.get("content_type"), body)
    return json.dumps(line, default=tag)
