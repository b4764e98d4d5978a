"""What disks do: a log or a whole site from yesterday's backup, a history that split, flipped bits, changed rows.

The outcome is always one of three: folded anew from the log, filled again from the other site, or a refusal that
says what to do. An answer that was given stays true.
"""
import json
import random
import shutil
import subprocess
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import story
from cluster import Cluster, Metrics, Shell, binary, digests, eventually, rpc

SITES = ("paris", "borlange")
INVENTORY = "paris.inventory.events"
ATTESTED = "concordat.system.v1.StateAttested"


def watched(shell, stream, site):
    """The accepted events of a stream as a site has them, from the first to the head."""
    text = shell("watch", stream, "--site", site, "--from", "0", "--until-head", "-o", "json").out.strip()
    decoder, at, events = json.JSONDecoder(), 0, []
    while at < len(text):
        event, at = decoder.raw_decode(text, at)
        events.append({**event, "sequence": int(event.get("sequence", 0))})
        while text[at:at + 1].isspace():
            at += 1
    return events


def tamper(folder, *options):
    """A server's supplier is another one in a projection: the server's name."""
    done = subprocess.run([binary("TAMPER_ROW"), folder, "servers", "nvidia", "nvidiA", *options], check=True,
                          stdout=subprocess.PIPE, text=True)
    return done.stdout.split(": ")[0]


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
        names = [f"s{len(self.ordered) + i:03}" for i in range(count)]
        for name, answer in zip(names, story.order_all(self.addresses[site], site, names)):
            self.ordered[name] = (site, answer)

    def equal(self):
        self.assertIn("heads equal, digests equal", self.shell("verify", "--wait", "30s").out)

    def nothing_lost(self):
        """Everything that was answered is there once, with the first answer, and both sites agree."""
        self.equal()
        for site in SITES:
            answers = {name: answer for name, (home, answer) in self.ordered.items() if home == site}
            again = story.order_all(self.addresses[site], site, answers)
            self.assertEqual(again, [{**answer, "repeated": True} for answer in answers.values()])
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
        self.assertRegex(self.node.said(),
                         "events that the log had lost were fetched from (paris's own archive|borlange)")
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
    def files(self, *parts, suffixes=(".sst", ".log")):
        return sorted(path for path in self.folder(*parts).iterdir() if path.suffix in suffixes)

    def largest(self, *parts, **options):
        return max(self.files(*parts, **options), key=lambda path: path.stat().st_size)

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

    def sort_the_log(self):
        """What the log holds stands in sorted files from its next start on, and what follows beside them."""
        self.equal()
        self.node.stop()
        self.node.start()
        self.order(5)
        self.equal()
        self.node.stop()

    def refused_and_filled_as_documented(self):
        """As docs/operations/recover.md has it for a log that cannot be read."""
        said = self.refusal()
        self.assertRegex(said, "cannot (open|read) the log")
        self.assertRegex(said, "move the site's folder aside and start again")
        self.assertIn("docs/operations/recover.md", said)
        shutil.move(self.folder("paris"), self.cluster.folder / "aside")
        self.node.start()
        self.nothing_lost()

    def test_flipped_bits_in_the_log_are_refused_and_it_is_filled_from_the_other_site(self):
        self.equal()
        self.node.stop()
        self.flip(self.largest("paris", "log", suffixes=(".log",)), random.Random(1), count=200)
        self.refused_and_filled_as_documented()

    def test_flipped_bits_in_the_sorted_files_of_the_log_are_refused_and_it_is_filled(self):
        self.sort_the_log()
        for path in self.files("paris", "log", suffixes=(".sst",)):
            self.flip(path, random.Random(1), count=200)
        self.refused_and_filled_as_documented()

    def test_a_sorted_file_of_the_log_cut_short_is_refused_and_it_is_filled(self):
        self.sort_the_log()
        self.cut(self.largest("paris", "log", suffixes=(".sst",)))
        self.refused_and_filled_as_documented()

    def test_one_bit_flipped_in_the_log_is_told_at_the_start_or_by_folding_again(self):
        self.sort_the_log()
        self.flip(self.largest("paris", "log", suffixes=(".sst",)), random.Random(2), count=1)
        self.node.launch()
        try:
            self.node.wait_ready()
        except AssertionError:
            self.assertFalse(self.node.alive())
            self.assertRegex(self.node.said(), "move the site's folder aside and start again")
        else:
            found = self.shell.run("verify", "--deep")
            self.assertNotEqual(found.code, 0, found)
            self.assertRegex(found.out + found.err, "[Cc]orrupt", found)
            self.node.stop()
        shutil.move(self.folder("paris"), self.cluster.folder / "aside")
        self.node.start()
        self.nothing_lost()

    def test_a_log_cut_short_under_whole_projections_is_filled(self):
        self.sort_the_log()
        self.cut(self.largest("paris", "log", suffixes=(".log",)))
        self.node.start()
        self.assertRegex(self.node.said(),
                         "events that the log had lost were fetched from (paris's own archive|borlange)")
        self.nothing_lost()

    def test_flipped_bits_in_the_archive_end_the_process_and_it_is_made_anew(self):
        self.equal()
        told = self.shell("history", "server", "s000").out
        self.node.stop()
        for path in self.files("paris", "archive", suffixes=(".sst",)):
            self.flip(path, random.Random(1), count=200)
        self.assertRegex(self.refusal(), "delete (the archive|[^ ]*/paris/archive) and start again")
        shutil.rmtree(self.folder("paris", "archive"))
        self.node.start()
        self.nothing_lost()
        self.assertEqual(self.shell("history", "server", "s000").out, told)

    def cut(self, path):
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size // 2)

    def test_a_file_cut_short_is_told(self):
        self.equal()
        self.node.stop()
        self.cut(self.largest("paris", INVENTORY))
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
            tamper(self.folder(site, INVENTORY), "digest")
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
        self.equal()
        sequence, link = self.shell.heads("paris")[INVENTORY]
        taken = self.take()
        self.assertEqual(set(taken), set(story.all_streams()))
        self.assertEqual(Path(taken[INVENTORY]).name, f"{sequence:012d}-{link[:12]}")
        self.order(10)
        self.assertEqual(self.take(INVENTORY).keys(), {INVENTORY})
        self.node.stop()
        self.assertIn("there is a projection", self.restore(taken[INVENTORY], code=1))
        elsewhere = self.cluster.folder.joinpath("elsewhere", "paris", "snapshots", INVENTORY)
        copy = shutil.copytree(taken[INVENTORY], elsewhere / "copy")
        nothing = elsewhere / "nothing"
        nothing.mkdir()
        self.assertIn("is no snapshot", self.restore(str(nothing), code=1))
        astray = shutil.copytree(copy, self.cluster.folder / "astray")
        self.assertIn("does not say of which site it is", self.restore(str(astray), code=1))
        shutil.rmtree(self.folder("paris", INVENTORY))
        self.assertIn(f"is at sequence {sequence} (link {link}, digest ", self.restore(taken[INVENTORY]))
        # What is shown was made of it, and not folded anew: a row that was changed in it is still there.
        changed = tamper(self.folder("paris", INVENTORY), "digest")
        self.node.start()
        self.assertIn("nvidiA", json.dumps(self.shell.get("server", changed, site="paris")))
        self.assertEqual(self.shell.get("server", "s014", site="paris")["state"], "SERVER_STATE_ORDERED")
        self.node.stop()
        shutil.rmtree(self.folder("paris", INVENTORY))
        # A copy that lies elsewhere goes to where the projection was too.
        self.assertIn(f"{self.folder('paris', INVENTORY)} is at sequence {sequence} ", self.restore(str(copy)))
        self.node.start()
        self.nothing_lost()

    def test_snapshots_taken_while_orders_go_on_are_put_back_at_their_heads(self):
        stop, taken = threading.Event(), []

        def order_on():
            while not stop.is_set():
                self.order(1)
        with ThreadPoolExecutor(1) as pool:
            ordering = pool.submit(order_on)
            try:
                for _ in range(4):
                    before = len(self.ordered)
                    taken.append(Path(self.take(INVENTORY)[INVENTORY]))
                    eventually(lambda: ordering.done() or len(self.ordered) > before + 2, what="orders that go on")
            finally:
                stop.set()
            ordering.result()
        self.equal()
        heads = {f"{event['sequence']:012d}-{event['link'][:12]}": event
                 for event in watched(self.shell, INVENTORY, "paris")}
        self.assertEqual(len({folder.name for folder in taken}), len(taken))
        self.node.stop()
        for folder in (taken[0], taken[-1]):
            with self.subTest(folder.name):
                event = heads[folder.name]
                shutil.rmtree(self.folder("paris", INVENTORY))
                self.assertIn(f"is at sequence {event['sequence']} (link {event['link']}, ", self.restore(str(folder)))
                self.node.start()
                self.nothing_lost()
                self.node.stop()

    def test_a_snapshot_that_was_changed_is_not_put_back(self):
        self.equal()
        previous, last = watched(self.shell, INVENTORY, "paris")[-2:]
        taken = self.folder(self.take(INVENTORY)[INVENTORY])
        self.node.stop()
        shutil.rmtree(self.folder("paris", INVENTORY))

        def relabel(folder, before, after):
            label = (folder / "SNAPSHOT").read_text()
            self.assertIn(before, label)
            (folder / "SNAPSHOT").write_text(label.replace(before, after))
        other_rows = "the rows in .* have the digest .*, expected .*: do not use it"
        other_label = "holds sequence .* with the digest .*, expected sequence .* with .*: do not use it"
        changes = {
            "a row": (tamper, other_rows),
            "a row and its digest": (lambda folder: tamper(folder, "digest"), other_label),
            "its head": (lambda folder: relabel(folder, last["link"], previous["link"]), other_label),
            "its label's digest": (lambda folder: relabel(folder, "digest ", "digest 0"), other_label),
            "its label's link": (lambda folder: relabel(folder, f"link {last['link']}\n", ""),
                                 "SNAPSHOT cannot be read"),
        }
        for number, (what, (change, expected)) in enumerate(changes.items()):
            with self.subTest(what):
                # A copy shares no file with the snapshot.
                folder = shutil.copytree(taken, taken.parent / f"changed-{number}")
                change(folder)
                self.assertRegex(self.restore(str(folder), code=1), expected)
                self.assertEqual([path.name for path in self.folder("paris").glob(f"{INVENTORY}*")], [])
        self.restore(str(taken))
        self.node.start()
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
            return events.count(ATTESTED)
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


class Diverged(Loss):
    """A row was changed together with its digest, so only what another site attests tells of it."""

    def attest(self):
        """The inventory's writer attests its state once something has happened and an hour has passed."""
        before = sum(event["type"] == ATTESTED for event in watched(self.shell, INVENTORY, "paris"))
        self.order(1)
        self.shell("clock", "advance", "2h")
        eventually(lambda: sum(event["type"] == ATTESTED for event in watched(self.shell, INVENTORY, "paris")) > before,
                   what="an attestation")

    def refuses(self, name):
        """Borlänge answers no question about the stream, and says so to people and to alerts."""
        eventually(lambda: self.shell.streams("borlange")[INVENTORY].get("condition") == "diverged",
                   what="a copy that says it has diverged")
        found = self.shell.run("get", "server", name, "--site", "borlange")
        self.assertEqual(found.code, 7, found)
        self.assertIn("nothing is answered from this one", found.err)
        self.assertNotIn("nvidiA", found.out)
        for method, request in (("GetResource", {"collection": "servers", "name": name}),
                                ("ListResources", {"collection": "servers"})):
            with self.assertRaisesRegex(AssertionError, "DATA_LOSS.*ConcordatStateDiverged.md"):
                rpc(self.addresses["borlange"], f"concordat.node.v1.NodeService/{method}", request)
        for site, diverged in (("borlange", 1), ("paris", 0)):
            metrics = Metrics(self.node.doors[site]["http"])
            self.assertEqual(metrics.by("stream", "concordat_state_diverged")[INVENTORY], diverged, site)
            self.assertEqual(metrics.by("stream", "concordat_stream_alarm")[INVENTORY], diverged, site)

    def test_a_changed_copy_answers_nothing_once_its_home_has_attested_another_state(self):
        self.equal()
        self.node.stop()
        name = tamper(self.folder("borlange", INVENTORY), "digest")
        self.node.start()
        self.assertIn("nvidiA", json.dumps(self.shell.get("server", name, site="borlange")))
        self.attest()
        self.refuses(name)
        # The others go on, and a restart forgets nothing of it.
        self.order(1)
        self.assertNotIn("nvidiA", json.dumps(self.shell.get("server", name, site="paris")))
        self.node.stop()
        self.node.start()
        self.refuses(name)
        # As the runbook has it.
        self.node.stop()
        shutil.rmtree(self.folder("borlange", INVENTORY))
        self.node.start()
        self.nothing_lost()
        self.assertNotIn("nvidiA", json.dumps(self.shell.get("server", name, site="borlange")))

    def test_a_changed_home_decides_nothing_once_it_folds_what_it_attested_before(self):
        self.equal()
        self.node.stop()
        self.keep("paris", INVENTORY)
        self.node.start()
        self.attest()
        self.equal()
        self.node.stop()
        self.put_back("paris", INVENTORY)
        tamper(self.folder("paris", INVENTORY), "digest")
        said = self.refusal()
        self.assertIn("attested the state digest", said)
        self.assertIn("docs/runbooks/ConcordatStateDiverged.md", said)
        self.assertIn("attested the state digest", self.refusal())
        shutil.rmtree(self.folder("paris", INVENTORY))
        self.node.start()
        self.nothing_lost()


if __name__ == "__main__":
    unittest.main()
