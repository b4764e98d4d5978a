"""What happens to the world while the clients are at work: one fault after the other at each site, by chance.

A fault is begun, held and healed, and only then comes the next one at that site; so everything can
happen to one site while anything happens to the other. Both sites draw from one deck, and it is shuffled
again only when it is empty; so every kind happens soon.
"""
import collections
import os
import random
import subprocess
import sys
import threading
import time

from cluster import eventually
from proxy import ANSWERS_HELD, CUT, HELD, MIRROR, OPEN, SERVICES

# Longer than what clients wait for an answer and what a controller waits for a broker.
HOLD_SECONDS = (2.5, 5.0)
# Longer than every time-out: librdkafka gives up a request after 60 s. Only long runs have the time.
LONG_HOLD_SECONDS = 70
LONG_RUN_SECONDS = 300
LONG_HOLD_CHANCE = 0.2
# A process that SIGSTOP held for so long: of a long run it proves the most, so there is one at each site.
LONG_PAUSE = "pause beyond every time-out"
CALM_SECONDS = (0.2, 1.0)
CLOCK_STEPS_SECONDS = (6, 90)
CLOCK_ALARM_SECONDS = 20
DISK_BYTES = 1 << 30
# Rows are in memory until they are written to disk every 10 s, or sooner where there are many.
DISK_MET_SECONDS = 25
# What a process says that met a full disk, and what its broker's own messages say.
DISK_FULL, NO_SPACE = "the disk is full", "No space left on device"
MET, NOT_MET = "met", "nobody met it"
LONG = "long"
BROKER_ENDS_SECONDS = 10
# A start wants both brokers, one of which may be down for as long as a long hold.
MIRROR_STARTS_SECONDS = 150


class Disk:
    """A folder with a size of its own, in memory. Full means that not one page more fits."""

    def __init__(self, cluster, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs")
        cluster.stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)

    def mount(self, *options, check=True):
        return subprocess.run(["mount", *options, str(self.folder)], check=check, stderr=subprocess.DEVNULL).returncode

    def fill(self):
        """By shrinking the disk to what is on it, which may grow meanwhile."""
        eventually(lambda: self.mount("-o", f"remount,size={self.used()}", check=False) == 0, 5, "a smaller disk",
                   pause=0)

    def used(self):
        disk = os.statvfs(self.folder)
        return (disk.f_blocks - disk.f_bfree) * disk.f_frsize

    def free(self):
        self.mount("-o", f"remount,size={DISK_BYTES}")


class Clock:
    """A process's wall clock, by tests/torture/clock_step.cc."""

    def __init__(self, path, library):
        self.path = path
        path.write_bytes(bytes(8))
        self.wrapper = ["env", f"LD_PRELOAD={library}", f"CONCORDAT_CLOCK_OFFSET={path}",
                        "ASAN_OPTIONS=verify_asan_link_order=0"]

    def step(self, seconds):
        with open(self.path, "r+b", buffering=0) as file:
            file.write((seconds * 10**9).to_bytes(8, sys.byteorder, signed=True))


class Said:
    """What is written to a log from now on."""

    def __init__(self, path):
        self.path = path
        self.begin = path.stat().st_size if path.exists() else 0

    def now(self):
        if not self.path.exists():
            return ""
        with open(self.path, "rb") as file:
            file.seek(self.begin)
            return file.read().decode("utf-8", "replace")


class Deck:
    """The kinds of faults in an order of chance, each once before any comes again."""

    def __init__(self, kinds, seed):
        self.kinds, self.chance, self.left = kinds, random.Random(f"{seed}/deck"), []
        self.lock = threading.Lock()

    def draw(self):
        with self.lock:
            if not self.left:
                self.left = list(self.kinds)
                self.chance.shuffle(self.left)
            return self.left.pop()


def happened(faults):
    """How often each kind of fault was one. A disk that was full while nobody wrote to it was none."""
    counts = collections.Counter(kind for kind, _, _, _, detail in faults if not detail.startswith(NOT_MET))
    counts[LONG_PAUSE] = sum(kind.endswith("paused") and detail == LONG for kind, _, _, _, detail in faults)
    return counts


class Nemesis(threading.Thread):
    """The faults of one site."""

    KINDS = ("service killed", "service paused", "service's disk full", "clock stepped", "two writers",
             "broker killed", "broker paused", "broker's disk full", "link to broker cut", "link of mirror cut",
             "mirror killed")

    def __init__(self, world, site, deck, seed, seconds, stop):
        super().__init__(name=f"nemesis-{site}", daemon=True)
        self.world, self.site, self.deck, self.stop = world, site, deck, stop
        self.chance = random.Random(f"{seed}/{self.name}")
        self.long_run = seconds >= LONG_RUN_SECONDS
        self.long_pause_due = self.long_run
        self.done, self.failure, self.healed = [], None, threading.Event()

    def run(self):
        """Goes on until the run is over: the kernel ends what a thread has started when that thread ends."""
        try:
            while not self.wait(CALM_SECONDS):
                kind = self.deck.draw()
                begun = time.monotonic()
                detail = getattr(self, kind.replace(" ", "_").replace("'", ""))()
                self.done.append((kind, self.site, begun, time.monotonic(), detail or ""))
        except Exception as error:  # the run is told, and fails
            self.failure = error
            self.stop.set()
        self.healed.set()
        self.world.over.wait()

    def wait(self, seconds):
        """Lets time pass, unless the run is over."""
        return self.stop.wait(self.chance.uniform(*seconds))

    def hold(self, long=False):
        """`long` where it was as long as every time-out and more; a run that ends meanwhile cuts it short."""
        if long or self.long_run and self.chance.random() < LONG_HOLD_CHANCE:
            return "" if self.stop.wait(LONG_HOLD_SECONDS) else LONG
        self.wait(HOLD_SECONDS)
        return ""

    def draw_node(self):
        """One of the site's processes."""
        return self.chance.choice(self.world.nodes[self.site])

    @property
    def broker(self):
        return self.world.brokers[self.site]

    def service_killed(self):
        node = self.draw_node()
        node.kill()
        self.wait(CALM_SECONDS)
        node.start()

    def service_paused(self):
        node = self.draw_node()
        node.pause()
        detail = self.hold(self.long_pause_due)
        node.resume()
        self.long_pause_due = self.long_pause_due and detail != LONG
        return detail

    def services_disk_full(self):
        """Until one of the site's processes has said that its disk is full."""
        nodes = self.world.nodes[self.site]
        disk, heard = self.world.disks[self.site], [Said(node.errors) for node in nodes]
        disk.fill()
        met = self.until(lambda: any(word in each.now() for each in heard for word in (DISK_FULL, NO_SPACE)),
                         DISK_MET_SECONDS)
        disk.free()
        return MET if met else NOT_MET

    def clock_stepped(self):
        """Steps the clock, and goes on as the runbook says: the clock is made right and the process starts anew."""
        seconds = self.chance.choice([1, -1]) * self.chance.randint(*CLOCK_STEPS_SECONDS)
        node = self.draw_node()
        node.clock.step(seconds)
        eventually(self.clock_alarm, CLOCK_ALARM_SECONDS, "the site notices its clock")
        self.hold()
        node.clock.step(0)
        node.kill()
        node.start()
        return f"{seconds:+} s"

    def clock_alarm(self):
        states = self.world.shells[self.site].streams(self.site).values()
        return any("the clock jumped" in state.get("alarm", "") for state in states)

    def two_writers(self):
        """A second process for the same streams, with a folder of its own; perhaps while the first one sleeps."""
        node = self.draw_node()
        sleeps = self.chance.random() < 0.5
        if sleeps:
            node.pause()
        twin = self.world.twin(self.site, node.services)
        twin.start()
        if sleeps:
            self.wait(HOLD_SECONDS)
            node.resume()
        self.wait(HOLD_SECONDS)
        twin.kill()
        return "the first wakes up" if sleeps else "side by side"

    def broker_killed(self):
        self.broker.kill()
        self.wait(CALM_SECONDS)
        self.broker.start()

    def broker_paused(self):
        self.broker.pause()
        detail = self.hold()
        self.broker.resume()
        return detail

    def brokers_disk_full(self):
        """A broker without space ends, sooner or later; with space it is started again."""
        disk = self.world.broker_disks[self.site]
        log = Said(disk.folder / "broker.log")
        disk.fill()
        ended = self.until(lambda: self.broker.process.poll() is not None, BROKER_ENDS_SECONDS)
        disk.free()
        met = NO_SPACE in log.now()
        if not ended:
            self.broker.kill()
        self.broker.release()
        self.broker.start()
        return f"{MET if ended or met else NOT_MET}, {'it ended' if ended else 'it was killed'}"

    def until(self, condition, seconds):
        """Whether that came to be, within so many seconds and before the run is over."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or self.stop.wait(0.1):
                return condition()
        return True

    def link_to_broker_cut(self):
        how = self.chance.choice([CUT, HELD, ANSWERS_HELD])
        self.world.proxies[self.site].set(SERVICES, how)
        detail = self.hold()
        self.world.proxies[self.site].set(SERVICES, OPEN)
        return f"{how} {detail}".strip()

    def link_of_mirror_cut(self):
        how = self.chance.choice([CUT, HELD, ANSWERS_HELD])
        self.world.proxies[self.site].set(MIRROR, how)
        detail = self.hold()
        self.world.proxies[self.site].set(MIRROR, OPEN)
        return f"{how} {detail}".strip()

    def mirror_killed(self):
        with self.world.mirror_lock:
            self.world.mirror.kill()
            self.wait(CALM_SECONDS)
            eventually(self.world.start_mirror, MIRROR_STARTS_SECONDS, "the mirror starts", pause=0.5)
