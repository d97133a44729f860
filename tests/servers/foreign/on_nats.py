"""NATS JetStream, by its protocol: the usual client drops headers that are not ASCII, and those that are repeated.

A topic is a subject, and its partitions are the subjects one level below it.
"""

import base64
import json
import socket
import time
import uuid

from lacking import Lacking

KEY = "ce-partitionkey"


class Client:
    def __init__(self, url):
        self.url = url
        self.lines = None
        # Of its own, or it is told what others have asked.
        self.inbox = f"answers.{uuid.uuid4().hex}"

    def produce(self, topic, key, headers, payload):
        if payload is None:
            raise Lacking("a message of NATS is never without a payload")
        if key is not None:
            headers = headers + [(KEY, key)]
        lines = []
        for name, value in headers:
            if b"\r" in value or b"\n" in value:
                raise Lacking("a header of NATS is one line")
            lines.append(name.encode() + b": " + value + b"\r\n")
        stored = self.answer(self.request(topic, payload, b"NATS/1.0\r\n" + b"".join(lines) + b"\r\n"))
        # Where an application runs, it moves the message to its partition: only then it stands in front of what is published next.
        for _ in range(75):
            router = self.ask(f"CONSUMER.INFO.{stored['stream']}.convoke-router", {}, none=404)
            if router is None or router["ack_floor"]["stream_seq"] >= stored["seq"]:
                break
            time.sleep(0.02)

    def raw(self, subject, headers, payload):
        """Publishes headers as they are, whatever they are: servers do not look at them."""
        self.answer(self.request(subject, payload.encode("latin-1"), headers.encode("latin-1")))

    def read(self, topic):
        stream = self.stream_of(topic) or self.stream_of(f"{topic}.0")
        messages, number = [], 0
        while stream:
            said = self.ask(f"STREAM.MSG.GET.{stream}", {"seq": number + 1, "next_by_subj": ">"}, none=404)
            if said is None:
                break
            message = said["message"]
            number = message["seq"]
            place, _, partition = message["subject"].rpartition(".")
            if message["subject"] == topic or (place == topic and partition.isdigit()):
                headers = headers_of(base64.b64decode(message.get("hdrs", "")))
                key = next((value for name, value in headers if name == KEY), None)
                messages.append((key, headers, base64.b64decode(message.get("data", ""))))
        return messages

    def stream_of(self, subject):
        names = self.ask("STREAM.NAMES", {"subject": subject})["streams"]
        return names[0] if names else None

    def discard(self, topic):
        """Deletes what the topic holds."""
        stream = self.stream_of(topic) or self.stream_of(f"{topic}.0")
        self.ask(f"STREAM.PURGE.{stream}", {})

    def create(self, topic, partitions):
        """For tests of these clients alone: adapters create their streams."""
        name = topic.replace(".", "_")
        subjects = [topic] + [f"{topic}.{number}" for number in range(partitions)]
        self.ask(f"STREAM.CREATE.{name}", {"name": name, "subjects": subjects, "retention": "limits", "storage": "file"})

    def ask(self, what, request, none=None):
        """Asks JetStream; `none` is the code of an error that means that there is nothing."""
        said = self.answer(self.request(f"$JS.API.{what}", json.dumps(request).encode()), none)
        return said

    def answer(self, data, none=None):
        said = json.loads(data)
        error = said.get("error")
        if error and error.get("code") != none:
            raise RuntimeError(error.get("description", error))
        return None if error else said

    def request(self, subject, payload, headers=b""):
        for again in (True, False):
            try:
                if self.lines is None:
                    self.connect()
                if headers:
                    head = f"HPUB {subject} {self.inbox} {len(headers)} {len(headers) + len(payload)}\r\n"
                else:
                    head = f"PUB {subject} {self.inbox} {len(payload)}\r\n"
                self.socket.sendall(head.encode() + headers + payload + b"\r\n")
                return self.next_message()
            except OSError:
                self.lines = None
                # A connection that broke while nobody used it.
                if not again:
                    raise

    def connect(self):
        self.socket = socket.create_connection((self.url.hostname, self.url.port or 4222), timeout=20)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "lang": "python", "version": "0"}
        if self.url.username:
            options |= {"user": self.url.username, "pass": self.url.password}
        self.socket.sendall(f"CONNECT {json.dumps(options)}\r\nSUB {self.inbox} 1\r\n".encode())

    def next_message(self):
        while True:
            words = self.lines.readline().split()
            if not words:
                raise ConnectionError("the server is gone")
            if words[0] == b"PING":
                self.socket.sendall(b"PONG\r\n")
            elif words[0] == b"-ERR":
                raise RuntimeError(b" ".join(words).decode())
            elif words[0] == b"MSG":
                return self.lines.read(int(words[-1]) + 2)[:-2]
            elif words[0] == b"HMSG":
                # All that answers with headers and nothing else is the word that nobody listens.
                self.lines.read(int(words[-1]) + 2)
                raise RuntimeError("no stream takes messages of this subject")


def headers_of(block):
    lines = [line.partition(b":") for line in block.split(b"\r\n")[1:] if line]
    return [(name.decode(), value.removeprefix(b" ")) for name, _, value in lines]
