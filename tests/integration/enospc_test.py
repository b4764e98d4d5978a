"""Disks that are really full: small ones in memory, mounted in a mount namespace of the test's own."""
import os
import shutil
import subprocess
import sys
import unittest

import story
from cluster import Cluster, Shell, digests, eventually

INSIDE = "CONCORDAT_TEST_NAMESPACE"
STREAM = "paris.inventory.events"
DISK_FULL = "the disk is full"
# A full disk is small, so that files made in advance leave nothing to write to. RocksDB goes on once a
# whole write buffer would fit: 64 MiB under the log, 32 MiB under a projection.
SMALL_MEGABYTES, LARGE_MEGABYTES = 16, 200


class Disk:
    """A small disk in memory at a folder."""

    def __init__(self, cluster, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_MEGABYTES}m", "tmpfs", str(folder)], check=True)
        cluster.stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        self.ballast = folder / "ballast"

    def fill(self):
        """Until not one byte more fits."""
        with open(self.ballast, "ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError as error:
                    if error.strerror != os.strerror(28):
                        raise

    def free(self):
        """As an operator would: what does not belong there goes, and the volume grows."""
        self.ballast.unlink()
        subprocess.run(["mount", "-o", f"remount,size={LARGE_MEGABYTES}m", str(self.folder)], check=True)


class FullDisk(unittest.TestCase):
    def setUp(self):
        self.assertTrue(os.environ.get(INSIDE), "this test fills disks that it mounts: run the file itself, as "
                                                "root or where `unshare -r -m` is allowed")
        self.cluster = Cluster()
        self.addCleanup(self.cluster.close)
        config, self.addresses = story.embedded(self.cluster)
        self.node = self.cluster.node("node", config)
        self.shell = Shell(self.cluster, {site: {"address": address} for site, address in self.addresses.items()})

    def disk(self, *path):
        return Disk(self.cluster, self.node.data.joinpath(*path))

    def begin(self):
        self.node.start()
        story.open_site(self.shell, "paris")
        self.shell("verify", "--wait", "30s")

    def order(self, server):
        """What became of an order, with the server's name as request id."""
        return self.shell.run("order", "server", server, "--model", story.MODEL, "--supplier", "nvidia",
                              "--promised-time", "2027-06-01", "--request-id", server, "--timeout", "2s", "-o", "json")

    def order_until_unanswered(self):
        """Orders one server after the other: the answers, and the first that got none."""
        answers = {}

        def unanswered():
            server = f"s-{len(answers)}"
            answer = self.order(server)
            if answer.code == 124:
                return server
            self.assertEqual(answer.code, 0, answer)
            answers[server] = answer.json
            return None
        return answers, eventually(unanswered, 60, "an order that a full disk leaves without an answer")

    def alarm(self, site="paris"):
        return self.shell.streams(site)[STREAM].get("alarm", "")

    def check_everything_answered(self, answers, last):
        """With space again the last order is answered too, the others are as they were, and a restart agrees."""
        def answered():
            answer = self.order(last)
            return {**answer.json, "repeated": False} if answer.code == 0 else None
        answers[last] = eventually(answered, 60, "the order is answered once there is space")
        eventually(lambda: not self.alarm(), 30, "the alarm is over")
        self.shell("verify", "--wait", "30s")
        for restarted in (False, True):
            for server, answer in answers.items():
                self.assertEqual(self.order(server).json, {**answer, "repeated": True})
            self.assertEqual(len({answer["link"] for answer in answers.values()}), len(answers))
            if not restarted:
                before = {site: digests(address) for site, address in self.addresses.items()}
                self.node.kill()
                self.node.start()
                self.shell("verify", "--wait", "30s")
                self.assertEqual({site: digests(address) for site, address in self.addresses.items()}, before)

    def test_a_full_disk_under_the_log_leaves_orders_unanswered_and_none_lost(self):
        disk = self.disk("paris", "log")
        self.begin()
        self.assertEqual(self.order("first").code, 0)
        disk.fill()
        answers, last = self.order_until_unanswered()
        self.assertIn(DISK_FULL, eventually(self.alarm, 10, "an alarm"))
        # What is known is still told, and the other site goes on.
        self.assertEqual(self.shell.get("server", "first")["state"], "SERVER_STATE_ORDERED")
        story.open_site(self.shell, "borlange")
        disk.free()
        self.check_everything_answered(answers, last)

    def test_a_full_disk_under_the_projection_leaves_orders_unanswered_and_none_lost(self):
        disk = self.disk("paris", STREAM)
        self.begin()
        disk.fill()
        # Rows are in memory until they are written to disk every few seconds.
        answers, last = self.order_until_unanswered()
        self.assertIn(DISK_FULL, eventually(self.alarm, 10, "an alarm"))
        disk.free()
        self.check_everything_answered(answers, last)

    def test_a_full_disk_under_a_replica_leaves_it_behind_and_nobody_else(self):
        disk = self.disk("borlange", STREAM)
        self.begin()
        disk.fill()
        answers = {}

        def alarmed():
            server = f"s-{len(answers)}"
            answers[server] = self.order(server).json  # paris answers all the time
            return self.alarm("borlange")
        self.assertIn(DISK_FULL, eventually(alarmed, 60, "an alarm at borlange"))
        self.shell("verify", code=6)
        disk.free()
        self.shell("verify", "--wait", "30s")
        eventually(lambda: not self.alarm("borlange"), 30, "the alarm is over")

    def test_a_start_on_a_full_disk_says_so_and_succeeds_with_space(self):
        disk = self.disk()
        self.begin()
        self.assertEqual(self.order("first").code, 0)
        self.node.kill()
        disk.fill()
        self.node.launch()
        self.assertEqual(self.node.ends(), 1)
        self.assertIn(DISK_FULL, self.node.said())
        disk.free()
        self.node.start()
        self.assertTrue(self.order("first").json["repeated"])


def enter_namespace():
    """Runs this program again where it may mount; returns where that is not possible."""
    if os.environ.get(INSIDE) or not shutil.which("unshare"):
        return
    options = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    command = ["unshare", *options, "--propagation", "private"]
    if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", [*command, sys.executable, *sys.argv])


if __name__ == "__main__":
    enter_namespace()
    unittest.main()
