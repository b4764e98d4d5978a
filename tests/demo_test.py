"""The README's first commands tell their whole story, end as they promise and leave nothing behind."""

import contextlib
import ctypes
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "deploy" / "demo"
sys.path.insert(0, str(DEMO))
import demo  # noqa: E402

LAST = re.compile(r"^demo: [1-9][0-9]* events at 2 sites, heads equal, digests equal$")
# Less than what ctest allows for all of it, so that what was started is stopped in order.
STORY_SECONDS = 400
STOP_SECONDS = 100
PR_SET_PDEATHSIG = 1
# It calls the command line hundreds of times; other tests look for leaks.
QUICK = "detect_leaks=0:malloc_context_size=2"
# The story as it is told, and not as the teller has it: racks that are planned in each of the eighteen months, and of
# these how many were not there at a month's end, and why.
MONTHS = [f"{2027 + month // 12}-{month % 12 + 1:02}" for month in range(2, 20)]
PLANNED = {"paris": [4, 6, 8, 8, 10, 12, 12, 12, 12, 14, 14, 14, 14, 14, 14, 14, 12, 10],
           "borlange": [0, 0, 2, 4, 6, 6, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8]}
SLIPPED = {"paris": {"2027-07": (5, "supplier"), "2027-12": (6, "supplier"), "2028-01": (6, "supplier")},
           "borlange": {"2027-08": (3, "transport"), "2028-02": (4, "site")}}


def end_with_test():
    # The demo ends as on Ctrl-C and takes along what it started.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def processes_of(folder):
    """{pid: command line} of everything that was started with a path in the folder."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in line:
                found[int(path.parent.name)] = line
    return found


def watts(text):
    """`39.33 MW` as a number."""
    number, unit = text.split()
    return round(float(number) * {"W": 1, "kW": 1e3, "MW": 1e6}[unit])


class Told:
    """A demo that runs in a folder of its own, and what it has printed so far."""

    def __init__(self, *options):
        self.folder = Path(tempfile.mkdtemp(prefix="demo-test-"))
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, str(DEMO / "demo.py"), "--concordatd", os.environ["CONCORDATD"],
             "--concordat", os.environ["CONCORDAT"], *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "TMPDIR": str(self.folder), "ASAN_OPTIONS": QUICK}, preexec_fn=end_with_test)
        self.timer = threading.Timer(STORY_SECONDS, self.process.terminate)
        self.timer.start()

    @property
    def text(self):
        return "\n".join(self.lines)

    def read_until(self, pattern):
        """Goes on to the first line that matches; an AssertionError where it ends before."""
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if re.search(pattern, self.lines[-1]):
                return
        raise AssertionError(f"the demo ended with {self.process.wait()} before {pattern}:\n{self.text[-4000:]}")

    def read_to_the_end(self):
        """The exit code."""
        self.lines += [line.rstrip("\n") for line in self.process.stdout]
        return self.process.wait(STOP_SECONDS)

    def release(self):
        self.timer.cancel()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(STOP_SECONDS)
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class OnEmbeddedLogs(unittest.TestCase):
    """One demo that is kept; the tests look at what it told, and one of them goes on from there."""

    @classmethod
    def setUpClass(cls):
        cls.told = Told("--keep")
        cls.addClassCleanup(cls.told.release)
        cls.told.read_until(LAST)

    def months(self, site):
        """The rows that the demo shows of a site: month → its cells; of what there is and of what was planned."""
        lines = self.told.lines
        begin = lines.index(f"$ concordat get months --site {site}")
        self.assertEqual(" ".join(lines[begin + 1].split()),
                         "MONTH SERVERS PLANNED POWER PLANNED RACKS PLANNED ACCELERATORS PLANNED LATE CAUSES")
        rows = {}
        for line in lines[begin + 2:]:
            cells = re.split(r" {2,}", line.strip())
            if not re.fullmatch(r"20\d\d-\d\d", cells[0]):
                break
            rows[cells[0]] = cells[1:]
        return rows

    def test_it_ends_with_equal_heads_and_digests(self):
        self.assertRegex(self.told.lines[-1], LAST)
        self.assertIn("heads equal, digests equal", self.told.text[:self.told.text.rindex("demo: ")])

    def test_its_table_says_month_by_month_what_became_of_the_plan(self):
        paris, borlange = self.months("paris"), self.months("borlange")
        for rows in (paris, borlange):
            self.assertEqual(list(rows), ["2027-01", "2027-02", *MONTHS])
            for month, (servers, planned, power, planned_power, _, _, chips, planned_chips, *_) in rows.items():
                with self.subTest(month):  # a server of the story draws 190 kW and has 144 accelerators
                    self.assertEqual((watts(power), watts(planned_power)), (int(servers) * 190e3, int(planned) * 190e3))
                    self.assertEqual((int(chips), int(planned_chips)), (int(servers) * 144, int(planned) * 144))
        # Of the first five in Paris one never passes its burn-in and one breaks; the four in Borlänge stay.
        for rows, site, servers, planned in ((paris, "paris", 3, 5), (borlange, "borlange", 4, 4)):
            late = planned - servers - (site == "paris")
            for month, racks in zip(MONTHS, PLANNED[site]):
                servers, planned = servers + racks, planned + racks
                slipped, cause = SLIPPED[site].get(month, (0, ""))
                with self.subTest(f"{site} {month}"):
                    self.assertEqual([int(cell) for cell in rows[month][:2]], [servers - slipped, planned])
                    self.assertEqual(int(rows[month][8]), late + slipped)
                    causes = ([f"{late} none recorded"] if late else []) + ([f"{slipped} {cause}"] if slipped else [])
                    self.assertCountEqual([each for each in ", ".join(rows[month][9:]).split(", ") if each], causes)
        self.assertEqual((paris["2028-08"][2], borlange["2028-08"][2]), ("39.33 MW", "22.42 MW"))

    def test_long_steps_say_how_far_they_are(self):
        grown = [line for line in self.told.lines if "racks into service in Paris" in line]
        self.assertEqual([line.split()[0] for line in grown],
                         MONTHS)
        self.assertIn("starting concordatd with both sites …", self.told.lines)

    def hint(self, begin):
        """The command of the hints that begins so."""
        return next(line.strip() for line in self.told.lines if line.startswith(f"  {begin}"))

    def type(self, command, code=0):
        """Types a line into another terminal, after those that the demo says to type first."""
        exports = "\n".join(self.hint(f"export {name}=") for name in ("CONCORDAT_CONFIG", "PATH"))
        done = subprocess.run(["bash", "-c", f"{exports}\n{command}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120)
        self.assertEqual(done.returncode, code, f"{command}\n{done.stdout}")
        return done.stdout

    def test_kept_it_answers_lets_its_link_be_cut_and_stops_without_a_trace(self):
        told = self.told
        self.assertRegex(self.type(self.hint("concordat status")), r"(?m)^paris +.* borlange open$")
        self.assertIn("hsbc", self.type(self.hint("concordat get reservations")))
        self.type(self.hint("concordat link cut"))
        self.assertRegex(self.type("concordat status"), r"(?m)^paris +.* borlange cut")
        self.type("concordat cordon server a01-01 --reason 'fan tray'")
        self.assertIn("behind", self.type("concordat verify", code=6))
        self.type(self.hint("concordat link heal"))
        self.assertIn("heads equal, digests equal", self.type("concordat verify --wait 60s"))

        running = processes_of(told.folder)
        self.assertEqual(len(running), 1, running)
        self.assertEqual([path.name[:15] for path in told.folder.iterdir()], ["concordat-demo-"])
        stop = re.search(r"To stop and clean up: Ctrl-C here, or (kill \d+)\.", told.text).group(1)
        self.assertEqual(stop, f"kill {told.process.pid}")
        self.type(stop)
        self.assertEqual(told.read_to_the_end(), 0, told.text[-2000:])
        self.assertEqual(processes_of(told.folder), {})
        self.assertEqual(list(told.folder.iterdir()), [])


class OnRealBrokers(unittest.TestCase):
    def test_two_brokers_and_their_mirror_tell_the_same_story_and_end_with_it(self):
        told = Told("--kafka")
        self.addCleanup(told.release)
        told.read_until(r"^\(MirrorMaker is stopped\)$")
        running = processes_of(told.folder)
        programs = [line.split()[0].rpartition("/")[2] for line in running.values()]
        self.assertEqual((programs.count("concordatd"), programs.count("java")), (2, 3), running)
        self.assertEqual(told.read_to_the_end(), 0, told.text[-4000:])
        self.assertRegex(told.lines[-1], LAST)
        self.assertIn("starting two brokers and MirrorMaker 2 …", told.lines)
        self.assertEqual(processes_of(told.folder), {})
        self.assertEqual(list(told.folder.iterdir()), [])


class AStory(unittest.TestCase):
    """The teller alone, over a machinery that answers what the test says."""

    def tell(self, step, code=0, out=""):
        machinery = mock.Mock()
        machinery.concordat.return_value = subprocess.CompletedProcess([], code, out, "")
        with contextlib.redirect_stdout(io.StringIO()) as said:
            step(demo.Demo(machinery))
        return said.getvalue()

    def test_says_what_it_waits_for_after_a_while_and_once(self):
        times = iter(range(100))
        answers = iter([False] * 6 + [True])
        with mock.patch.object(time, "monotonic", lambda: next(times)), mock.patch.object(time, "sleep"):
            said = self.tell(lambda story: story.until("the moon to rise", lambda: next(answers)))
        self.assertEqual(said, "  … waiting for the moon to rise\n")

    def test_fails_where_it_waits_too_long(self):
        times = iter(range(0, 1000, 10))
        with mock.patch.object(time, "monotonic", lambda: next(times)), mock.patch.object(time, "sleep"):
            with self.assertRaisesRegex(demo.StepFailed, "waited 60 s for the moon to rise"):
                self.tell(lambda story: story.until("the moon to rise", lambda: False))

    def test_fails_where_a_step_comes_to_anything_else(self):
        for code, out in ((1, "ok"), (0, "no")):
            with self.assertRaisesRegex(demo.StepFailed, r"(?s)exit code 0 and the words 'ok'.*\$ concordat status"):
                self.tell(lambda story: story.run("status", says="ok"), code=code, out=out)
        self.assertEqual(self.tell(lambda story: story.run("status", says="ok"), out="ok\n"),
                         "$ concordat status\n  ok\n")


if __name__ == "__main__":
    unittest.main()
