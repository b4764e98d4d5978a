"""The power goes: what was written and not synced is gone with it, as kill -9 alone never shows.

Services and broker run with tests/torture/synced.cc between them and the disk. They are killed while clients work,
each of their files is cut to what was synced of it, and they start again. What was answered is there once, and all
sites agree.
"""
import contextlib
import itertools
import mmap
import os
import random
import struct
import sys
import unittest
from collections import Counter
from pathlib import Path

import story
from cluster import BUILD, SERVICES, Cluster, Shell, eventually, stream
from kafka_kill_test import Load
from loss_test import watched

ROUNDS = 6
KAFKA_ROUNDS = 3
ANSWERED_BETWEEN = 200
SYNCED = Path(os.environ.get("SYNCED", BUILD / "tests" / "torture" / "libsynced.so"))


class Disk:
    """The disk under some processes, which forgets what they did not sync."""

    SLOTS, SLOT = 1 << 16, struct.Struct("<QQ")

    def __init__(self, cluster):
        self.table = cluster.folder / "synced"
        self.table.write_bytes(bytes(self.SLOTS * self.SLOT.size))
        self.environment = {"LD_PRELOAD": str(SYNCED), "CONCORDAT_SYNCED": str(self.table),
                            "ASAN_OPTIONS": "verify_asan_link_order=0"}
        self.wrapper = ["env", *(f"{name}={value}" for name, value in self.environment.items())]

    @contextlib.contextmanager
    def under_what_is_started(self):
        kept = dict(os.environ)
        os.environ.update(self.environment)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(kept)

    def lengths(self):
        """{key of a file: how many of its bytes were synced}"""
        return {key: synced for key, synced in self.SLOT.iter_unpack(self.table.read_bytes()) if key}

    def synced(self, path):
        """How many bytes of a file were."""
        return self.synced_of(path.stat(), self.lengths())

    def write_back(self, folder):
        """Half a minute passes in which nobody writes: the kernel brings to the disk whatever is there."""
        with open(self.table, "r+b") as file, mmap.mmap(file.fileno(), 0) as table:
            for path in (path for path in folder.rglob("*") if path.is_file()):
                found = path.stat()
                key = self.key_of(found)
                at = next(at % self.SLOTS for at in itertools.count(key * 0x9E3779B97F4A7C15 % 2**64)
                          if self.SLOT.unpack_from(table, at % self.SLOTS * self.SLOT.size)[0] in (0, key))
                self.SLOT.pack_into(table, at * self.SLOT.size, key, found.st_size)

    @staticmethod
    def key_of(found):
        return (found.st_dev << 48) % 2**64 ^ found.st_ino

    @staticmethod
    def synced_of(found, lengths):
        return lengths.get(Disk.key_of(found), 0)

    def lose_power(self, *folders):
        """Cuts every file to what was synced of it: {path: bytes that are gone}. Nobody may use them."""
        lengths, lost = self.lengths(), {}
        for path in (path for folder in folders for path in folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            found = path.stat()
            safe = self.synced_of(found, lengths)
            if found.st_size > safe:
                os.truncate(path, safe)
                lost[path] = found.st_size - safe
        return lost


class PowerLoss(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()
        self.addCleanup(self.cluster.close)
        self.disk = Disk(self.cluster)
        self.lost = Counter()  # bytes, by the kind of file

    def kept(self, load, stream_name, site):
        """Compares what a load's callers were told with the stream."""
        answers = load.answers()
        unknown = [number for number, answer in answers.items() if answer[0] == "unknown"]
        known = {number: answer for number, answer in answers.items() if answer[0] != "unknown"}
        again = load.ask_again(unknown + random.Random(1).sample(sorted(known), 50))
        self.assertNotIn("unknown", {answer[0] for answer in again.values()})
        for number, answer in again.items():
            self.assertEqual(answer, known.get(number, answer), f"the second answer to load-{number}")
        accepted, times = {}, Counter()
        for event in watched(self.shell, stream_name, site):
            accepted[event["link"]] = event["sequence"]
            times[event["commandId"]] += event["commandId"].startswith("load-")
        for number, (_, sequence, link) in {**again, **known}.items():
            self.assertEqual(accepted.get(link), sequence, f"load-{number} was answered and is not in {stream_name}")
        self.assertEqual({command: count for command, count in times.items() if count > 1}, {}, "decided twice")
        return len(known)

    def lose_power(self, *folders):
        for path, count in self.disk.lose_power(*folders).items():
            self.lost[path.suffix or path.name.split("-")[0]] += count

    def check(self, loads):
        """`loads`: {(site, service): load}"""
        answered = sum(self.kept(load, stream(site, service), site) for (site, service), load in loads.items())
        print(f"{answered} answered commands; lost with the power: {dict(self.lost)}", file=sys.stderr)
        self.assertGreater(sum(self.lost.values()), 0, "nothing was ever cut, so nothing was tried")


class Embedded(PowerLoss):
    def setUp(self):
        super().setUp()
        config, self.addresses = story.embedded(self.cluster)
        self.node = self.cluster.node("node", config, self.disk.wrapper).start()
        self.shell = Shell(self.cluster, {site: {"address": address} for site, address in self.addresses.items()})
        for site in self.addresses:
            story.open_site(self.shell, site)

    def test_what_was_answered_is_there_after_power_losses_and_both_sites_agree(self):
        loads = {("paris", "inventory"): Load(self.cluster, "inventory", self.addresses["paris"]),
                 ("borlange", "reservations"): Load(self.cluster, "reservations", self.addresses["borlange"])}
        for _ in range(ROUNDS):
            goals = {load: load.acknowledged() + ANSWERED_BETWEEN for load in loads.values()}
            for load, goal in goals.items():
                eventually(lambda: load.acknowledged() >= goal, 90, f"{ANSWERED_BETWEEN} more commands are answered")
            self.node.kill()
            self.lose_power(self.node.data)
            self.node.start()
        for load in loads.values():
            load.stop()
        self.assertIn("heads equal, digests equal", self.shell("verify", "--wait", "60s").out)
        self.check(loads)
        self.assertIn("digests equal", self.shell("verify", "--deep").out)

    def test_the_disk_forgets_what_the_log_did_not_sync(self):
        """The other test is as good as this: the log's file is known, and what comes behind its end is not kept."""
        story.order_server(self.shell, "paris", "s-1")
        self.node.kill()
        log = max(self.node.data.joinpath("paris", "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        self.assertGreater(self.disk.synced(log), 0)
        safe = log.read_bytes()[:self.disk.synced(log)]
        with open(log, "ab") as file:
            file.write(b"not synced")
        self.assertGreaterEqual(self.disk.lose_power(self.node.data)[log], len("not synced"))
        self.assertEqual(log.read_bytes(), safe)
        self.node.start()
        self.assertEqual(self.shell.get("server", "s-1", site="paris")["state"], "SERVER_STATE_ORDERED")


class Kafka(PowerLoss):
    """A broker that syncs each record before it acknowledges it, `flush.messages=1`."""

    def setUp(self):
        super().setUp()
        self.broker = self.cluster.broker("paris", sites=("paris",))
        self.start_broker()
        # The broker does not sync what it is formatted with, and cannot start without it.
        self.disk.write_back(self.broker_data())
        address = self.cluster.address()
        self.node = self.cluster.node("node", {
            "profile": "demo", "log": "kafka", "data_dir": str(self.cluster.folder / "data"),
            "sites": [{"name": "paris", "grpc": address, "kafka": self.broker.bootstrap}]}, self.disk.wrapper).start()
        self.shell = Shell(self.cluster, {"paris": {"address": address}})
        story.open_site(self.shell, "paris")
        self.loads = {("paris", service): Load(self.cluster, service, address) for service in SERVICES[:2]}

    def broker_data(self):
        return self.cluster.folder / "broker-paris" / "data"

    def start_broker(self):
        with self.disk.under_what_is_started():
            self.broker.start()

    def test_what_was_answered_is_there_after_power_losses_under_broker_and_services(self):
        for _ in range(KAFKA_ROUNDS):
            goals = {load: load.acknowledged() + ANSWERED_BETWEEN for load in self.loads.values()}
            for load, goal in goals.items():
                eventually(lambda: load.acknowledged() >= goal, 90, f"{ANSWERED_BETWEEN} more commands are answered")
            self.broker.kill()
            self.node.kill()
            self.lose_power(self.broker_data(), self.node.data)
            self.start_broker()
            self.node.start()
        for load in self.loads.values():
            load.stop()
        self.check(self.loads)
        self.assertIn("rows equal to their digests", self.shell("verify", "--deep").out)


if __name__ == "__main__":
    unittest.main()
