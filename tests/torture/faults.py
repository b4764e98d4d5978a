"""What happens to the world while the clients are at work: one fault after the other at each site, by chance.

A fault is begun, held and healed, and only then comes the next one at that site; so everything can
happen to one site while anything happens to the other. Both sites draw from one deck, and it is shuffled
again only when it is empty; so every kind happens soon.
"""
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
CALM_SECONDS = (0.2, 1.0)
CLOCK_STEPS_SECONDS = (6, 90)
CLOCK_ALARM_SECONDS = 20
DISK_BYTES = 1 << 30
BROKER_ENDS_SECONDS = 6
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

    def hold(self):
        if self.long_run and self.chance.random() < LONG_HOLD_CHANCE:
            self.stop.wait(LONG_HOLD_SECONDS)
            return "long"
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
        detail = self.hold()
        node.resume()
        return detail

    def services_disk_full(self):
        disk = self.world.disks[self.site]
        disk.fill()
        self.hold()
        disk.free()

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
        disk.fill()
        deadline = time.monotonic() + BROKER_ENDS_SECONDS
        while self.broker.process.poll() is None and time.monotonic() < deadline and not self.stop.wait(0.1):
            pass
        disk.free()
        ended = self.broker.process.poll() is not None
        if not ended:
            self.broker.kill()
        self.broker.release()
        self.broker.start()
        return "it ended" if ended else "it was killed"

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
