#!/usr/bin/env python3
"""The proxy before an echo server: single links are held, held half, and cut, and the other link goes on."""
import select
import socket
import struct
import sys
import threading
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from proxy import ANSWERS_HELD, CUT, HELD, MIRROR, OPEN, SERVICES, Proxy  # noqa: E402

SECONDS = 10


def first_request(client):
    """The beginning of what a Kafka client sends first: length, key, version, correlation, client id."""
    name = client.encode()
    return struct.pack(">ihhih", 10 + len(name), 18, 3, 1, len(name)) + name


class Echo:
    """Sends back whatever comes, and remembers it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.heard = b""
        self.came = threading.Condition()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            try:
                while data := connection.recv(4096):
                    with self.came:
                        self.heard += data
                        self.came.notify_all()
                    connection.sendall(data)
            except OSError:
                pass

    def wait_for(self, text):
        with self.came:
            return self.came.wait_for(lambda: text in self.heard, SECONDS)


class Links(unittest.TestCase):
    def setUp(self):
        self.echo = Echo()
        self.addCleanup(self.echo.listener.close)
        self.proxy = Proxy()
        self.addCleanup(self.proxy.close)
        self.proxy.target = "127.0.0.1:%d" % self.echo.listener.getsockname()[1]
        self.service, self.mirror = self.connect("concordat-paris"), self.connect("paris->borlange|mirror")

    def connect(self, client):
        connection = socket.create_connection(("127.0.0.1", self.proxy.port), SECONDS)
        self.addCleanup(connection.close)
        connection.sendall(first_request(client))
        self.receive(connection, len(first_request(client)))
        return connection

    def receive(self, connection, count):
        data = b""
        while len(data) < count:
            more = connection.recv(count - len(data))
            self.assertTrue(more, "the connection ended")
            data += more
        return data

    def round_trip(self, connection, text):
        connection.sendall(text)
        self.assertEqual(self.receive(connection, len(text)), text)

    def silent(self, connection):
        return not select.select([connection], [], [], 0)[0]

    def test_an_open_link_carries_both_ways(self):
        self.round_trip(self.service, b"a")
        self.round_trip(self.mirror, b"b")

    def test_a_held_link_delivers_when_it_is_open_again(self):
        self.proxy.set(SERVICES, HELD)
        self.service.sendall(b"later")
        self.round_trip(self.mirror, b"now")
        self.assertTrue(self.silent(self.service))
        self.assertNotIn(b"later", self.echo.heard)
        self.proxy.set(SERVICES, OPEN)
        self.assertEqual(self.receive(self.service, 5), b"later")

    def test_where_answers_are_held_requests_arrive(self):
        self.proxy.set(MIRROR, ANSWERS_HELD)
        self.mirror.sendall(b"asked")
        self.assertTrue(self.echo.wait_for(b"asked"))
        self.round_trip(self.service, b"now")
        self.assertTrue(self.silent(self.mirror))
        self.proxy.set(MIRROR, OPEN)
        self.assertEqual(self.receive(self.mirror, 5), b"asked")

    def test_a_cut_link_ends_its_connections_and_takes_no_new_ones(self):
        self.proxy.set(SERVICES, CUT)
        with self.assertRaises((ConnectionError, AssertionError)):
            self.receive(self.service, 1)
        with self.assertRaises((ConnectionError, AssertionError)):
            self.connect("concordat-paris")
        self.round_trip(self.mirror, b"now")
        self.proxy.set(SERVICES, OPEN)
        self.round_trip(self.connect("concordat-paris"), b"again")


if __name__ == "__main__":
    unittest.main()
