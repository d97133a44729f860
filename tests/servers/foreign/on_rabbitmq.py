"""RabbitMQ, by pika. A topic is an exchange.

An exchange keeps nothing, and to look into a queue is to take from it. So what was published is read from the broker's own trace of it
(the firehose), which has it from the time that this client was started.
"""

import threading
import time

import pika
from lacking import Lacking

KEY = "ce-partitionkey"
TRACE = "foreign.trace"


class Client:
    def __init__(self, url):
        self.parameters = pika.URLParameters(url.geturl())
        self.parameters.heartbeat = 0
        self.channel = None
        self.traced = []
        self.created = set()
        self.ready = threading.Event()
        threading.Thread(target=self.trace, daemon=True).start()
        self.ready.wait(20)

    def trace(self):
        while True:
            try:
                channel = pika.BlockingConnection(self.parameters).channel()
                channel.queue_declare(TRACE, durable=True)
                channel.queue_bind(TRACE, "amq.rabbitmq.trace", "publish.#")
                self.ready.set()
                for _, properties, body in channel.consume(TRACE, auto_ack=True):
                    self.traced.append((properties.headers, body))
            except (pika.exceptions.AMQPError, OSError):
                time.sleep(0.1)

    def open(self):
        if self.channel is None or self.channel.is_closed:
            self.channel = pika.BlockingConnection(self.parameters).channel()
            self.channel.confirm_delivery()
        return self.channel

    def produce(self, topic, key, headers, payload):
        if payload is None:
            raise Lacking("a message of AMQP is never without a body")
        names = [name for name, _ in headers]
        if len(names) != len(set(names)):
            raise Lacking("headers of AMQP are not repeated")
        headers = dict(headers)
        content_type = headers.pop("content-type", None)
        if key is not None:
            headers[KEY] = key
        headers = {name: written(value) for name, value in headers.items()}
        properties = pika.BasicProperties(
            headers=headers, content_type=content_type and content_type.decode("utf-8"), delivery_mode=pika.DeliveryMode.Persistent
        )
        before = len(self.traced)
        for again in (True, False):
            try:
                self.open().basic_publish(topic, "", payload, properties, mandatory=True)
                break
            except pika.exceptions.AMQPConnectionError:
                if not again:
                    raise
        if topic not in self.created:
            self.placed(topic, payload, before)

    def placed(self, topic, payload, before):
        """Waits until who reads the topic has passed the message on to its partition; if nobody does, not for long."""
        until = time.monotonic() + 2
        while time.monotonic() < until:
            for about, body in self.traced[before:]:
                if about["exchange_name"] == topic and about["routing_keys"][0].startswith("p.") and body == payload:
                    return time.sleep(0.05)
            time.sleep(0.01)

    def read(self, topic):
        self.settle()
        messages = []
        for about, body in list(self.traced):
            exchange = about["exchange_name"]
            # What came without a partition is published again with one.
            again = topic not in self.created and not about["routing_keys"][0].startswith("p.")
            if (exchange == topic and not again) or (exchange == "" and topic in about["routing_keys"]):
                messages.append(self.message(about["properties"], body))
        return messages

    def settle(self):
        """Waits until the trace has what was published before."""
        mark = f"mark-{time.monotonic_ns()}"
        # To nobody: the trace sees it all the same.
        self.open().basic_publish("", mark, b"", mandatory=False)
        until = time.monotonic() + 20
        while not any(mark in about["routing_keys"] for about, _ in self.traced[-1000:]):
            if time.monotonic() > until:
                raise TimeoutError("the trace does not show what is published")
            time.sleep(0.005)

    def message(self, properties, body):
        headers = [(name, raw(value)) for name, value in (properties.get("headers") or {}).items()]
        if properties.get("content_type"):
            headers.append(("content-type", raw(properties["content_type"])))
        key = next((value for name, value in headers if name == KEY), None)
        return key, headers, body

    def discard(self, topic):
        raise Lacking("queues do not tell what they dropped")

    def create(self, topic, partitions):
        """For tests of these clients alone: adapters declare their exchanges and queues."""
        self.created.add(topic)
        channel = self.open()
        channel.exchange_declare(topic, "topic", durable=True)
        channel.queue_declare(f"{topic}.all", durable=True)
        channel.queue_bind(f"{topic}.all", topic, "#")


def written(value):
    """Text as a string, as clients write it; anything else as bytes."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def raw(value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8")
