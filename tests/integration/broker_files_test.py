"""Two sites with a process and a broker each, the mirror between them, and what becomes of the brokers' files while
the services are stopped: cut short, flipped bits, another topic's files, yesterday's backup.

The outcome is always one of three: filled again from the other site over the network, folded anew, or a refusal that
says what to do. An answer that was given stays true.
"""
import shutil
import unittest

import story
from cluster import SERVICES, eventually, stream
from mirror_test import forget_progress, prepare, start_pair

SITES = ("paris", "borlange")
INVENTORY = "paris.inventory.events"
SEGMENT = "00000000000000000000.log"
# Of a batch of records as Kafka stores it: what stands before the bytes that its checksum covers.
UNCHECKED = 21


class BrokerFiles(unittest.TestCase):
    """Each test leaves both sites whole and equal, and the next one goes on with them."""

    @classmethod
    def setUpClass(cls):
        prepare(cls, SITES, cls.addClassCleanup)
        start_pair(cls, 1000)
        for site in SITES:
            story.open_site(cls.shell, site)
        cls.answers = {}

    def setUp(self):
        self.ask(4)
        self.equal()

    # What was answered is kept here, outside of the services.
    def ask(self, count):
        names = [f"s{len(self.answers) + i:03}" for i in range(count)]
        self.answers.update(zip(names, self.order_all(names)))

    def order_all(self, names):
        return story.order_all(self.addresses["paris"], "paris", names)

    def equal(self):
        self.assertIn("heads equal, digests equal", self.shell("verify", "--wait", "90s").out)

    def nothing_lost(self):
        """Everything that was answered is there once, with the first answer, and both sites agree."""
        self.equal()
        self.assertEqual(self.order_all(self.answers), [{**answer, "repeated": True} for answer in self.answers.values()])
        self.ask(2)
        self.equal()
        self.assertIn("digests equal", self.shell("verify", "--deep").out)

    def stop(self, site, kill_broker=False):
        """A broker that is killed looks through its last segment when it starts; one that was stopped does not."""
        self.nodes[site].stop()
        if kill_broker:
            self.brokers[site].kill()
        else:
            self.brokers[site].release()

    def start(self, site):
        self.brokers[site].start()
        return self.nodes[site].start()

    def refusal(self, site):
        """Starts a site that is expected to refuse: what it said."""
        self.brokers[site].start()
        self.nodes[site].launch()
        self.assertEqual(self.nodes[site].ends(90), 1, self.nodes[site].said())
        return self.nodes[site].said()

    def broker_dir(self, site):
        return self.cluster.folder / f"broker-{site}" / "data"

    def topic_dir(self, site, topic):
        return self.broker_dir(site) / f"{topic}-0"

    def segment(self, site, topic=INVENTORY):
        return self.topic_dir(site, topic) / SEGMENT

    def batches(self, path):
        """(begin, end) of each batch in a segment."""
        data = path.read_bytes()
        found, begin = [], 0
        while begin + 12 <= len(data) and data[begin + 8:begin + 12] != bytes(4):
            end = begin + 12 + int.from_bytes(data[begin + 8:begin + 12], "big")
            found.append((begin, end))
            begin = end
        return found

    def change(self, path, edit):
        """Changes a segment's bytes; what the broker knows besides, it makes anew from them."""
        data = bytearray(path.read_bytes())
        path.write_bytes(edit(data))
        for other in path.parent.iterdir():
            if other.suffix in (".index", ".timeindex", ".snapshot"):
                other.unlink()

    def flip(self, path, at):
        """One bit. The broker keeps its indices, so it does not look through the file."""
        data = bytearray(path.read_bytes())
        data[at] ^= 4
        path.write_bytes(data)

    def forget(self, site, *streams):
        """Deletes what a site made from its logs: the projections, or those named, and the archive."""
        folder = self.nodes[site].data / site
        for name in streams or [path.name for path in folder.iterdir()]:
            shutil.rmtree(folder / name)
        shutil.rmtree(folder / "archive", ignore_errors=True)

    def make_anew(self, site, topic=INVENTORY):
        """The topic, as the runbooks have it; its mirror begins at the beginning."""
        mirrored = [] if topic.startswith(site) else ["--mirrored"]
        self.cluster.topic(self.brokers[site], "--delete", topic)
        self.cluster.topic(self.brokers[site], "--create", topic, *mirrored)

    def carry_anew(self):
        """The mirror forgets how far it has carried what."""
        self.mirror.release()
        forget_progress(self)
        self.mirror.start()

    def make_copy_anew(self):
        """Borlänge's copy of the inventory, and what was made from it."""
        self.nodes["borlange"].stop()
        self.make_anew("borlange")
        self.forget("borlange", INVENTORY, "borlange.reservations.events")
        self.nodes["borlange"].start()
        self.carry_anew()


class Cut(BrokerFiles):
    def test_a_log_cut_short_is_filled_from_the_other_process_over_the_network(self):
        self.stop("paris")
        # Half of it, in the middle of a batch; and what the site made of it is gone too.
        batches = self.batches(self.segment("paris"))
        middle = sum(batches[len(batches) // 2]) // 2
        self.change(self.segment("paris"), lambda data: data[:middle])
        self.forget("paris")
        self.start("paris")
        self.assertRegex(self.nodes["paris"].said(),
                         f"{INVENTORY}: [0-9]+ events that the log had lost were fetched from borlange")
        self.assertEqual(self.shell.streams("paris")[INVENTORY]["homeCheck"], "whole")
        self.nothing_lost()

    def test_a_log_whose_end_was_lost_with_the_power_is_filled_under_a_whole_projection(self):
        self.stop("paris", kill_broker=True)
        batches = self.batches(self.segment("paris"))
        self.change(self.segment("paris"), lambda data: data[:batches[-3][0] + 30])
        self.start("paris")
        self.assertRegex(self.nodes["paris"].said(), "events that the log had lost were fetched from")
        self.nothing_lost()

    def test_a_copy_cut_short_is_not_brought_up_to_date_until_it_is_made_anew(self):
        self.mirror.release()
        self.stop("borlange")
        batches = self.batches(self.segment("borlange"))
        self.change(self.segment("borlange"), lambda data: data[:batches[-2][0]])
        self.start("borlange")
        alarm = eventually(lambda: self.shell.streams("borlange")[INVENTORY].get("alarm"), 60, "an alarm about the copy")
        self.assertIn("delete it and start again", alarm)
        # What it shows is what was true.
        self.assertEqual(self.shell.get("server", "sites/paris/servers/s000", site="borlange")["state"],
                         "SERVER_STATE_ORDERED")
        self.make_copy_anew()
        self.nothing_lost()


class Yesterday(BrokerFiles):
    def setUp(self):
        super().setUp()
        self.stop("paris")
        self.kept = self.cluster.folder / f"kept-{len(self.answers)}"
        for name, folder in self.folders():
            shutil.copytree(folder, self.kept / name)
        self.start("paris")
        self.ask(6)
        self.equal()

    def folders(self):
        return (("broker", self.broker_dir("paris")), ("data", self.nodes["paris"].data / "paris"))

    def put_back(self):
        for name, folder in self.folders():
            shutil.rmtree(folder)
            shutil.copytree(self.kept / name, folder)

    def test_a_site_from_yesterdays_backup_is_filled_with_what_the_other_has_seen(self):
        self.stop("paris")
        self.put_back()
        self.start("paris")
        self.assertRegex(self.nodes["paris"].said(),
                         f"{INVENTORY}: [0-9]+ events that the log had lost were fetched from borlange")
        self.nothing_lost()

    def test_a_site_that_wrote_on_from_a_backup_is_not_written_and_the_runbook_mends_it(self):
        self.mirror.release()
        self.stop("paris")
        self.put_back()
        # It cannot ask anybody, because its configuration names nobody.
        node = self.nodes["paris"]
        together = node.config
        node.config = dict(together, sites=[site for site in together["sites"] if site["name"] == "paris"])
        self.start("paris")
        self.shell("order", "server", "lonely", "--site", "paris", "--model", story.MODEL, "--supplier", "nvidia",
                   "--promised-time", "2027-06-01")
        self.stop("paris")
        node.config = together
        said = self.refusal("paris")
        self.assertIn("the history has split", said)
        self.assertIn("docs/runbooks/ConcordatHomeForked.md", said)
        for service in SERVICES:
            self.make_anew("paris", stream("paris", service))
        self.forget("paris")
        node.start()
        self.assertRegex(node.said(), "events that the log had lost were fetched from borlange")
        self.carry_anew()
        self.nothing_lost()
        self.assertEqual(self.shell.run("get", "server", "lonely", "--site", "paris").code, 3)


class Swapped(BrokerFiles):
    def test_another_streams_records_under_a_topics_name_are_void_and_the_log_is_filled_behind_them(self):
        self.stop("paris")
        records = self.segment("paris", "borlange.inventory.events").read_bytes()
        self.change(self.segment("paris"), lambda _: records)
        said = self.refusal("paris")
        self.assertIn("the log had lost events and was filled again", said)
        self.assertRegex(said, "delete [^ ]*/paris.inventory.events and the site's archive, and start again")
        self.forget("paris")
        self.nodes["paris"].start()
        self.carry_anew()
        self.assertGreater(self.shell.voids("paris", INVENTORY)["corrupt"], 0)
        self.nothing_lost()
        # With nothing at home that knows better, the other site does.
        self.stop("paris")
        records = self.segment("paris", "paris.compliance.events").read_bytes()
        self.change(self.segment("paris"), lambda _: records)
        self.forget("paris")
        self.start("paris")
        self.assertRegex(self.nodes["paris"].said(),
                         f"{INVENTORY}: [0-9]+ events that the log had lost were fetched from borlange")
        self.carry_anew()
        self.nothing_lost()

    def test_a_topic_that_was_deleted_and_made_again_is_filled_over_the_network(self):
        self.nodes["paris"].stop()
        for service in SERVICES:
            self.make_anew("paris", stream("paris", service))
        self.forget("paris")
        self.nodes["paris"].start()
        for service in SERVICES:
            self.assertRegex(self.nodes["paris"].said(),
                             f"{stream('paris', service)}: [0-9]+ events that the log had lost were fetched from borlange")
        self.nothing_lost()


class FlippedBits(BrokerFiles):
    def test_a_broker_that_finds_them_itself_cuts_its_log_which_is_filled(self):
        self.stop("paris", kill_broker=True)
        begin, _ = self.batches(self.segment("paris"))[-4]
        self.flip(self.segment("paris"), begin + UNCHECKED + 60)
        self.start("paris")
        self.assertRegex(self.nodes["paris"].said(), "events that the log had lost were fetched from")
        self.nothing_lost()

    def test_in_the_last_events_they_are_refused_and_the_topic_is_made_anew(self):
        self.stop("paris")
        begin, _ = self.batches(self.segment("paris"))[-1]
        self.flip(self.segment("paris"), begin + UNCHECKED + 60)
        said = self.refusal("paris")
        self.assertIn("bits have changed", said)
        self.assertIn("docs/runbooks/ConcordatLogLost.md", said)
        self.make_anew("paris")
        self.forget("paris")
        self.nodes["paris"].start()
        self.carry_anew()
        self.nothing_lost()

    def test_in_the_middle_they_are_found_by_whoever_reads_the_log_again(self):
        self.stop("paris")
        begin, _ = self.batches(self.segment("paris"))[3]
        self.flip(self.segment("paris"), begin + UNCHECKED + 60)
        # What was folded before is right, and is not read again.
        self.start("paris")
        self.assertEqual(self.order_all(["s000"]), [{**self.answers["s000"], "repeated": True}])
        found = self.shell.run("verify", "--deep")
        self.assertNotEqual(found.code, 0, found)
        self.assertIn("bits have changed", found.out + found.err)
        self.stop("paris")
        self.forget("paris")
        self.assertIn("bits have changed", self.refusal("paris"))
        self.make_anew("paris")
        self.nodes["paris"].start()
        self.carry_anew()
        self.nothing_lost()

    def test_in_a_copy_they_stop_what_is_made_from_it(self):
        # Borlange's broker gets records while nobody reads them there.
        self.nodes["borlange"].stop()
        before = len(self.batches(self.segment("borlange")))
        self.ask(3)
        eventually(lambda: len(self.batches(self.segment("borlange"))) > before, 60, "the mirror has carried something")
        self.mirror.release()
        self.brokers["borlange"].release()
        begin, _ = self.batches(self.segment("borlange"))[before]
        self.flip(self.segment("borlange"), begin + UNCHECKED + 60)
        self.start("borlange")
        head = self.shell.heads("borlange")[INVENTORY][0]
        alarm = eventually(lambda: self.shell.streams("borlange")[INVENTORY].get("alarm"), 60, "an alarm about the copy")
        self.assertIn("bits have changed", alarm)
        self.assertLess(head, self.shell.heads("paris")[INVENTORY][0])
        self.make_copy_anew()
        self.nothing_lost()


if __name__ == "__main__":
    unittest.main()
