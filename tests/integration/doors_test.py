"""The doors of real processes: what operators and their tools are told by metrics, liveness, readiness, gRPC's health
and the log, and what the gRPC door says to bytes that no program of ours sends.
"""
import contextlib
import datetime
import socket
import subprocess
import unittest

import story
from cluster import (SERVICES, Cluster, Metrics, Shell, binary, die_with_test, eventually, http_get, produce,
                     read_topic, rpc, stream)
from mirror_test import child

SITES = ("paris", "borlange")
INVENTORY = "paris.inventory.events"
ORDER_SERVER = "concordat.inventory.v1.InventoryService/OrderServer"
RESERVE = "concordat.reservations.v1.ReservationsService/Reserve"
# Answers of grpc.health.v1: a message whose first field is the status.
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


# The wire format of Protobuf, as far as it is needed here.
def varint(number):
    coded = b""
    while number > 0x7f:
        coded += bytes([number & 0x7f | 0x80])
        number >>= 7
    return coded + bytes([number])


def number_field(field, number):
    return varint(field << 3) + varint(number)


def bytes_field(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def order_of(server):
    """An OrderServerRequest that is in order."""
    return (bytes_field(2, f"sites/paris/servers/{server}") + bytes_field(3, f"models/{story.MODEL}")
            + bytes_field(4, "nvidia") + bytes_field(5, number_field(1, 4_000_000_000)))


# In a process of its own, for gRPC's threads and the forks of the commands that are run here do not go together;
# and past a proxy that the machine may have.
CALL = """
import sys
import grpc
address, method, actor = sys.argv[1:]
with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
    try:
        answer = channel.unary_unary("/" + method)(sys.stdin.buffer.read(), timeout=120,
                                                   metadata=[("concordat-actor", actor)])
        print("OK", answer.hex())
    except grpc.RpcError as error:
        print(error.code().name, error.details())
"""


def begin_call(address, method, data=b"", actor="tester"):
    """Makes a unary call with these bytes, and does not wait for it."""
    process = subprocess.Popen(["/usr/bin/python3", "-c", CALL, address, method, actor], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, preexec_fn=die_with_test)
    process.stdin.write(data)
    process.stdin.close()
    return process


def end_call(process):
    """The status code by name, and the answer's bytes or what was said instead."""
    said = process.stdout.read().decode().strip()
    process.stdout.close()
    assert process.wait() == 0, said
    code, _, rest = said.partition(" ")
    return code, bytes.fromhex(rest) if code == "OK" else rest


def call(address, method, data=b"", actor="tester"):
    """A unary call with these bytes, as end_call() has it."""
    return end_call(begin_call(address, method, data, actor))


def health(address):
    code, answer = call(address, "grpc.health.v1.Health/Check")
    assert code == "OK", answer
    return answer


class Doors(unittest.TestCase):
    """A process with two sites on the embedded log; Paris is open."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.close)
        config, cls.addresses = story.embedded(cls.cluster)
        cls.node = cls.cluster.node("node", config).start()
        cls.shell = Shell(cls.cluster, {site: {"address": address} for site, address in cls.addresses.items()})
        story.open_site(cls.shell, "paris")
        cls.shell("verify", "--wait", "30s")

    def http(self, site):
        return self.node.doors[site]["http"]

    def ends(self):
        return {name: head[0] for name, head in self.shell.heads("paris").items()}


class Operators(Doors):
    def test_the_line_ready_names_the_doors(self):
        self.assertEqual({site: doors["grpc"] for site, doors in self.node.doors.items()}, self.addresses)
        for site in SITES:
            self.assertEqual(http_get(self.http(site), "/livez"), (200, "ok\n"))
            self.assertEqual(http_get(self.http(site), "/readyz"), (200, "ok\n"))
            self.assertEqual(http_get(self.http(site), "/")[0], 404)
            self.assertEqual(health(self.addresses[site]), SERVING)

    def test_metrics_tell_what_became_of_each_command(self):
        order = ("order", "server", "m01", "--model", story.MODEL, "--supplier", "nvidia", "--promised-time", "+1d")
        before = Metrics(self.http("paris"))
        self.shell(*order, "--request-id", "order-m01")
        self.assertTrue(self.shell.json(*order, "--request-id", "order-m01")["repeated"])
        self.shell(*order, code=5)
        self.shell("order", "server", "m02", *order[3:], "--validate-only")
        self.assertEqual(call(self.addresses["paris"], ORDER_SERVER)[0], "INVALID_ARGUMENT")
        after = Metrics(self.http("paris"))

        def grown(name, **labels):
            return after.total(name, site="paris", **labels) - before.total(name, site="paris", **labels)

        for outcome in ("accepted", "repeated", "refused", "validated", "INVALID_ARGUMENT"):
            self.assertEqual(grown("concordat_commands_total", service="inventory", command="OrderServer",
                                   outcome=outcome), 1, outcome)
        self.assertEqual(grown("concordat_commands_total"), 5)
        self.assertEqual(grown("concordat_command_duration_seconds_count", service="inventory"), 5)
        self.assertEqual(grown("concordat_command_duration_seconds_bucket", service="inventory", le="+Inf"), 5)
        self.assertGreater(grown("concordat_command_duration_seconds_sum", service="inventory"), 0)
        # The fact and the refusal are events; the others left nothing.
        self.assertEqual(grown("concordat_events_accepted_total", stream=INVENTORY), 2)
        self.assertEqual(grown("concordat_events_refused_total", stream=INVENTORY), 1)
        self.assertEqual(grown("concordat_projection_sequence", stream=INVENTORY), 2)
        self.assertEqual(Metrics(self.http("borlange")).total("concordat_commands_total"), 0)

    def test_metrics_tell_of_each_stream_what_status_tells(self):
        self.shell("verify", "--wait", "30s")
        for site in SITES:
            told = Metrics(self.http(site))
            heads = self.shell.heads(site)
            self.assertEqual(set(heads), set(story.all_streams()))
            self.assertEqual(told.by("stream", "concordat_projection_sequence", site=site),
                             {name: sequence for name, (sequence, _) in heads.items()})
            self.assertEqual(told.by("stream", "concordat_projection_lag_records"), dict.fromkeys(heads, 0))
            for trouble in ("alarm", "suspect", "damaged"):
                self.assertEqual(told.by("stream", f"concordat_stream_{trouble}"), dict.fromkeys(heads, 0), trouble)
            home = [stream(site, service) for service in SERVICES]
            self.assertEqual(told.by("stream", "concordat_writer_ready"), dict.fromkeys(home, 1))
            self.assertEqual(told.by("stream", "concordat_home_check_refused"), dict.fromkeys(home, 0))
            self.assertEqual(told.by("site", "concordat_shortfalls"), {site: 0})
            # By the clock that the site was told to go by.
            begin = datetime.datetime(2027, 1, 4, 8, tzinfo=datetime.timezone.utc).timestamp()
            self.assertEqual(told.by("stream", "concordat_projection_last_event_timestamp_seconds"),
                             dict.fromkeys(heads, begin))
            release = subprocess.run([binary("CONCORDATD"), "--version"], stdout=subprocess.PIPE, text=True, check=True)
            self.assertEqual(told.by("version", "concordat_build_info"), {release.stdout.strip(): 1})

    def test_every_metric_is_described_once(self):
        told = Metrics(self.http("paris"))
        types = [line.split()[2:] for line in told.text.splitlines() if line.startswith("# TYPE ")]
        helps = [line.split()[2] for line in told.text.splitlines() if line.startswith("# HELP ")]
        self.assertEqual([name for name, _ in types], helps)
        self.assertEqual(len(set(helps)), len(helps))
        parts = {name + part: kind for name, kind in types
                 for part in (("_bucket", "_count", "_sum") if kind == "histogram" else ("",))}
        for name, _, _ in told.samples:
            self.assertIn(name, parts)
            self.assertEqual(parts[name] == "counter", name.endswith("_total"), name)

    def ends_without(self, what, sites):
        """Starts a process of its own that cannot open a door; what it logged."""
        folder = self.cluster.folder / what
        node = self.cluster.node(what, {**self.node.config, "data_dir": str(folder), "sites": sites}).launch()
        # One that starts all the same must not answer in the place of the other.
        self.addCleanup(node.release)
        self.assertEqual(node.ends(20), 1, node.said())
        return node.log()

    def test_a_door_that_is_taken_ends_the_process_and_the_log_says_so_in_json(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            for door, address in (
                    ("grpc", f"127.0.0.1:{port}"), ("http", f"127.0.0.1:{port}"),
                    # What a person typed is quoted, whatever it holds.
                    ("http", f"\"Malmö\"\\:{port}"),
                    # Another concordatd does not share its door either.
                    ("grpc", self.addresses["paris"]), ("http", self.http("paris"))):
                with self.subTest(door=door, address=address):
                    said = self.ends_without(f"taken-{door}-{len(address)}", [{"name": "paris", door: address}])
                    self.assertIn(("critical", f"cannot listen on {address}: is another process there? Choose another "
                                               f"{door} address in the configuration"),
                                  [(entry["level"], entry["message"]) for entry in said])


class Patient(Doors):
    """Callers who wait, and what they are told."""

    def test_calls_that_wait_keep_nobody_else_waiting(self):
        ask = bytes_field(1, "servers") + bytes_field(2, "sites/paris/servers/x01") + bytes_field(3, INVENTORY)
        waiting = [begin_call(self.addresses["paris"], "concordat.node.v1.NodeService/GetResource",
                              ask + number_field(4, 1 << 40)) for _ in range(8)]
        self.assertEqual(call(self.addresses["paris"], "concordat.node.v1.NodeService/GetStatus")[0], "OK")
        self.assertEqual(health(self.addresses["borlange"]), SERVING)
        for process in waiting:
            code, said = end_call(process)
            self.assertEqual(code, "UNAVAILABLE", said)
            self.assertIn("not folded up to sequence 1099511627776", said)

    def test_a_refusal_with_much_to_say_is_told_in_short_and_its_event_has_all_of_it(self):
        self.shell("register", "customer", "sap", "--site", "paris", "--display-name", "SAP", "--country", "DE",
                   "--sector", "SOFTWARE")
        self.shell("sign", "contract", "sap/large", "--site", "paris", "--sites", "paris", "--max-servers-per-site", "500",
                   "--accelerators", "100000", "--accelerator-hours", "1000000000", "--start-time", "2027-01-01",
                   "--end-time", "2030-01-01", "--data-classes", "PUBLIC")
        names = [f"sites/paris/servers/one-that-nobody-knows-{number:03}" for number in range(200)]
        refused = self.shell.run(
            "reserve", "--site", "paris", "--contract", "sap/large", "--model", story.MODEL, "--count", len(names),
            "--start-time", "+1d", "--end-time", "+2d", "--purpose", "inference", "--data-classes", "PUBLIC", "--project",
            "risk", "--placement", "exact", "--servers", ",".join(names))
        self.assertEqual(refused.code, 4, refused)
        self.assertIn("(the event has the rest)", refused.err)
        self.assertIn(f"{names[0]} is not known", refused.err)
        self.assertNotIn(f"{names[-1]} is not known", refused.err)
        events = self.shell("watch", "paris.reservations.events", "--site", "paris", "--from", "0", "--until-head",
                            "-o", "json")
        self.assertIn(f"{names[-1]} is not known", events.out)


class Strangers(Doors):
    """What comes in at the gRPC door as bytes."""

    # Each is a request that is no command: what it is, method, bytes, actor, code, and what the answer says.
    WRONG = [
        ("an unknown field", ORDER_SERVER, order_of("x01") + bytes_field(999, "later"), "tester", "INVALID_ARGUMENT",
         "999"),
        ("an unknown field further in", ORDER_SERVER, order_of("x01") + bytes_field(1, number_field(77, 1)), "tester",
         "INVALID_ARGUMENT", "77"),
        ("an unknown value of an enum", RESERVE, number_field(8, 99), "tester", "INVALID_ARGUMENT", "99"),
        ("bytes that are no message", ORDER_SERVER, b"\xff", "tester", "INVALID_ARGUMENT",
         "is not a concordat.inventory.v1.OrderServerRequest"),
        ("half a message", ORDER_SERVER, order_of("x01")[:-1], "tester", "INVALID_ARGUMENT",
         "is not a concordat.inventory.v1.OrderServerRequest"),
        ("a text that is none", ORDER_SERVER, order_of("x01") + bytes_field(4, b"\xff"), "tester", "INVALID_ARGUMENT",
         "is not a concordat.inventory.v1.OrderServerRequest"),
        ("nothing", ORDER_SERVER, b"", "tester", "INVALID_ARGUMENT", "name"),
        ("more bytes than are taken", ORDER_SERVER, order_of("x01") + bytes_field(4, "n" * (4 << 20)), "tester",
         "RESOURCE_EXHAUSTED", "larger than max"),
        ("a service's name", ORDER_SERVER, order_of("x01"), "system:inventory", "PERMISSION_DENIED",
         "system:inventory"),
        ("a name like a service's", ORDER_SERVER, order_of("x01"), "system:", "PERMISSION_DENIED", "system:"),
        ("an over-long name", ORDER_SERVER, order_of("x01"), "t" * 201, "INVALID_ARGUMENT", "concordat-actor"),
        ("a question with an unknown field", "concordat.node.v1.NodeService/GetStatus", number_field(999, 1), "tester",
         "INVALID_ARGUMENT", "999"),
        ("a method that is none", "concordat.inventory.v1.InventoryService/PaintServer", order_of("x01"), "tester",
         "UNIMPLEMENTED", "PaintServer"),
    ]

    def test_bytes_that_are_no_command_of_a_caller_are_refused_and_leave_nothing(self):
        before = self.ends()
        for what, method, data, actor, code, expected in self.WRONG:
            with self.subTest(what):
                found, said = call(self.addresses["paris"], method, data, actor)
                self.assertEqual(found, code, said)
                self.assertIn(expected, said)
                self.assertEqual(self.ends(), before, "something was appended")
        # It was none of the rest of them: the same request is taken as it is.
        code, answer = call(self.addresses["paris"], ORDER_SERVER, order_of("x01"))
        self.assertEqual(code, "OK", answer)
        self.assertEqual(self.ends(), {**before, INVENTORY: before[INVENTORY] + 1})


class OnKafka(unittest.TestCase):
    """A process of one site, and the address of a broker that runs or does not."""

    def setUp(self):
        self.cluster = Cluster()
        self.addCleanup(self.cluster.close)
        port = self.cluster.free_port()
        self.broker = self.cluster.kafka("broker", "--dir", self.cluster.folder / "broker", "--port", port, "--topics",
                                         ",".join(stream("paris", service) for service in SERVICES))
        self.address, self.http = self.cluster.address(), self.cluster.address()
        self.node = self.cluster.node("paris", {
            "profile": "demo", "log": "kafka", "data_dir": str(self.cluster.folder / "data"),
            "sites": [{"name": "paris", "grpc": self.address, "http": self.http, "kafka": f"127.0.0.1:{port}"}]})

    def is_open(self):
        with contextlib.suppress(ConnectionError):
            return http_get(self.http, "/livez") == (200, "ok\n")

    def check(self, status, expected_health, ready):
        """What every door says, with the streams whose writers write; the text of /readyz."""
        eventually(lambda: health(self.address) == expected_health, what=f"health is {expected_health!r}")
        found, text = http_get(self.http, "/readyz")
        self.assertEqual(found, status, text)
        # The process itself needs no restart.
        self.assertEqual(http_get(self.http, "/livez"), (200, "ok\n"))
        self.assertEqual(Metrics(self.http).by("stream", "concordat_writer_ready"),
                         {stream("paris", service): int(service in ready) for service in SERVICES})
        return text

    def alarms(self):
        return {name for name, alarm in Metrics(self.http).by("stream", "concordat_stream_alarm").items() if alarm}

    def test_a_site_whose_broker_is_away_lives_is_not_ready_and_becomes_so(self):
        # A site does not wait for topics that a broker has not, so they are there before it.
        self.broker.start()
        self.broker.release()
        self.node.launch()
        eventually(self.is_open, what="the doors are open")
        text = self.check(503, NOT_SERVING, ())
        self.assertEqual([line.split(":")[0] for line in text.splitlines()],
                         [f"{stream('paris', service)} is starting" for service in SERVICES])
        self.broker.start()
        self.node.wait_ready()
        self.assertEqual(self.check(200, SERVING, SERVICES), "ok\n")
        self.assertEqual(self.alarms(), set())

        # What was ready waits where the broker goes away, and says that it does.
        self.broker.pause()
        self.addCleanup(self.broker.resume)
        waiting = begin_call(
            self.address, RESERVE.replace("Reserve", "RegisterCustomer"), bytes_field(2, "customers/hsbc")
            + bytes_field(3, "HSBC") + bytes_field(4, "GB") + bytes_field(5, "FINANCE"))
        eventually(lambda: stream("paris", "reservations") in self.alarms(), 60, "an append waits too long")
        self.assertIsNone(waiting.poll())
        self.assertEqual(http_get(self.http, "/livez"), (200, "ok\n"))
        self.broker.resume()
        code, answer = end_call(waiting)
        self.assertEqual(code, "OK", answer)
        self.assertIn(b"CustomerRegistered", answer)
        eventually(lambda: not self.alarms(), what="no alarm any more")
        self.check(200, SERVING, SERVICES)
        self.node.stop()

    def test_a_site_with_a_writer_that_stopped_lives_and_is_not_ready(self):
        self.broker.start()
        self.node.start()
        self.check(200, SERVING, SERVICES)
        records = read_topic(self.broker, INVENTORY)
        newer = child(records[-1][1], len(records), b"\xff\xff\xff", ce_type="concordat.inventory.v1.ServerPainted",
                      ce_dataschema="urn:concordat:schema:concordat.inventory.v1.Event")
        produce(self.broker, INVENTORY, newer, b"\xff\xff\xff")
        eventually(lambda: http_get(self.http, "/readyz")[0] == 503, what="the writer has found it")
        text = self.check(503, NOT_SERVING, set(SERVICES) - {"inventory"})
        self.assertRegex(text, f"^{INVENTORY} is stopped: .*cannot be read by this release.*\n$")
        self.assertIn(INVENTORY, self.alarms())
        # The site's other services go on.
        self.assertEqual(call(self.address, ORDER_SERVER, order_of("x01"))[0], "UNAVAILABLE")
        registered = rpc(self.address, "concordat.reservations.v1.ReservationsService/RegisterCustomer",
                         {"name": "customers/hsbc", "displayName": "HSBC", "country": "GB", "sector": "FINANCE"})
        self.assertTrue(registered["event_type"].endswith("CustomerRegistered"))
        self.node.stop()


if __name__ == "__main__":
    unittest.main()
