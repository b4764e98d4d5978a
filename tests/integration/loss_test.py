"""What disks do: a log or a whole site from yesterday's backup, a history that split, flipped bits, changed rows.

The outcome is always one of three: folded anew from the log, filled again from the other site, or a refusal that
says what to do. An answer that was given stays true.
"""
import random
import shutil
import subprocess
import time
import unittest

import story
from cluster import Cluster, Shell, binary, digests, eventually

SITES = ("paris", "borlange")
INVENTORY = "paris.inventory.events"


class Loss(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()
        self.addCleanup(self.cluster.close)
        config, self.addresses = story.embedded(self.cluster)
        self.node = self.cluster.node("node", config).start()
        self.shell = Shell(self.cluster, {site: {"address": address} for site, address in self.addresses.items()})
        for site in SITES:
            story.open_site(self.shell, site)
        self.ordered = {}
        self.order(5)

    def order(self, count, site="paris"):
        """Orders servers; what was answered is kept here, outside of the services."""
        for _ in range(count):
            name = f"s{len(self.ordered):03}"
            self.ordered[name] = (site, self.ask(site, name))

    def ask(self, site, name, code=0):
        return self.shell.json("order", "server", name, "--site", site, "--model", story.MODEL, "--supplier", "nvidia",
                               "--promised-time", "2027-06-01", "--request-id", f"order-{name}", code=code)

    def equal(self):
        self.assertIn("heads equal, digests equal", self.shell("verify", "--wait", "30s").out)

    def nothing_lost(self):
        """Everything that was answered is there once, with the first answer, and both sites agree."""
        self.equal()
        for name, (site, answer) in self.ordered.items():
            self.assertEqual(self.ask(site, name), {**answer, "repeated": True}, name)
        self.order(2)
        self.equal()
        self.assertIn("digests equal", self.shell("verify", "--deep").out)

    def folder(self, *parts):
        return self.node.data.joinpath(*parts)

    def keep(self, *parts):
        shutil.copytree(self.folder(*parts), self.cluster.folder.joinpath("kept", *parts))

    def put_back(self, *parts):
        shutil.rmtree(self.folder(*parts))
        shutil.copytree(self.cluster.folder.joinpath("kept", *parts), self.folder(*parts))

    def refusal(self):
        """Starts a node that is expected to refuse: what it said."""
        self.node.launch()
        self.assertEqual(self.node.ends(), 1)
        return self.node.said()


class OlderDisks(Loss):
    def yesterday_and_more(self, *parts):
        self.equal()
        self.node.stop()
        self.keep(*parts)
        self.node.start()
        self.order(20)
        self.equal()
        self.node.stop()
        self.put_back(*parts)

    def test_a_site_from_yesterdays_backup_is_filled_from_the_other(self):
        self.yesterday_and_more("paris")
        self.node.start()
        self.assertRegex(self.node.said(), "events that the log had lost were fetched from borlange")
        self.assertEqual(self.shell.streams("paris")[INVENTORY]["homeCheck"], "whole")
        self.nothing_lost()

    def test_a_log_from_yesterdays_backup_under_whole_projections_is_filled(self):
        self.yesterday_and_more("paris", "log")
        self.node.start()
        self.assertRegex(self.node.said(), "events that the log had lost were fetched from (paris's own archive|borlange)")
        self.nothing_lost()

    def test_a_lost_log_is_filled(self):
        self.equal()
        self.node.stop()
        for stream in ("log", "archive", *story.all_streams()):
            shutil.rmtree(self.folder("paris", stream))
        self.node.start()
        self.nothing_lost()

    def test_projections_from_yesterdays_backup_are_folded_on(self):
        self.yesterday_and_more("paris", INVENTORY)
        self.node.start()
        self.nothing_lost()

    def test_a_history_that_split_is_not_written_and_the_message_says_what_to_do(self):
        self.equal()
        self.node.stop()
        self.keep("paris")
        self.node.start()
        self.order(5)
        self.equal()
        self.node.stop()
        self.put_back("paris")
        # Paris writes on from the backup where it cannot ask anybody.
        alone = self.cluster.node("alone", dict(self.node.config, sites=[self.node.config["sites"][0]])).start()
        shell = Shell(self.cluster, {"paris": {"address": self.addresses["paris"]}}, name="alone")
        shell("order", "server", "lonely", "--model", story.MODEL, "--supplier", "nvidia", "--promised-time", "2027-06-01")
        alone.stop()
        said = self.refusal()
        self.assertIn("the history has split", said)
        self.assertIn("docs/runbooks/ConcordatHomeForked.md", said)
        # As the runbook has it: the home's branch is set aside, and the log is filled from the other site.
        shutil.move(self.folder("paris"), self.cluster.folder / "aside")
        self.node.start()
        self.nothing_lost()
        self.assertEqual(self.shell.run("get", "server", "lonely").code, 3, "it was never seen by borlange")


class Rot(Loss):
    def largest(self, *parts):
        files = [path for path in self.folder(*parts).iterdir() if path.suffix in (".sst", ".log")]
        return max(files, key=lambda path: path.stat().st_size)

    def flip(self, path, random_source, count=20):
        data = bytearray(path.read_bytes())
        for _ in range(count):
            data[random_source.randrange(len(data))] ^= 1 << random_source.randrange(8)
        path.write_bytes(data)

    def answers(self):
        return {name: self.shell.get("server", name, site=site) for name, (site, _) in self.ordered.items()}

    def test_flipped_bits_in_a_projection_are_told_and_cost_a_rebuild(self):
        self.equal()
        expected = self.answers()
        for seed in range(6):
            with self.subTest(seed=seed):
                self.node.stop()
                self.flip(self.largest("paris", INVENTORY), random.Random(seed))
                self.node.launch()
                try:
                    self.node.wait_ready()
                    # A block that is not read yet: what is answered is right, or an error.
                    for name, (site, _) in self.ordered.items():
                        found = self.shell.run("get", "server", name, "--site", site, "-o", "json")
                        self.assertTrue(found.code != 0 or found.json == expected[name], found)
                    if self.node.alive():
                        self.shell.run("verify")
                    if self.node.alive():
                        self.node.stop()
                except AssertionError:
                    self.assertFalse(self.node.alive())
                if self.node.process.returncode:
                    self.assertRegex(self.node.said(), "delete (it|[^ ]*/paris.inventory.events)")
                shutil.rmtree(self.folder("paris", INVENTORY))
                self.node.start()
                self.equal()
                self.assertEqual(self.answers(), expected)
        self.nothing_lost()

    def test_flipped_bits_in_the_log_are_refused_and_it_is_filled_from_the_other_site(self):
        self.equal()
        self.node.stop()
        self.flip(self.largest("paris", "log"), random.Random(1), count=200)
        self.node.launch()
        try:
            self.node.wait_ready()
            self.fail(f"a log with flipped bits was taken: {self.node.said()[-2000:]}")
        except AssertionError as error:
            self.assertFalse(self.node.alive(), error)
        self.assertRegex(self.node.said(), "[Cc]orrupt|cannot open the log")
        for part in ("log", "archive", *story.all_streams()):
            shutil.rmtree(self.folder("paris", part))
        self.node.start()
        self.nothing_lost()

    def test_a_file_cut_short_is_told(self):
        self.equal()
        self.node.stop()
        path = self.largest("paris", INVENTORY)
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size // 2)
        said = self.refusal_or_dead()
        self.assertRegex(said, "delete (it|[^ ]*/paris.inventory.events)")
        shutil.rmtree(self.folder("paris", INVENTORY))
        self.node.start()
        self.nothing_lost()

    def refusal_or_dead(self):
        self.node.launch()
        deadline = time.monotonic() + 60
        while self.node.alive() and time.monotonic() < deadline:
            self.shell.run("verify")
        self.assertFalse(self.node.alive())
        return self.node.said()

    def test_a_row_changed_with_its_digest_is_found_by_folding_again(self):
        self.equal()
        self.node.stop()
        for site in SITES:  # at both, so that comparing them tells nothing
            subprocess.run([binary("TAMPER_ROW"), self.folder(site, INVENTORY), "servers", "nvidia", "nvidiA", "digest"],
                           check=True, stdout=subprocess.PIPE)
        self.node.start()
        self.equal()
        found = self.shell("verify", "--deep", code=7).out
        self.assertIn(f"{INVENTORY} table servers at paris: rows as stored have digest", found)
        self.assertIn("folded again from the log", found)
        self.node.stop()
        for site in SITES:
            shutil.rmtree(self.folder(site, INVENTORY))
        self.node.start()
        self.nothing_lost()


class Snapshots(Loss):
    def take(self, *words):
        lines = self.shell("snapshot", *words, "--no-headers").out.splitlines()
        return {line.split()[0]: line.split()[-1] for line in lines}

    def restore(self, folder, code=0):
        done = subprocess.run([binary("CONCORDATD"), "--config", str(self.node.path), "--restore", folder],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def test_a_snapshot_is_put_back_with_its_head_and_digest_and_goes_on(self):
        taken = self.take()
        self.assertEqual(set(taken), set(story.all_streams()))
        self.order(10)
        self.assertEqual(self.take(INVENTORY).keys(), {INVENTORY})
        self.node.stop()
        self.assertIn("there is a projection", self.restore(taken[INVENTORY], code=1))
        shutil.rmtree(self.folder("paris", INVENTORY))
        self.assertIn("again", self.restore(taken[INVENTORY]))
        self.node.start()
        self.assertNotIn("records folded", self.node.said())
        self.nothing_lost()

    def test_a_snapshot_with_flipped_bits_is_not_put_back(self):
        taken = self.take(INVENTORY)
        self.node.stop()
        shutil.rmtree(self.folder("paris", INVENTORY))
        self.flip_all(taken[INVENTORY])
        self.assertRegex(self.restore(taken[INVENTORY], code=1), "cannot|do not use it")
        self.assertFalse(self.folder("paris", INVENTORY).exists())
        self.node.start()
        self.nothing_lost()

    def flip_all(self, folder):
        for path in self.folder(folder).glob("*.sst"):
            data = bytearray(path.read_bytes())
            data[len(data) // 3] ^= 4
            path.unlink()  # it shares its bytes with the projection's
            path.write_bytes(data)

    def test_sites_attest_their_state_and_stop_when_nothing_happens(self):
        self.shell("clock", "advance", "2h")

        def attested():
            events = self.shell("watch", INVENTORY, "--from", "0", "--until-head", "-o", "json").out
            return events.count("concordat.system.v1.StateAttested")
        eventually(lambda: attested() >= 1, what="an attestation")
        self.equal()
        before = digests(self.addresses["paris"])
        for _ in range(3):
            self.shell("clock", "advance", "2h")
            self.equal()
        heads = self.shell.heads("paris")
        self.shell("clock", "advance", "2h")
        self.equal()
        self.assertEqual(self.shell.heads("paris"), heads, "idle sites attest nothing anew")
        self.assertEqual(digests(self.addresses["paris"]), before)


if __name__ == "__main__":
    unittest.main()
