"""One Java program, which ends with the one that started it."""

import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import Failure


KAFKA_VERSION = "4.3.1"


def cache_dir():
    base = os.environ.get("CONCORDAT_CACHE") or Path.home() / ".cache" / "concordat"
    return Path(base).absolute() / f"kafka-{KAFKA_VERSION}"


START_SECONDS = 120
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """Runs in the child: the kernel kills it when this process ends, however it ends."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


# One small process on a shared machine starts quickly and stays small.
QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# A measured broker gets what Kafka's own start script gives it.
BENCHMARK = ("-Xms1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
             "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent")


def java_command(main, heap, log_level="warn", java_options=(), kind=QUICK_START):
    home = cache_dir()
    archive = home / "kafka.jsa"
    return [
        "java", f"-Xmx{heap}", *kind, "-XX:-UsePerfData",
        *([f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []),
        # The JVM would warn on standard output, where answers belong.
        "-Xshare:auto", "-Xlog:disable",
        "-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true",
        f"-Dorg.slf4j.simpleLogger.defaultLogLevel={log_level}",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
        *java_options, "-cp", str(home / "kafka.jar"), main,
    ]


class Jvm:
    """One JVM that says READY: started, awaited, stopped. Its log is a file in its folder."""

    name = "JVM"
    STOP_SECONDS = 60  # a broker that is killed cuts what it takes for torn off its log when it starts

    def __init__(self, folder):
        self.folder = Path(folder).absolute()
        self.process = None
        self.log = self.folder / f"{self.name}.log"

    def lock(self):
        """The JVM inherits the lock, so it is free only when both processes are gone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock_file = open(self.folder / f"{self.name}.lock", "w")
        deadline = time.monotonic() + 5  # A killed predecessor may need a moment to be gone.
        while True:
            try:
                fcntl.flock(self.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Failure(f"found a {self.name} running in {self.folder}; expected none; "
                                  "stop it or name another --dir") from None
                time.sleep(0.02)

    def spawn(self, command):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                pass_fds=[self.lock_file.fileno()], preexec_fn=die_with_parent)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.output = b""

    @property
    def pid(self):
        return self.process.pid

    def read(self):
        """Takes what the JVM has printed. False: it has ended."""
        data = self.process.stdout.read()
        if data == b"":
            self.process.wait()
            return False
        self.output += data or b""
        return True

    def ready(self):
        return b"READY\n" in self.output

    def await_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            left = deadline - time.monotonic()
            if left <= 0:
                raise self.late()
            select.select([self.process.stdout], [], [], left)
            if not self.read():
                raise self.ended()

    def late(self):
        return Failure(f"the {self.name} was not ready after {START_SECONDS} s; expected some "
                       f"seconds; see its log {self.log}\n{self.last_words()}")

    def ended(self):
        code = self.process.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return Failure(f"the {self.name}'s JVM {how}; expected it to run until stopped; "
                       f"see its log {self.log}\n{self.last_words()}")

    def last_words(self):
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        except FileNotFoundError:
            return ""

    def stop(self):
        if not self.process or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        self.process.send_signal(signal.SIGCONT)  # One that is cut off cannot hear the first.
        try:
            self.process.wait(self.STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run_in_foreground(jvm, until_stdin_closes):
    """Starts, prints READY, waits. Returns when asked to stop; raises if the JVM ends by itself."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        jvm.start()
        announced = False
        sources_of_events = [jvm.process.stdout, wake_read]
        if until_stdin_closes:
            sources_of_events.append(sys.stdin.fileno())
        deadline = time.monotonic() + START_SECONDS
        while True:
            happened, _, _ = select.select(
                sources_of_events, [], [],
                None if announced else max(0, deadline - time.monotonic()))
            if not happened:
                raise jvm.late()
            if wake_read in happened:
                return
            if until_stdin_closes and sys.stdin.fileno() in happened:
                if not os.read(sys.stdin.fileno(), 4096):
                    return
            if jvm.process.stdout in happened and not jvm.read():
                raise jvm.ended()
            if jvm.ready() and not announced:
                announced = True
                print("READY " + json.dumps(jvm.announcement()), flush=True)
    finally:
        jvm.stop()
