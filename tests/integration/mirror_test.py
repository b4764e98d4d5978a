"""Two sites with a broker each and the mirror between them: duplicates, strangers, and logs that are not right."""
import shutil
import sys
import unittest

import story
from cluster import (FOLLOW, SERVICES, Cluster, Metrics, Shell, digests, eventually, follow, produce, read_topic, rpc,
                     stream)

sys.path.insert(0, str(FOLLOW.parent))
from follow import link_of  # noqa: E402

SITES = ("paris", "borlange")
ORDERS = "paris.inventory.events"
# So many that reading them takes some seconds.
MANY = 100_000


def child(parent, sequence, data, **changed):
    """A well-formed record that names a parent; `parent` holds the headers of a record of the stream."""
    headers = {name: value for name, value in parent.items() if name != "ce_id"}
    headers.update(ce_parent=parent["ce_id"], ce_sequence=str(sequence).encode(),
                   ce_writer=b"f" * 32 + b".1", ce_commandid=b"foreign")
    headers.update({name: value.encode() for name, value in changed.items()})
    headers["ce_id"] = link_of(list(headers.items()), data).encode()
    return headers


def prepare(case, sites, clean_up):
    """Sites on brokers of their own, a process for each that does not run yet: attributes of a test or its class."""
    case.cluster = Cluster()
    clean_up(case.cluster.close)
    case.brokers = {site: case.cluster.broker(site, sites).launch() for site in sites}
    for broker in case.brokers.values():
        broker.wait_ready()
    case.addresses = {site: case.cluster.address() for site in sites}
    case.nodes = {site: case.cluster.node(site, {
        "profile": "demo", "log": "kafka", "data_dir": str(case.cluster.folder / "data"), "here": [site],
        "sites": [{"name": name, "grpc": case.addresses[name], "kafka": case.brokers[name].bootstrap}
                  for name in sites]}) for site in sites}
    case.shell = Shell(case.cluster, {site: {"address": address} for site, address in case.addresses.items()})


def start_pair(case, flush_ms):
    """Starts both sites and the mirror between them, which remembers so seldom how far it is."""
    case.mirror = case.cluster.mirror(case.brokers, "--offset-flush-ms", str(flush_ms)).launch()
    for node in case.nodes.values():
        node.launch()
    case.mirror.wait_ready()
    for node in case.nodes.values():
        node.wait_ready()


def forget_progress(case):
    """The mirror, which does not run, begins at the beginning when it starts."""
    for origin, target in (SITES, SITES[::-1]):
        case.cluster.topic(case.brokers[target], "--delete", f"mm2-offsets.{origin}.internal")


class Kafka(unittest.TestCase):
    sites = SITES

    def setUp(self):
        prepare(self, self.sites, self.addCleanup)

    def order(self, *servers):
        for server in servers:
            story.order_server(self.shell, "paris", server)


class Pair(Kafka):
    """Both sites run, and the mirror between them."""

    def setUp(self):
        super().setUp()
        # So seldom that a killed one copies everything again.
        start_pair(self, 600000)


class OrdersBetweenSites(Pair):
    def setUp(self):
        super().setUp()
        # These processes go by the clock on the wall.
        story.furnish(self.shell, SITES, servers=1, start="now", end="+1000d")

    def ask(self, start, end):
        """Asks Paris for a server at Borlange; the order's name."""
        ordered = story.reserve(self.shell, "paris", start, end, at="borlange")
        self.assertEqual(ordered["eventType"], "concordat.reservations.v1.ReservationOrdered")
        return ordered["subject"]

    def check_confirmed(self, name):
        """The order comes back decided, and both sites have the same reservation."""
        order = self.shell.wait_state("order", name, "ORDER_STATE_CONFIRMED", "paris", 90)
        for site in SITES:
            found = self.shell.wait_state("reservation", order["reservation"], "RESERVATION_STATE_CONFIRMED", site)
            self.assertEqual(found["order"], name)
            self.assertEqual([server.rpartition("/")[0] for server in found["servers"]], ["sites/borlange/servers"])
        self.assertIn("heads equal, digests equal", self.shell("verify", "--wait", "90s").out)

    def test_an_order_is_decided_by_another_process_and_waits_while_the_mirror_does(self):
        self.check_confirmed(self.ask("+200d", "+210d"))
        self.mirror.pause()
        self.addCleanup(self.mirror.resume)
        waiting = self.ask("+300d", "+310d")
        # Both sites go on alone, through a whole course of reservation and judgement.
        for site in SITES:
            held = story.reserve(self.shell, site, "+400d", "+410d")
            self.shell.wait_state("reservation", held["subject"], "RESERVATION_STATE_CONFIRMED", site)
        self.assertEqual(self.shell.get("order", waiting)["state"], "ORDER_STATE_PENDING")
        self.assertEqual(self.shell.run("get", "order", waiting, "--site", "borlange").code, 3)
        behind = self.shell("verify", "-o", "json", code=6).json["disagreements"]
        self.assertEqual({entry["kind"] for entry in behind}, {"behind"})
        self.assertIn("paris.reservations.events", {entry["stream"] for entry in behind})
        self.mirror.resume()
        self.check_confirmed(waiting)
        self.assertEqual(self.shell.get("order", waiting, site="borlange")["state"], "ORDER_STATE_CONFIRMED")


class Mirrored(Pair):
    def setUp(self):
        super().setUp()
        story.open_site(self.shell, "paris")
        self.order("a01", "a02", "a03")
        self.shell("verify", "--wait", "60s")

    def test_what_a_killed_mirror_repeats_is_void_and_moves_nobody(self):
        before = {site: (self.shell.heads(site), digests(self.addresses[site])) for site in SITES}
        self.assertEqual(self.shell.voids("borlange", ORDERS), {})
        self.mirror.kill()
        # Where its host was slow it has said how far it was all the same.
        forget_progress(self)
        self.mirror.start()
        eventually(lambda: self.shell.voids("borlange", ORDERS).get("stale"), 180, "borlange sees records again")
        lines, summary = follow(self.brokers["borlange"], ORDERS, "--mirrored", "--all")
        self.assertGreater(summary["void"]["stale"], 0)
        self.assertEqual(len({line["link"] for line in lines if line["outcome"] == "accepted"}), summary["accepted"])
        self.assertEqual({site: (self.shell.heads(site), digests(self.addresses[site])) for site in SITES}, before)
        # It carries on where it was.
        self.order("a04")
        self.shell("verify", "--wait", "60s")
        self.assertEqual(self.shell.get("server", "sites/paris/servers/a04", site="borlange")["state"],
                         "SERVER_STATE_ORDERED")

    def test_records_of_a_stale_writer_are_void_for_every_reader(self):
        home = [headers for _, headers, _ in read_topic(self.brokers["paris"], ORDERS)]
        data = read_topic(self.brokers["paris"], ORDERS)[-1][2]
        heads = {site: self.shell.heads(site)[ORDERS] for site in SITES}
        # One is older than the head; one is the head's rival, and has a child that is the head's next but in name.
        stale = child(home[1], 2, data)
        rival = child(home[-2], len(home) - 1, data)
        heir = child(rival, len(home), data)
        for site in SITES:
            for headers in (stale, rival, heir):
                produce(self.brokers[site], ORDERS, headers, data)
        self.order("a05")
        self.shell("verify", "--wait", "60s")
        for site in SITES:
            sequence, link = self.shell.heads(site)[ORDERS]
            self.assertGreater(sequence, heads[site][0])
            options = ["--all", *(["--mirrored"] if site != "paris" else [])]
            lines, summary = follow(self.brokers[site], ORDERS, *options)
            # The other follower says the same of every record, and in the end.
            self.assertEqual(follow(self.brokers[site], ORDERS, *options, language="java"), (lines, summary))
            outcomes = {line["link"]: line["outcome"] for line in lines}
            for headers in (stale, rival, heir):
                self.assertEqual(outcomes[headers["ce_id"].decode()], "void")
            self.assertEqual((summary["head"]["sequence"], summary["head"]["link"]), (sequence, link))
            # The same records are void for the services, and for the same reasons.
            self.assertEqual(self.shell.voids(site, ORDERS), summary["void"])

    def test_a_replica_that_is_behind_says_by_how_many_records_and_catches_up(self):
        # It is measured once a second.
        eventually(lambda: self.lag("borlange") == 0, what="borlange has read everything")
        head, voids = self.shell.heads("borlange")[ORDERS], self.shell.voids("borlange", ORDERS)
        headers, data = read_topic(self.brokers["borlange"], ORDERS)[1][1:]
        # While it does not run, its log grows by what a mirror would repeat.
        self.nodes["borlange"].pause()
        produce(self.brokers["borlange"], ORDERS, headers, data, copies=MANY)
        self.nodes["borlange"].resume()
        lag = eventually(lambda: self.lag("borlange"), 60, "borlange says that it is behind", pause=0)
        self.assertLessEqual(lag, MANY)
        self.assertEqual(self.lag("paris"), 0)
        eventually(lambda: self.lag("borlange") == 0, 120, "borlange has caught up")
        self.assertEqual(int(self.shell.streams("borlange")[ORDERS].get("lagRecords", 0)), 0)
        self.assertEqual(self.shell.heads("borlange")[ORDERS], head)
        self.assertEqual(self.shell.voids("borlange", ORDERS), {**voids, "stale": voids.get("stale", 0) + MANY})
        told = Metrics(self.nodes["borlange"].doors["borlange"]["http"])
        self.assertEqual(told.total("concordat_projection_lag_records", stream=ORDERS), 0)
        self.assertEqual(told.by("reason", "concordat_void_records_total", stream=ORDERS),
                         self.shell.voids("borlange", ORDERS))

    def lag(self, site):
        """What the column LAG says of the stream at a site."""
        rows = [line.split() for line in self.shell("status").out.splitlines()]
        titles = next(row for row in rows if row[:2] == ["AT", "STREAM"])
        return next(int(row[titles.index("LAG")]) for row in rows if row[:2] == [site, ORDERS])

    def test_an_event_that_no_release_here_can_read_stops_its_readers_and_loses_nothing(self):
        for service, data, kind in (("inventory", b"\xff\xff\xff", "bytes that are no event"),
                                    ("deployment", bytes([0xfa, 0x3f, 2]) + b"hi", "an event of a later release")):
            with self.subTest(kind):
                self.check_unreadable(stream("paris", service), data)

    def check_unreadable(self, topic, data):
        # Paris will not answer.
        shell = Shell(self.cluster, {"borlange": {"address": self.addresses["borlange"]}}, name="borlange-shell")
        head, state = shell.heads("borlange")[topic], digests(self.addresses["borlange"])[topic]
        records = read_topic(self.brokers["paris"], topic)
        newer = child(records[-1][1], len(records), data, ce_type="concordat.inventory.v1.ServerPainted",
                      ce_dataschema="urn:concordat:schema:concordat.%s.v1.Event" % topic.split(".")[1])
        produce(self.brokers["paris"], topic, newer, data)
        # Borlange's replica stops before it, says why, and serves what it has.
        alarm = eventually(lambda: shell.streams("borlange")[topic].get("alarm"), 30, f"an alarm about {topic}")
        self.assertIn(f"the event at sequence {len(records)} ", alarm)
        self.assertIn("cannot be read by this release", alarm)
        self.assertEqual(shell.heads("borlange")[topic], head)
        self.assertEqual(digests(self.addresses["borlange"])[topic], state)
        # So does the writer, at the latest when it starts again: it decides nothing on half a state.
        self.nodes["paris"].kill()
        self.nodes["paris"].launch()
        self.assertEqual(self.nodes["paris"].ends(), 1)
        self.assertIn("cannot be read by this release", self.nodes["paris"].said())
        # An ordinary subscriber needs no release: the event is the stream's head.
        lines, summary = follow(self.brokers["paris"], topic)
        self.assertEqual(summary["head"]["link"], newer["ce_id"].decode())
        # The bytes went into the archive, which reads none of them.
        archived = rpc(self.addresses["borlange"], "concordat.node.v1.NodeService/GetLink",
                       {"stream": topic, "sequence": len(records)})
        self.assertEqual(archived["link"], newer["ce_id"].decode())
        self.assertEqual([headers for _, headers, _ in read_topic(self.brokers["paris"], topic)],
                         [headers for _, headers, _ in records] + [newer])


class Guards(Kafka):
    sites = ("paris",)

    def refuses(self):
        """Starts paris and expects it to end; what it said."""
        node = self.nodes["paris"].launch()
        self.assertEqual(node.ends(), 1, node.said())
        return node.said()

    def test_a_topic_that_forgets_is_not_written(self):
        topic = stream("paris", "compliance")
        for setting, wrong, right in (("retention.ms", "3600000", "-1"), ("retention.bytes", "1000000", "-1"),
                                      ("cleanup.policy", "compact", "delete"), ("flush.messages", "100", "1")):
            with self.subTest(setting):
                self.cluster.topic(self.brokers["paris"], "--alter", topic, "--config", f"{setting}={wrong}")
                self.assertIn(f"topic {topic}: {setting} is {wrong}, expected {right}", self.refuses())
                self.cluster.topic(self.brokers["paris"], "--alter", topic, "--config", f"{setting}={right}")
        self.nodes["paris"].start()

    def test_a_log_that_lost_what_was_answered_is_filled_from_the_archive_or_not_written(self):
        node, broker = self.nodes["paris"].start(), self.brokers["paris"]
        story.open_site(self.shell, "paris")
        self.order("a01", "a02", "a03")
        node.stop()
        links = self.links(broker)
        self.replace(broker)
        node.start()
        self.assertIn("that the log had lost were fetched from paris's own archive", node.said())
        self.assertEqual(self.links(broker)[:len(links)], links)
        self.order("a04")
        node.stop()

        # Where nobody has the history any more, nothing is written in its place.
        self.replace(broker)
        kept = node.data / "kept"
        shutil.move(node.data / "paris", kept)
        (node.data / "paris").mkdir()
        shutil.copytree(kept / ORDERS, node.data / "paris" / ORDERS)
        said = self.refuses()
        self.assertIn(f"{ORDERS}: the projection holds the event at sequence", said)
        self.assertIn("docs/runbooks/ConcordatLogLost.md", said)
        self.assertEqual(read_topic(broker, ORDERS), [])

    def test_another_history_at_the_same_place_is_not_taken_for_the_own(self):
        node, broker = self.nodes["paris"].start(), self.brokers["paris"]
        story.open_site(self.shell, "paris")
        self.order("a01", "a02", "a03")
        node.stop()
        self.replace(broker)
        kept = node.data / "kept"
        shutil.move(node.data / "paris", kept)
        node.start()
        story.open_site(self.shell, "paris")
        self.order("b01", "b02", "b03", "b04")
        node.stop()
        records = read_topic(broker, ORDERS)
        shutil.rmtree(node.data / "paris")
        shutil.move(kept, node.data / "paris")
        self.assertRegex(self.refuses(), "docs/runbooks/Concordat(LogLost|HomeForked).md")
        self.assertEqual(read_topic(broker, ORDERS), records)

    def test_a_fresh_broker_under_an_old_disk_is_filled_from_its_archive(self):
        node = self.nodes["paris"].start()
        story.open_site(self.shell, "paris")
        node.stop()
        links = {service: self.links(self.brokers["paris"], service) for service in SERVICES}
        self.brokers["paris"].release()
        shutil.rmtree(self.cluster.folder / "broker-paris" / "data")
        self.brokers["paris"].start()
        node.start()
        for service, before in links.items():
            self.assertEqual(self.links(self.brokers["paris"], service)[:len(before)], before, service)

    def replace(self, broker):
        self.cluster.topic(broker, "--delete", ORDERS)
        self.cluster.topic(broker, "--create", ORDERS)

    def links(self, broker, service="inventory"):
        return [headers["ce_id"] for _, headers, _ in read_topic(broker, stream("paris", service))]


if __name__ == "__main__":
    unittest.main()
