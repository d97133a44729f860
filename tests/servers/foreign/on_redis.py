"""Redis Streams, by redis-py. A topic is a stream, and its partitions are the streams `{topic}:0` and so on."""

import time

import redis
from lacking import Lacking

KEY = b"ce_partitionkey"
DATA = b"data"
# As a script, since this client makes a dictionary of an entry, which does not repeat a name.
RANGE = "return redis.call('XRANGE', KEYS[1], '-', '+')"


class Client:
    def __init__(self, url):
        self.redis = redis.Redis.from_url(url.geturl(), socket_timeout=20, retry_on_timeout=False)

    def produce(self, topic, key, headers, payload):
        fields = [field for name, value in headers for field in (name.encode(), value)]
        if key is not None:
            fields += [KEY, key]
        if payload is not None:
            fields += [DATA, payload]
        if not fields:
            raise Lacking("an entry of a stream has a field at least")
        # As the command, for the same reason.
        self.redis.execute_command("XADD", topic, "*", *fields)
        # Where somebody reads, it takes its place when it is moved to its partition.
        until = time.monotonic() + 3
        while self.redis.xlen(topic) and time.monotonic() < until:
            time.sleep(0.005)

    def read(self, topic):
        entries = []
        for stream in self.streams(topic):
            for raw, fields in self.redis.eval(RANGE, 1, stream):
                entries.append((tuple(int(part) for part in raw.split(b"-")), stream, fields))
        return [self.message(fields) for _, _, fields in sorted(entries)]

    def streams(self, topic):
        partitions = self.redis.scan_iter(match="{%s}:[0-9]*" % topic.replace("[", "\\[").replace("*", "\\*"), count=1000)
        return [topic.encode(), *(stream for stream in partitions if stream.rpartition(b":")[2].isdigit())]

    def discard(self, topic):
        """Deletes what the topic holds."""
        for stream in self.streams(topic):
            self.redis.xtrim(stream, maxlen=0, approximate=False)

    def message(self, fields):
        pairs = list(zip(fields[::2], fields[1::2]))
        headers = [(name.decode(), value) for name, value in pairs if name != DATA]
        known = dict(pairs)
        return known.get(KEY), headers, known.get(DATA)

    def create(self, topic, partitions):
        """A stream is there when something is in it."""
