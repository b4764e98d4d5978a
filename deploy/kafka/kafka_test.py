#!/usr/bin/env python3
"""Proves what deploy/kafka promises, with real brokers: python3 deploy/kafka/kafka_test.py"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
from pathlib import Path

TOOL = Path(__file__).resolve().parent / "kafka.py"
sys.dont_write_bytecode = True
sys.path.insert(0, str(TOOL.parent))
from broker import EVENT_LOG  # noqa: E402  (the tool under test)
from common import Failure  # noqa: E402
from install import ensure_installed  # noqa: E402
from jvm import java_command  # noqa: E402
from pair import identity, is_alive  # noqa: E402
from ports import free_port  # noqa: E402


def run(*words, expect=0):
    done = subprocess.run([sys.executable, str(TOOL), *map(str, words)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=180)
    assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def describe(bootstrap, topic):
    return json.loads(run("topic", "--bootstrap", bootstrap, "--describe", topic).stdout)


def wait_until_gone(process, seconds=5):
    deadline = time.monotonic() + seconds
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.01)


class Foreground:
    """`kafka.py broker` or `mirror`; ends with the test because its standard input does."""

    def __init__(self, *words):
        self.process = subprocess.Popen(
            [sys.executable, str(TOOL), *map(str, words), "--until-stdin-closes"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("READY "):
            raise AssertionError(f"{words}: {self.process.communicate()[1]}")
        self.ready = json.loads(line[len("READY "):])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()
        return False

    def kill_jvm(self):
        os.kill(self.ready["pid"], signal.SIGKILL)
        self.process.wait(10)  # Not communicate(): closing its input would also stop it.
        return self.process.communicate()[1]


class Records:
    """Produces and fetches with the small Java program of that name."""

    def __init__(self):
        self.process = subprocess.Popen(
            java_command("Records", "64m"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, bufsize=1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()
        return False

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")

    def produce(self, bootstrap, topic, key, value, headers=()):
        self.ask("produce", bootstrap, topic, encode(key), encode(value),
                 *(f"{encode(name.encode())}:{encode(data)}" for name, data in headers))
        answer = self.process.stdout.readline().split()
        if answer[0] != "ok":
            raise AssertionError(" ".join(answer))
        return int(answer[1])

    def fetch(self, bootstrap, topic, count, seconds=20.0, start=0):
        """(key, value, headers) of `count` records, or of those that came within the time."""
        self.ask("fetch", bootstrap, topic, start, count, int(seconds * 1000))
        found = []
        while True:
            words = self.process.stdout.readline().split()
            if words[0] == "end":
                return found
            if words[0] != "record":
                raise AssertionError(" ".join(words))
            headers = [tuple(map(decode, word.split(":"))) for word in words[4:]]
            found.append((decode(words[2]), decode(words[3]),
                          [(name.decode(), data) for name, data in headers]))


def encode(data):
    return "-" if data is None else base64.b64encode(data).decode()


def decode(text):
    return None if text == "-" else base64.b64decode(text)


def event(number):
    """A record with what a careless copy would change: order and repetition of headers, an empty
    and a null value, bytes that are no text."""
    return (b"servers/%d" % number, bytes(range(256)),
            [("ce_id", b"%064x" % number), ("b", b""), ("a", None), ("b", b"\xff\x00")])


class PortsTest(unittest.TestCase):
    """Programs that start at the same time and choose among the same ports do not meet."""

    PROGRAM = ("import sys; sys.path.insert(0, sys.argv[1]); from ports import free_port; "
               "print(free_port(set()), free_port(set()), flush=True); sys.stdin.read()")

    def test_each_program_gets_ports_of_its_own(self):
        first = free_port(set())
        environment = {**os.environ, "CONCORDAT_PORTS": f"{first - 9}-{first + 10}"}
        programs = [subprocess.Popen([sys.executable, "-c", self.PROGRAM, str(TOOL.parent)], env=environment, text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(6)]
        ports = [int(port) for program in programs for port in program.stdout.readline().split()]
        try:
            self.assertEqual(len(set(ports)), 12, ports)
            self.assertNotIn(first, ports)
            # Whoever means to listen there may.
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", ports[0]))
                listener.listen()
        finally:
            for program in programs:
                program.communicate()

    def test_ports_that_are_none_are_refused(self):
        with unittest.mock.patch.dict(os.environ, {"CONCORDAT_PORTS": "300"}):
            with self.assertRaisesRegex(Failure, "CONCORDAT_PORTS: found '300', expected two port numbers"):
                free_port(set())


class BrokerTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="concordat-kafka-test-")
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)

    def test_topics_have_the_settings_of_an_event_log(self):
        with Foreground("broker", "--dir", self.dir, "--topics", "paris.inventory.events",
                        "--mirrored-topics", "borlange.inventory.events") as broker:
            bootstrap = broker.ready["bootstrap"]
            self.assertTrue(bootstrap.startswith("127.0.0.1:"))
            home = describe(bootstrap, "paris.inventory.events")
            copy = describe(bootstrap, "borlange.inventory.events")
        self.assertEqual(1, home["partitions"])
        for topic in (home, copy):
            self.assertEqual(EVENT_LOG, {k: topic["config"][k] for k in EVENT_LOG})
        self.assertEqual("1", home["config"]["flush.messages"])
        self.assertNotEqual("1", copy["config"]["flush.messages"])

    def test_a_killed_broker_serves_the_same_data_at_the_same_address(self):
        words = ("broker", "--dir", self.dir, "--topics", "paris.inventory.events")
        with Records() as records:
            with Foreground(*words) as broker:
                first = broker.ready
                for number in range(3):
                    records.produce(first["bootstrap"], "paris.inventory.events", *event(number))
                self.assertIn("killed by signal 9", broker.kill_jvm())
                self.assertEqual(1, broker.process.returncode)
            with Foreground(*words) as broker:
                self.assertEqual(first["bootstrap"], broker.ready["bootstrap"])
                found = records.fetch(first["bootstrap"], "paris.inventory.events", 3)
        self.assertEqual([event(number) for number in range(3)], found)

    def test_the_jvm_dies_with_its_supervisor(self):
        with Foreground("broker", "--dir", self.dir) as broker:
            jvm = identity(broker.ready["pid"])
            broker.process.kill()
            wait_until_gone(jvm)
            self.assertFalse(is_alive(jvm))

    def test_topics_are_created_altered_and_deleted(self):
        with Foreground("broker", "--dir", self.dir) as broker:
            bootstrap = broker.ready["bootstrap"]
            run("topic", "--bootstrap", bootstrap, "--create", "x.y.events",
                "--config", "segment.bytes=1048576")
            created = describe(bootstrap, "x.y.events")
            self.assertEqual("1048576", created["config"]["segment.bytes"])
            run("topic", "--bootstrap", bootstrap, "--alter", "x.y.events",
                "--config", "retention.ms=5000")
            self.assertEqual("5000", describe(bootstrap, "x.y.events")["config"]["retention.ms"])
            run("topic", "--bootstrap", bootstrap, "--delete", "x.y.events")
            done = run("topic", "--bootstrap", bootstrap, "--describe", "x.y.events", expect=1)
            self.assertIn("UnknownTopicOrPartition", done.stderr)

    def test_clients_are_told_the_advertised_address(self):
        with socket.create_server(("127.0.0.1", 0)) as proxy:
            address = f"127.0.0.1:{proxy.getsockname()[1]}"
            # Nothing answers at the proxy, so the topics must have been made past it.
            with Foreground("broker", "--dir", self.dir, "--topics", "a.b.events",
                            "--advertised", address) as broker:
                self.assertEqual(address, broker.ready["bootstrap"])
                client = proxy_visit(broker.ready["direct"], proxy)
        self.assertTrue(client, "the client was not sent to the advertised address")


def proxy_visit(direct, proxy):
    """Whether a client that begins at `direct` comes to the proxy for the partition."""
    proxy.settimeout(15)
    with Records() as records:
        records.ask("fetch", direct, "a.b.events", 0, 1, 3000)
        try:
            proxy.accept()[0].close()
            return True
        except TimeoutError:
            return False
        finally:
            records.process.kill()  # It would ask for that partition for half a minute.


class PairTest(unittest.TestCase):
    def test_a_pair_mirrors_own_topics_both_ways_and_can_be_cut_and_healed(self):
        with tempfile.TemporaryDirectory(prefix="concordat-kafka-test-") as folder:
            pair = Path(folder) / "pair"
            try:
                run("pair", "up", "--dir", pair)
                self.mirror_and_cut(pair)
                again = run("pair", "up", "--dir", pair, expect=1)
                self.assertIn("pair down", again.stderr)
                state = json.loads((pair / "state.json").read_text())
            finally:
                run("pair", "down", "--dir", pair)
            self.assertFalse(pair.exists())
            for part in state["parts"].values():
                self.assertFalse(is_alive(part["jvm"]))

    def mirror_and_cut(self, pair):
        parts = json.loads((pair / "state.json").read_text())["parts"]
        paris, borlange = parts["paris"]["bootstrap"], parts["borlange"]["bootstrap"]
        with Records() as records:
            begin = time.monotonic()
            for number in range(3):
                records.produce(paris, "paris.reservations.events", *event(number))
                records.produce(borlange, "borlange.compliance.events", *event(number + 10))
            # Were a foreign topic mirrored back, its records would come round and double.
            records.produce(paris, "borlange.inventory.events", *event(99))

            there = records.fetch(borlange, "paris.reservations.events", 3)
            back = records.fetch(paris, "borlange.compliance.events", 3)
            self.assertEqual([event(number) for number in range(3)], there)
            self.assertEqual([event(number + 10) for number in range(3)], back)
            print(f"mirrored both ways {time.monotonic() - begin:.1f} s after READY",
                  file=sys.stderr)

            run("pair", "cut", "--dir", pair)
            self.assertIn("mirror: cut", run("pair", "status", "--dir", pair).stdout)
            records.produce(paris, "paris.reservations.events", *event(3))
            self.assertEqual([], records.fetch(borlange, "paris.reservations.events", 1,
                                               seconds=2, start=3))
            run("pair", "heal", "--dir", pair)
            begin = time.monotonic()
            self.assertEqual([event(3)], records.fetch(borlange, "paris.reservations.events", 1,
                                                       start=3))
            print(f"healed within {time.monotonic() - begin:.1f} s", file=sys.stderr)

            # By now a loop would have shown itself: the mirror has copied later records.
            self.assertEqual([event(99)], records.fetch(paris, "borlange.inventory.events", 2, 1))
            self.assertEqual([], records.fetch(borlange, "borlange.inventory.events", 1, 1))
            self.assertEqual(4, len(records.fetch(paris, "paris.reservations.events", 5, 1)))


if __name__ == "__main__":
    ensure_installed()
    unittest.main()
