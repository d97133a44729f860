"""Kafka, by confluent-kafka."""

import time

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic


def settled(ask):
    """What a server answers that has just started, or just created the topic: first it may not know who leads a partition."""
    for again in reversed(range(20)):
        try:
            return ask()
        # The client makes the latter of the former where it has two errors to tell.
        except (KafkaException, SystemError):
            if not again:
                raise
            time.sleep(0.25)


class Client:
    def __init__(self, url):
        self.common = {"bootstrap.servers": url.netloc, "reconnect.backoff.max.ms": 500, "socket.timeout.ms": 10_000}
        self.log = {"error_cb": lambda error: None, "log_level": 0}
        self.producer = None
        self.consumer = None

    def produce(self, topic, key, headers, payload):
        if self.producer is None:
            # Keys go where the Java client, and ours, place them.
            options = {"partitioner": "murmur2_random", "acks": "all", "linger.ms": 0, "delivery.timeout.ms": 8_000, "topic.metadata.propagation.max.ms": 1_000}
            self.producer = Producer(self.common | self.log | options)
        errors = []
        self.producer.produce(topic, key=key, headers=headers, value=payload, on_delivery=lambda error, _: errors.append(error))
        self.producer.flush(20)
        if errors != [None]:
            raise KafkaException(*errors)

    def read(self, topic):
        if self.consumer is None:
            # It joins no group: it says itself which partitions it reads, and from where.
            options = {"group.id": "foreign", "enable.auto.commit": False, "enable.partition.eof": True}
            self.consumer = Consumer(self.common | self.log | options)
        consumer = self.consumer
        about = consumer.list_topics(topic, timeout=15).topics[topic]
        if about.error is not None and about.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return []
        reading = {}
        for number in about.partitions:
            ends = settled(lambda: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=15))
            if ends[0] < ends[1]:
                reading[number] = ends
        consumer.assign([TopicPartition(topic, number, ends[0]) for number, ends in reading.items()])
        messages = []
        while reading:
            message = consumer.poll(15)
            if message is None:
                raise TimeoutError(f"{topic} cannot be read to its end")
            number = message.partition()
            if message.error() is None and message.offset() < reading.get(number, (0, 0))[1]:
                messages.append(message)
            elif message.error() is not None and message.error().code() != KafkaError._PARTITION_EOF:
                raise KafkaException(message.error())
            # The end of what was there, or of what is to be seen of it.
            if message.error() is not None or message.offset() + 1 >= reading.get(number, (0, 0))[1]:
                reading.pop(number, None)
        consumer.unassign()
        messages.sort(key=lambda message: (message.timestamp()[1], message.partition(), message.offset()))
        return [(message.key(), message.headers() or [], message.value()) for message in messages]

    def discard(self, topic):
        """Deletes what the topic holds."""
        admin = AdminClient(self.common)
        everything = [TopicPartition(topic, number, OFFSET_END) for number in admin.list_topics(topic, timeout=15).topics[topic].partitions]
        for deleted in admin.delete_records(everything).values():
            deleted.result(15)

    def settings(self, topic):
        """What the brokers say of a topic."""
        admin = AdminClient(self.common)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        return {name: entry.value for name, entry in admin.describe_configs([resource])[resource].result(15).items()}

    def create(self, topic, partitions):
        """For tests of these clients alone: adapters create their topics."""
        admin = AdminClient(self.common)
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(15)
