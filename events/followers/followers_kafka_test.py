#!/usr/bin/env python3
"""Both followers on a real broker.

    /usr/bin/python3 events/followers/followers_kafka_test.py

Needs confluent_kafka (Debian: python3-confluent-kafka, which `./dev test` installs) and
deploy/kafka/kafka.py. Without the module it fails: a test that is passed over proves nothing.
"""
import contextlib
import ctypes
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

HERE = pathlib.Path(__file__).resolve().parent
KAFKA = HERE.parent.parent / "deploy" / "kafka" / "kafka.py"
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))
import followers_test  # noqa: E402
from make_vectors import STREAM, Record, chain  # noqa: E402

TOPICS = ["t%d" % number for number in range(10)]


class BrokerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.dir = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(subprocess.Popen(
            [sys.executable, str(KAFKA), "broker", "--dir", str(cls.dir / "broker"), "--topics",
             ",".join(TOPICS), "--until-stdin-closes"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        ready = broker.stdout.readline()
        if not ready.startswith("READY "):
            raise RuntimeError("Found %r from kafka.py; expected READY." % ready)
        cls.bootstrap = json.loads(ready[len("READY "):])["bootstrap"]
        cls.followers = followers_test.followers()
        cls.unused = iter(TOPICS)

    def setUp(self):
        self.topic = next(self.unused)

    def produce(self, records, **settings):
        producer = confluent_kafka.Producer(dict({"bootstrap.servers": self.bootstrap}, **settings))
        if settings:
            producer.init_transactions()
            producer.begin_transaction()
        for record in records:
            producer.produce(self.topic, partition=0, key=record.key, value=record.data,
                             headers=[(n, None if v is None else v.encode()) for n, v in record.headers])
        self.assertEqual(producer.flush(20), 0)
        if settings:
            producer.abort_transaction()

    def produce_raw(self, headers, data):
        """For header names that only the C library lets through."""
        kafka = ctypes.CDLL("librdkafka.so.1")
        kafka.rd_kafka_conf_new.restype = kafka.rd_kafka_new.restype = ctypes.c_void_p
        kafka.rd_kafka_topic_new.restype = kafka.rd_kafka_headers_new.restype = ctypes.c_void_p
        error = ctypes.create_string_buffer(256)
        conf = ctypes.c_void_p(kafka.rd_kafka_conf_new())
        # 0 means CONF_OK and the kind "producer" below; nothing is logged while it shuts down.
        kafka.rd_kafka_conf_set(conf, b"log_level", b"0", error, 256)
        self.assertEqual(kafka.rd_kafka_conf_set(
            conf, b"bootstrap.servers", self.bootstrap.encode(), error, 256), 0)
        producer = ctypes.c_void_p(kafka.rd_kafka_new(0, conf, error, 256))
        topic = ctypes.c_void_p(kafka.rd_kafka_topic_new(producer, self.topic.encode(), None))
        raw = ctypes.c_void_p(kafka.rd_kafka_headers_new(ctypes.c_size_t(len(headers))))
        for name, value in headers:
            kafka.rd_kafka_header_add(raw, name, ctypes.c_ssize_t(len(name)), value,
                                      ctypes.c_ssize_t(len(value)))
        topic_is, partition_is, value_is, flags_are, headers_are, copy = 2, 3, 4, 7, 10, 2
        self.assertEqual(kafka.rd_kafka_producev(
            producer, topic_is, topic, partition_is, ctypes.c_int32(0), flags_are, copy,
            value_is, data, ctypes.c_size_t(len(data)), headers_are, raw, 0), 0)
        kafka.rd_kafka_flush(producer, 20000)
        kafka.rd_kafka_topic_destroy(topic)
        kafka.rd_kafka_destroy(producer)

    def command(self, name, *options):
        return self.followers[name] + ["--bootstrap", self.bootstrap, "--topic", self.topic, "--stream", STREAM,
                                       "--json"] + list(options)

    def follow(self, name, *options, code=0):
        run = subprocess.run(self.command(name, "--until-end", *options), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(run.returncode, code, run.stdout + run.stderr)
        self.stderr = run.stderr
        return [json.loads(line) for line in run.stdout.splitlines()]

    def both(self, *options, code=0):
        python, java = (self.follow(name, *options, code=code) for name in ("python", "java"))
        self.assertEqual(python, java)
        return python

    def test_stale_writer_and_mirror_duplicates(self):
        a = chain(6)
        takeover = Record(a[2], 3, "b", b"")
        b = chain(3, "b", takeover, 4)
        # The stale writer's group of two comes after the takeover; the mirror repeats runs.
        self.produce(a[:3] + a[1:3] + [takeover] + a[3:5] + [takeover, a[3]] + b[:2] + a[:3] + b)
        accepted = [record.link for record in a[:3] + [takeover] + b]
        for options in ([], ["--mirrored"]):
            lines = self.both(*options)
            self.assertEqual([line["link"] for line in lines[:-1]], accepted)
            self.assertEqual(lines[-1], {
                "accepted": 7, "void": {"stale": 10, "stranger": 1},
                "head": {"link": b[-1].link, "sequence": 6, "offset": 17}, "state": "ok"})
        self.assertEqual(len(self.both("--all")), 19)

    def test_damaged(self):
        a = chain(4)
        self.produce([a[0], a[1].but(data=b"spoilt"), a[2], a[1], a[2]])
        for name in self.followers:
            state = str(self.dir / (name + "-damaged"))
            lines = self.follow(name, "--state", state, code=7)
            self.assertEqual([line.get("outcome") for line in lines], ["accepted", "damaged", None])
            self.assertEqual(lines[-1]["state"], "damaged")
            self.assertIn("damaged", self.stderr)
            # It does not get better by starting again.
            self.assertEqual(self.follow(name, "--state", state, code=7)[-1]["state"], "damaged")

    def test_gap(self):
        a = chain(5)
        self.produce(a[:2] + a[3:])
        self.assertEqual(self.both(code=0)[-1]["state"], "ok")
        self.assertEqual(self.both("--mirrored", code=7)[-1]["state"], "suspect")

    def test_stop_and_go_on_in_either_language(self):
        a = chain(9)
        early = Record(a[6], 7, "e", b"")
        self.produce(a[:3] + [early, a[4].but(data=b"")])
        state = str(self.dir / "resume")
        lines = self.follow("python", "--state", state)[:-1]
        self.produce([a[3], a[1], a[4]])
        lines += self.follow("java", "--state", state)[:-1]
        self.produce([a[5], a[6], early, a[7]])
        second = self.follow("python", "--state", state, "--all")
        lines += [line for line in second[:-1] if line["outcome"] == "accepted"]
        # Had the pending link not been kept, its second occurrence would be accepted.
        self.assertEqual(second[-1]["void"], {"repeated": 1})
        self.produce([a[8]])
        lines += self.follow("java", "--state", state)[:-1]
        self.assertEqual([line["link"] for line in lines], [record.link for record in a])
        self.assertEqual(self.both()[:-1], lines)

    def test_what_could_not_be_written_is_not_remembered(self):
        self.produce(chain(3))
        for name in self.followers:
            state = self.dir / (name + "-full")
            with open("/dev/full", "w", encoding="utf-8") as full:
                run = subprocess.run(self.command(name, "--until-end", "--state", str(state)), stdout=full,
                                     stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertNotEqual(run.returncode, 0, name)
            self.assertEqual(self.follow(name, "--state", str(state))[-1]["accepted"], 3, run.stderr)

    def test_stopped_by_a_signal_while_it_waits(self):
        a = chain(4)
        self.produce(a[:2])
        for name in self.followers:
            state = str(self.dir / (name + "-signal"))
            with subprocess.Popen(self.command(name, "--state", state), stdout=subprocess.PIPE, text=True) as run:
                self.assertEqual(json.loads(run.stdout.readline())["link"], a[0].link)
                self.assertEqual(json.loads(run.stdout.readline())["link"], a[1].link)
                run.send_signal(signal.SIGTERM)
                self.assertEqual(json.loads(run.stdout.readline())["accepted"], 2)
                self.assertEqual(run.wait(30), 0)
            # Killed outright, it repeats at most what it had not remembered.
            with subprocess.Popen(self.command(name, "--state", state), stdout=subprocess.PIPE, text=True) as run:
                run.kill()
            self.assertEqual(self.follow(name, "--state", state)[-1]["accepted"], 0)
        self.produce(a[2:])
        for name in self.followers:
            lines = self.follow(name, "--state", str(self.dir / (name + "-signal")))
            self.assertEqual([line["link"] for line in lines[:-1]], [a[2].link, a[3].link])

    def test_refuses_a_log_that_is_not_the_one_it_followed(self):
        a = chain(3)
        self.produce(a)
        state = self.dir / "refuse"
        for name in self.followers:
            state.unlink(missing_ok=True)
            self.follow(name, "--state", str(state))
            good = json.loads(state.read_text())
            for change in ({"head": dict(good["head"], link=a[1].link)}, {"offset": 99},
                           {"head": dict(good["head"], offset=99), "offset": 100}):
                state.write_text(json.dumps(dict(good, **change)))
                self.assertEqual(self.follow(name, "--state", str(state), code=1), [])
                self.assertIn("made anew", self.stderr)
            for text in ("{", "[]", "{}", json.dumps(dict(good, topic="other")), json.dumps(dict(good, mirrored=True))):
                state.write_text(text)
                self.assertEqual(self.follow(name, "--state", str(state), code=1), [])
                self.assertIn("Found a state file", self.stderr)

    def test_an_aborted_transaction_is_part_of_the_log(self):
        a = chain(3)
        self.produce(a[:2])
        self.produce([a[2]], **{"transactional.id": "test"})
        # Its marker holds the last offset, which is never delivered: --until-end still ends.
        self.assertEqual(self.both()[-1]["accepted"], 3)

    def test_header_names_that_clients_decode_differently(self):
        a = chain(2)

        def raw(record, rename=lambda name: name, more=()):
            self.produce_raw([(rename(n.encode()), v.encode()) for n, v in record.headers] + list(more), record.data)

        longer = Record(a[0], 1, data=b"x", more=[("ce_foo", "x")])
        raw(a[0])
        raw(a[1], more=[(b"foo\xff", b"x")])
        raw(a[1], more=[(b"ce_\xff", b"x")])
        raw(a[1], more=[(b"ce_id\0x", b"x")])
        raw(longer, rename=lambda name: name + b"\0bar" if name == b"ce_foo" else name)
        lines = self.both("--all")
        self.assertEqual([line["reason"] or line["outcome"] for line in lines[:-1]],
                         ["accepted", "corrupt", "corrupt", "corrupt", "accepted"])

    def test_topics_that_are_no_stream(self):
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic("two", 2, 1)])["two"].result(20)
        for name in self.followers:
            for self.topic, message in (("two", "Found 2 partitions"), ("absent", "Found no topic absent")):
                self.assertEqual(self.follow(name, code=1), [])
                self.assertIn(message, self.stderr)
        self.assertNotIn("absent", admin.list_topics(timeout=10).topics)


if __name__ == "__main__":
    unittest.main()
