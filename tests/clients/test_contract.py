"""The contract clients against a broker of their own, with an echo in the place of inferq."""

import base64
import json
import pathlib
import shutil
import subprocess
import sys
import threading
import unittest

import pika

import wire

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NODE = ROOT / "compose" / "rabbitmq-node.sh"
STATE = ROOT / "target" / "test-clients"
CLIENTS = ["pika", "aio-pika"]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\x00\xff").decode()


class Echo(threading.Thread):
    """Answers what is routed to `echo` with the same body; what is routed to `silent` with nothing."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.channel.exchange_declare("inferq", "direct", durable=True)
        for package in ["echo", "silent"]:
            self.channel.queue_declare(package, durable=True)
            self.channel.queue_bind(package, "inferq", package)
        self.channel.basic_consume("echo", self.answer)

    def answer(self, channel, method, seen, body):
        # As text, for pika reads more kinds of header than it writes.
        properties = {key: value for key, value in vars(seen).items() if value is not None}
        headers = {"inferq-package": method.routing_key, "seen": json.dumps(properties, default=wire.tag)}
        properties = pika.BasicProperties(
            type="outcome",
            content_type=seen.content_type,
            correlation_id=seen.correlation_id or seen.message_id,
            message_id="reply-to-" + (seen.message_id or "nobody"),
            delivery_mode=2,
            headers=headers,
        )
        channel.basic_publish("", seen.reply_to, body, properties)
        channel.basic_ack(method.delivery_tag)

    def run(self):
        self.channel.start_consuming()

    def stop(self):
        self.connection.add_callback_threadsafe(self.channel.stop_consuming)
        self.join(10)
        self.connection.close()


class Contract(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(STATE, ignore_errors=True)
        cls.addClassCleanup(subprocess.run, [NODE, "stop", STATE], check=True)
        started = subprocess.run([NODE, "start", STATE], check=True, stdout=subprocess.PIPE, text=True)
        cls.url = started.stdout.strip()
        echo = Echo(cls.url)
        echo.start()
        cls.addClassCleanup(echo.stop)

    def converse(self, client, cases, *options):
        command = [sys.executable, HERE / "contract.py", "--client", client, "--url", self.url, *options]
        done = subprocess.run(
            command, input=json.dumps(cases), capture_output=True, text=True, timeout=60, check=False
        )
        replies = [json.loads(line) for line in done.stdout.splitlines()]
        return done.returncode, {reply["name"]: reply for reply in replies}, done.stderr

    def answered(self, client, cases, *options):
        code, replies, errors = self.converse(client, cases, *options)
        self.assertEqual(code, 0, errors)
        return replies

    def test_every_content_type_comes_back(self):
        kinds = {
            "json": {"object": {"amount": 1.5}, "properties": {"content_type": "application/json"}},
            "none": {"object": {"amount": 1.5}},
            "msgpack": {"object": {"amount": 1.5}, "properties": {"content_type": "application/msgpack"}},
            "png": {"body_base64": PNG, "properties": {"content_type": "image/png"}},
            "empty": {"body_base64": ""},
        }
        for client in CLIENTS:
            for direct in [False, True]:
                with self.subTest(client=client, direct=direct):
                    cases = [
                        {"name": name, "package": "echo", "direct_reply": direct, **case}
                        for name, case in kinds.items()
                    ]
                    replies = self.answered(client, cases)
                    self.assertEqual(replies.keys(), kinds.keys())
                    for name in ["json", "none", "msgpack"]:
                        self.assertEqual(replies[name]["object"], {"amount": 1.5})
                    self.assertEqual(replies["png"]["body_base64"], PNG)
                    self.assertEqual(replies["png"]["content_type"], "image/png")
                    self.assertEqual(replies["empty"]["body_base64"], "")
                    self.assertEqual(replies["json"]["type"], "outcome")

    def test_properties_and_headers_arrive_as_they_were_written(self):
        properties = {
            "message_id": "m-1",
            "priority": 7,
            "timestamp": 1700000000,
            "expiration": "30000",
            "headers": {
                "text": "ä",
                "bytes": {"$bytes": "AP8="},
                "int": 1 << 40,
                "flag": True,
                "nothing": None,
                "decimal": {"$decimal": "1.5"},
                "list": [1, "two"],
                "table": {"inner": {"$timestamp": 1700000000}},
            },
        }
        case = {"name": "all", "package": "echo", "object": {}, "properties": properties}
        for client in CLIENTS:
            with self.subTest(client=client):
                if client == "aio-pika":
                    properties["headers"]["float"] = 2.0  # pika reads floats, cutting them to integers
                reply = self.answered(client, [case])["all"]
                self.assertEqual(reply["correlation_id"], "m-1")
                self.assertEqual(reply["message_id"], "reply-to-m-1")
                self.assertEqual(reply["delivery_mode"], 2)
                self.assertEqual(reply["headers"]["inferq-package"], "echo")
                seen = json.loads(reply["headers"]["seen"])
                for key, value in properties.items():
                    self.assertEqual(seen[key], value, key)

    def test_objects_are_compressed_as_the_case_says(self):
        for client in CLIENTS:
            for encoding, magic in [("gzip", b"\x1f\x8b"), ("zstd", b"\x28\xb5\x2f\xfd")]:
                with self.subTest(client=client, encoding=encoding):
                    properties = {"content_encoding": encoding}
                    case = {"name": "small", "package": "echo", "object": {"a": 1}, "properties": properties}
                    reply = self.answered(client, [case])["small"]
                    self.assertTrue(base64.b64decode(reply["body_base64"]).startswith(magic))
                    self.assertEqual(json.loads(reply["headers"]["seen"])["content_encoding"], encoding)

    def test_a_case_without_reply_is_named_and_the_others_are_printed(self):
        cases = [
            {"name": "heard", "package": "echo", "object": {}},
            {"name": "unheard", "package": "silent", "object": {}},
        ]
        for client in CLIENTS:
            with self.subTest(client=client):
                code, replies, errors = self.converse(client, cases, "--seconds", "1.5")
                self.assertEqual(code, 1)
                self.assertEqual(list(replies), ["heard"])
                self.assertIn("no reply within 1.5 s: unheard", errors)

    def test_a_reply_queue_of_the_callers_own_is_sent_as_it_is_and_not_awaited(self):
        case = {"name": "theirs", "package": "silent", "object": {}, "properties": {"reply_to": "inferq.theirs"}}
        for client in CLIENTS:
            with self.subTest(client=client):
                self.assertEqual(self.answered(client, [case]), {})

    def test_one_case_can_be_picked(self):
        cases = [{"name": name, "package": "echo", "object": {}} for name in ["one", "two"]]
        for client in CLIENTS:
            with self.subTest(client=client):
                self.assertEqual(list(self.answered(client, cases, "--case", "two")), ["two"])

    def test_a_case_with_a_typo_is_refused(self):
        case = {"name": "odd", "package": "echo", "object": {}, "properties": {"corelation_id": "1"}}
        code, _, errors = self.converse("pika", [case])
        self.assertEqual(code, 2)
        self.assertIn("odd: unknown keys: corelation_id", errors)

    def test_the_producer_of_the_readme_gets_its_answer(self):
        request = STATE / "request.json"
        request.write_text('{"amount": 1}', encoding="utf-8")
        command = [sys.executable, HERE / "producer.py", self.url, "echo", request]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        self.assertEqual(done.stdout, 'outcome {"amount": 1}\n')


if __name__ == "__main__":
    unittest.main()
