#!/usr/bin/env python3
"""Kafka for development and tests, without containers.

  kafka.py install                             put the pinned jars into the cache
  kafka.py broker --dir DIR                    one broker and controller, in the foreground
  kafka.py topic  --bootstrap B --create NAME  create, alter, delete, describe a topic
  kafka.py mirror --dir DIR --site A=B ...     MirrorMaker 2 between brokers, in the foreground
  kafka.py pair up --dir DIR                   two sites and the mirror between them, detached

Everything listens on 127.0.0.1 only. `kafka.py COMMAND --help` says more.
"""

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KAFKA_VERSION = "4.3.1"
HERE = Path(__file__).resolve().parent
SERVICES = ("inventory", "reservations", "compliance", "deployment")

# The log is the truth, so nothing may ever be removed from it or packed away in it.
EVENT_LOG = {
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "compression.type": "producer",
}
# At its home a record is on disk before it is acknowledged: there is one copy of it.
HOME_LOG = {**EVENT_LOG, "flush.messages": "1"}


class Failure(Exception):
    """Something the caller can act on: what was found, what was expected, what to do."""


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------
# Install
# ---------------------------------------------------------------------------------------------


def cache_dir():
    base = os.environ.get("CONCORDAT_CACHE") or Path.home() / ".cache" / "concordat"
    return Path(base).absolute() / f"kafka-{KAFKA_VERSION}"


def sources():
    return [HERE / "pom.xml", *sorted((HERE / "java").glob("*.java"))]


def fingerprint():
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def installed():
    """The marker is written last, so a folder without it, or with another, is not an install."""
    try:
        return (cache_dir() / "installed").read_text() == fingerprint()
    except FileNotFoundError:
        return False


def ensure_installed():
    if installed():
        return
    for program, package in (("java", "a JDK, 17 or later"), ("javac", "a JDK, 17 or later"),
                             ("mvn", "Maven")):
        if not shutil.which(program):
            raise Failure(f"found no `{program}` on the PATH; expected {package}; "
                          "install it (Debian: openjdk-17-jdk-headless, maven) and try again")
    target = cache_dir()
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / f"{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Of two installs at once the second finds it done.
        if installed():
            return
        mark = fingerprint()
        with tempfile.TemporaryDirectory(prefix=f"{target.name}.new-", dir=target.parent) as new:
            build_install(Path(new))
            shutil.rmtree(target, ignore_errors=True)
            os.rename(new, target)
            os.mkdir(new)  # The context manager wants to remove what it made.
        # The archive names the jars by path, so it can only be made where they will stay.
        make_class_archive(target)
        (target / "installed").write_text(mark)
        say(f"installed Kafka {KAFKA_VERSION} in {target}")


def build_install(folder):
    say(f"fetching the jars of Kafka {KAFKA_VERSION} with Maven")
    run_tool("mvn", "-q", "-B", "-f", HERE / "pom.xml", "dependency:copy-dependencies",
             "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}")
    jars = sorted((folder / "lib").glob("*.jar"))
    if not jars:
        raise Failure("Maven copied no jars; expected the dependencies of deploy/kafka/pom.xml; "
                      "run `mvn -f deploy/kafka/pom.xml dependency:tree` to see why")
    run_tool("javac", "-nowarn", "-proc:none", "-d", folder / "classes",
             "-cp", os.pathsep.join(map(str, jars)), *(HERE / "java").glob("*.java"))
    # A hundred jars on a command line are past reading; one jar's manifest can name them all.
    # Manifest lines hold 72 bytes; a continuation starts with a blank.
    entry = "Class-Path: " + " ".join(f"lib/{jar.name}" for jar in jars)
    lines = [entry[:70]] + [" " + entry[i:i + 69] for i in range(70, len(entry), 69)]
    (folder / "manifest").write_text("\n".join(lines) + "\n")
    run_tool("jar", "--create", "--file", folder / "kafka.jar", "--manifest", folder / "manifest",
             "-C", folder / "classes", ".")


def run_tool(*command):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Failure(f"`{command[0]}` ended with {done.returncode}; expected 0; its output:\n"
                      f"{done.stdout.strip()[-4000:]}")


def make_class_archive(target):
    """Stores the classes that a broker and a mirror load, parsed and ready (class data sharing).

    This takes a short rehearsal now and about halves every later start. It is a convenience: if it
    fails, everything still works, slower.
    """
    say("rehearsing a start, to make later ones quicker")
    loaded = []
    try:
        with tempfile.TemporaryDirectory(prefix="concordat-rehearsal-") as folder:
            folder = Path(folder)

            def record(name):
                loaded.append(folder / f"{name}.classes")
                return [f"-XX:DumpLoadedClassList={loaded[-1]}"]

            topics = {f"{site}.rehearsal.events": HOME_LOG for site in ("a", "b")}
            with contextlib.ExitStack() as stack:
                brokers = {}
                for site in ("a", "b"):
                    broker = Broker(folder / site, topics=topics, java_options=record(site))
                    stack.callback(broker.stop)
                    broker.start()
                    brokers[site] = broker
                for broker in brokers.values():
                    broker.await_ready()
                sites = {site: broker.bootstrap for site, broker in brokers.items()}
                topic_tool(sites["a"], "describe", {"a.rehearsal.events": {}}, record("topics"))
                mirror = MirrorMaker(folder / "mirror", sites, java_options=record("mirror"))
                stack.callback(mirror.stop)
                mirror.start()
                mirror.await_ready()
            merged = folder / "all.classes"
            lines = dict.fromkeys(line for path in loaded for line in path.read_text().splitlines())
            merged.write_text("\n".join(lines) + "\n")
            run_tool("java", "-Xshare:dump", "-XX:+UseSerialGC", "-Xlog:disable",
                     f"-XX:SharedClassListFile={merged}",
                     f"-XX:SharedArchiveFile={target / 'kafka.jsa'}",
                     "-cp", target / "kafka.jar")
    except (Failure, OSError) as problem:
        say(f"no class archive, starts will be slower: {problem}")


# ---------------------------------------------------------------------------------------------
# Processes
# ---------------------------------------------------------------------------------------------

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


# ---------------------------------------------------------------------------------------------
# Ports
# ---------------------------------------------------------------------------------------------


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def ports_to_choose_from():
    """Those of CONCORDAT_PORTS, such as 10300-10599, so that tests side by side do not meet; without it
    all below the range that the kernel lends to outgoing connections.

    In that range another program's connection could take the port while the broker is down, and a
    client that keeps trying to reach a dead broker can even connect to itself.
    """
    named = os.environ.get("CONCORDAT_PORTS")
    if named:
        first, _, last = named.partition("-")
        if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
            raise Failure(f"CONCORDAT_PORTS: found {named!r}, expected two port numbers such as 10300-10599")
        return range(int(first), int(last) + 1)
    try:
        lent_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        lent_from = 32768
    return range(10000, max(lent_from, 10100))


held = []  # sockets


def hold_port(port):
    """Takes a port that nobody has, for as long as this program runs: who looks for one as this does
    finds it taken, who means to listen there may. False where somebody has it.
    """
    holder = socket.socket()
    try:
        holder.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        return False
    # Only now: before, it would have met with others of its kind.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.append(holder)
    return True


def free_port(taken):
    """Picks a free port, none of those taken, and holds it: programs that start at the same time pick
    different ones.
    """
    ports = ports_to_choose_from()
    for _ in range(1000):
        port = random.choice(ports)
        if port not in taken and hold_port(port):
            return port
    raise Failure(f"found no free port on 127.0.0.1 of {ports[0]} to {ports[-1]} in 1000 tries; expected one; "
                  "name one with --port and --controller-port")


def await_port(port):
    """A predecessor's port is free again some milliseconds after it ended."""
    deadline = time.monotonic() + 5
    while not port_is_free(port):
        if time.monotonic() > deadline:
            raise Failure(f"found port {port} in use; expected it free, for this broker served "
                          "there before or was told to; stop the other program or name another "
                          "--port")
        time.sleep(0.02)


# ---------------------------------------------------------------------------------------------
# Broker
# ---------------------------------------------------------------------------------------------


class Broker(Jvm):
    name = "broker"

    def __init__(self, folder, topics=None, port=None, controller_port=None, advertised=None,
                 heap="384m", session_ms=2000, log_level="warn", java_options=(),
                 benchmark=False):
        super().__init__(folder)
        self.session_ms, self.benchmark = session_ms, benchmark
        self.topics = topics or {}
        self.wanted = {"port": port, "controller_port": controller_port, "advertised": advertised}
        self.heap, self.log_level, self.java_options = heap, log_level, java_options

    def start(self):
        self.lock()
        self.choose_ports()
        properties = self.folder / "server.properties"
        properties.write_text(self.properties())
        self.spawn([
            *java_command("Broker", "1g" if self.benchmark else self.heap, self.log_level,
                          self.java_options, BENCHMARK if self.benchmark else QUICK_START),
            str(properties), self.ports["cluster_id"], self.internal,
            *(topic_words(name, settings) for name, settings in self.topics.items())])

    def choose_ports(self):
        """Ports are remembered, so that a broker that died serves at the same address again."""
        file = self.folder / "ports.json"
        ports = json.loads(file.read_text()) if file.exists() else {
            # A cluster id is a UUID's 16 bytes in URL-safe Base64; hexadecimal letters are such.
            "cluster_id": os.urandom(11).hex()}
        ports.update({key: value for key, value in self.wanted.items() if value is not None})
        for key in ("port", "internal_port", "controller_port"):
            if ports.get(key) is None:
                ports[key] = free_port({value for value in ports.values()})
            await_port(ports[key])
        self.ports = ports
        self.direct = f"127.0.0.1:{ports['port']}"
        self.internal = f"127.0.0.1:{ports['internal_port']}"
        self.bootstrap = ports.get("advertised") or self.direct
        write_json(file, ports)

    def properties(self):
        controller = f"127.0.0.1:{self.ports['controller_port']}"
        return lines(
            "# Written anew at each start by kafka.py.",
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@{controller}",
            "controller.listener.names=CONTROLLER",
            # The broker's own traffic and kafka.py's go past a proxy in front of the clients.
            "inter.broker.listener.name=INTERNAL",
            f"listeners=CLIENT://{self.direct},INTERNAL://{self.internal},"
            f"CONTROLLER://{controller}",
            f"advertised.listeners=CLIENT://{self.bootstrap},INTERNAL://{self.internal},"
            f"CONTROLLER://{controller}",
            "listener.security.protocol.map="
            "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
            f"log.dirs={self.folder / 'data'}",
            # A topic that springs up by itself would lack the settings of an event log.
            "auto.create.topics.enable=false",
            "num.partitions=1",
            "default.replication.factor=1",
            "min.insync.replicas=1",
            "offsets.topic.num.partitions=1",
            "offsets.topic.replication.factor=1",
            "transaction.state.log.num.partitions=1",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "share.coordinator.state.topic.num.partitions=1",
            "share.coordinator.state.topic.replication.factor=1",
            "share.coordinator.state.topic.min.isr=1",
            "group.initial.rebalance.delay.ms=0",
            # A killed broker may register again only when its old session has ended, by default
            # after 9 s. One stopped for longer is fenced, and back with its next heartbeat.
            f"broker.session.timeout.ms={self.session_ms}",
            f"broker.heartbeat.interval.ms={min(500, self.session_ms // 4)}",
            *(() if self.benchmark else ("num.network.threads=2", "num.io.threads=4")),
            # The default is a third of the heap, for topics of which only small ones are compacted.
            "log.cleaner.dedupe.buffer.size=4194304",
        )

    def announcement(self):
        return {"bootstrap": self.bootstrap, "pid": self.pid, "direct": self.direct,
                "supervisor": os.getpid(), "dir": str(self.folder), "log": str(self.log)}


def lines(*texts):
    return "\n".join(texts) + "\n"


def write_json(path, data):
    """By renaming, so that a reader never sees half of it."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(data, indent=2) + "\n")
    os.replace(new, path)


# ---------------------------------------------------------------------------------------------
# Topics
# ---------------------------------------------------------------------------------------------


def topic_words(name, settings):
    return " ".join([name, *(f"{key}={value}" for key, value in settings.items())])


def topic_tool(bootstrap, action, topics, java_options=()):
    done = subprocess.run(
        [*java_command("Topics", "64m", "error", java_options), bootstrap, action,
         *(topic_words(name, settings) for name, settings in topics.items())],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=die_with_parent)
    if done.returncode != 0:
        raise Failure(f"could not {action} {', '.join(topics)} at {bootstrap}: "
                      f"{done.stderr.strip() or 'no reason given'}")
    return done.stdout


# ---------------------------------------------------------------------------------------------
# Mirror
# ---------------------------------------------------------------------------------------------


class MirrorMaker(Jvm):
    name = "mirror"
    STOP_SECONDS = 15

    def __init__(self, folder, sites, heap="320m", offset_flush_ms=5000, log_level="warn",
                 java_options=()):
        super().__init__(folder)
        self.sites, self.heap, self.offset_flush_ms = sites, heap, offset_flush_ms
        self.log_level, self.java_options = log_level, java_options

    def start(self):
        self.lock()
        for site, bootstrap in self.sites.items():
            require_broker(bootstrap, f"the broker of {site}")
        properties = self.folder / "mirror.properties"
        properties.write_text(self.properties())
        self.spawn([*java_command("Mirror", self.heap, self.log_level, self.java_options),
                    str(properties), *self.sites])

    def properties(self):
        text = [
            "# Written anew at each start by kafka.py.",
            f"clusters={','.join(self.sites)}",
            # Topics keep their names. This policy cannot see a loop; the allow-list below, only a
            # site's own topics outward, is what prevents one.
            "replication.policy.class="
            "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            # Topics and their settings are made before the mirror starts; it only copies records.
            "sync.topic.configs.enabled=false",
            "sync.topic.acls.enabled=false",
            "refresh.topics.enabled=true",
            "refresh.topics.interval.seconds=5",
            # Readers keep their own position by link, so nobody translates offsets of groups.
            # Without offset syncs MirrorMaker refuses settings about them, as offset.lag.max.
            "emit.heartbeats.enabled=false",
            "emit.checkpoints.enabled=false",
            "emit.offset-syncs.enabled=false",
            "sync.group.offsets.enabled=false",
            "refresh.groups.enabled=false",
            "replication.factor=1",
            "heartbeats.topic.replication.factor=1",
            "checkpoints.topic.replication.factor=1",
            "tasks.max=1",
            "offset.storage.replication.factor=1",
            "offset.storage.partitions=1",
            "status.storage.replication.factor=1",
            "status.storage.partitions=1",
            "config.storage.replication.factor=1",
            # Every plugin used here is listed in its jar; the default searches all classes too.
            "plugin.discovery=service_load",
        ]
        for site, bootstrap in self.sites.items():
            text += [
                "",
                f"{site}.bootstrap.servers={bootstrap}",
                f"{site}.plugin.discovery=service_load",
                f"{site}.consumer.auto.offset.reset=earliest",
                f"{site}.consumer.check.crcs=true",
                f"{site}.producer.linger.ms=0",
                f"{site}.producer.acks=all",
                # In order even when the target was away: one request at a time.
                f"{site}.producer.max.in.flight.requests.per.connection=1",
                f"{site}.producer.max.request.size=2097152",
                # A kill -9 copies again what was copied since the last flush.
                f"{site}.offset.flush.interval.ms={self.offset_flush_ms}",
                # There is one worker in each group, so a rebalance has nobody to wait for; and a
                # mirror that is stopped for a minute goes on as if nothing had been.
                f"{site}.scheduled.rebalance.max.delay.ms=0",
                f"{site}.session.timeout.ms=120000",
                f"{site}.heartbeat.interval.ms=1000",
                f"{site}.rebalance.timeout.ms=120000",
            ]
        for origin in self.sites:
            for target in self.sites:
                if origin != target:
                    # The pattern is origin\..* and a property file wants its backslash doubled.
                    text += ["", f"{origin}->{target}.enabled=true",
                             f"{origin}->{target}.topics={origin}\\\\..*"]
        return lines(*text)

    def announcement(self):
        return {"sites": self.sites, "pid": self.pid, "supervisor": os.getpid(),
                "dir": str(self.folder), "log": str(self.log)}


def require_broker(bootstrap, what):
    """Kafka's own clients would keep trying for a long time and then not say why."""
    host, _, port = bootstrap.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as problem:
        raise Failure(f"found nothing at {bootstrap} ({problem.strerror or problem}); "
                      f"expected {what}; start it first") from None


# ---------------------------------------------------------------------------------------------
# Pair: brokers and mirror, detached
# ---------------------------------------------------------------------------------------------


def start_time(pid):
    """The start of a process since boot in ticks; with the pid it names one process for ever."""
    return process_stat(pid)[19]


def process_state(pid):
    return process_stat(pid)[0]


def process_stat(pid):
    # The name in parentheses may hold anything; the fields after it are plain.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def identity(pid):
    return {"pid": pid, "start": start_time(pid)}


def is_alive(process):
    try:
        return start_time(process["pid"]) == process["start"] and \
            process_state(process["pid"]) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_cut(process):
    return is_alive(process) and process_state(process["pid"]) == "T"


def await_end(process, deadline):
    while is_alive(process):
        if time.monotonic() > deadline:
            os.kill(process["pid"], signal.SIGKILL)
        time.sleep(0.02)


class Pair:
    """The state of `pair`: which processes it started, in DIR/state.json."""

    def __init__(self, folder):
        self.folder = Path(folder).absolute()
        self.file = self.folder / "state.json"
        self.state = json.loads(self.file.read_text()) if self.file.exists() else None

    def save(self):
        write_json(self.file, self.state)

    def require(self):
        if not self.state:
            raise Failure(f"found no {self.file}; expected the state of a pair; "
                          f"start one with `kafka.py pair up --dir {self.folder}`")

    def parts(self):
        return self.state["parts"]

    def running(self, name):
        part = self.parts().get(name)
        return bool(part) and is_alive(part["supervisor"]) and is_alive(part["jvm"])

    def launch(self, name, arguments):
        """Starts `kafka.py` detached: it stays when this process ends."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "supervisor.log", "w") as log:
            return subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve()), *arguments, "--dir", str(folder)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                start_new_session=True)

    def await_ready(self, name, process):
        line = process.stdout.readline()
        process.stdout.close()
        if not line.startswith("READY "):
            process.wait()
            words = (self.folder / name / "supervisor.log").read_text().strip()
            raise Failure(f"{name} did not start: {words}")
        ready = json.loads(line[len("READY "):])
        self.parts()[name] = {**ready, "supervisor": identity(process.pid),
                              "jvm": identity(ready["pid"])}
        self.save()
        return ready

    def up(self, sites, topics_for):
        if self.state and set(self.state["sites"]) != set(sites):
            raise Failure(f"found the sites {', '.join(self.state['sites'])} in {self.folder}; "
                          f"expected {', '.join(sites)}; `pair down` first or name another --dir")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = self.state or {"sites": sites, "parts": {}}
        names = [*sites, "mirror"]
        if all(self.running(name) for name in names):
            self.status()
            raise Failure(f"found the pair in {self.folder} running already; "
                          f"stop it with `kafka.py pair down --dir {self.folder}`")
        started = {}
        begin = time.monotonic()
        try:
            for site in sites:
                if self.running(site):
                    continue
                others = [topic for other in sites if other != site for topic in topics_for[other]]
                say(f"starting the broker of {site}")
                started[site] = self.launch(site, [
                    "broker", "--topics", ",".join(topics_for[site]),
                    "--mirrored-topics", ",".join(others)])
            for site in list(started):
                ready = self.await_ready(site, started[site])
                say(f"{site} serves at {ready['bootstrap']} "
                    f"({time.monotonic() - begin:.1f} s)")
            if not self.running("mirror"):
                say("starting the mirror")
                started["mirror"] = self.launch("mirror", ["mirror", *(
                    word for site in sites
                    for word in ("--site", f"{site}={self.parts()[site]['bootstrap']}"))])
                self.await_ready("mirror", started["mirror"])
                say(f"the mirror runs ({time.monotonic() - begin:.1f} s)")
        except BaseException:
            # Half a pair is of no use: what this call started ends with it.
            for process in started.values():
                if process.poll() is None:
                    process.terminate()
            for process in started.values():
                process.wait()
            raise
        self.status()

    def status(self):
        self.require()
        for name in [*self.state["sites"], "mirror"]:
            part = self.parts().get(name)
            if not self.running(name):
                print(f"{name}: not running")
            elif name == "mirror":
                cut = "cut (stopped)" if is_cut(part["jvm"]) else "running"
                print(f"{name}: {cut}, JVM {part['jvm']['pid']}")
            else:
                print(f"{name}: {part['bootstrap']}, JVM {part['jvm']['pid']}")
        sys.stdout.flush()
        return all(self.running(name) for name in [*self.state["sites"], "mirror"])

    def signal_mirror(self, number):
        self.require()
        if not self.running("mirror"):
            raise Failure("found no running mirror; expected one; "
                          f"start it with `kafka.py pair up --dir {self.folder}`")
        os.kill(self.parts()["mirror"]["jvm"]["pid"], number)

    def down(self, keep_data):
        if not self.state:
            say(f"nothing to stop: {self.file} does not exist")
            return
        # The mirror first: without its brokers it would wait for them in vain.
        for group in (["mirror"], self.state["sites"]):
            parts = {name: self.parts()[name] for name in group if name in self.parts()}
            for part in parts.values():
                if is_alive(part["supervisor"]):
                    os.kill(part["supervisor"]["pid"], signal.SIGTERM)
            deadline = time.monotonic() + 30
            for name, part in parts.items():
                for process in (part["supervisor"], part["jvm"]):
                    await_end(process, deadline)
                say(f"{name} ended")
        if keep_data:
            self.state["parts"] = {}
            self.save()
        else:
            self.remove_data()

    def remove_data(self):
        """Removes only what `pair` made, in case DIR holds something else."""
        for name in [*self.state["sites"], "mirror"]:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self.file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()


# ---------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------


def names(text):
    found = [name for name in text.split(",") if name]
    for name in found:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name):
            raise argparse.ArgumentTypeError(
                f"found the topic name {name!r}; expected letters, digits, '.', '_' and '-'")
    return found


def site_names(text):
    found = text.split(",")
    if len(found) < 2 or len(set(found)) != len(found):
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected two or more different sites, e.g. paris,borlange")
    for name in found:
        check_site(name)
    return found


def check_site(name):
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name) or name == "mirror":
        raise argparse.ArgumentTypeError(
            f"found the site {name!r}; expected lower-case letters, digits and '-', "
            "and not `mirror`")


def setting(text):
    key, equals, value = text.partition("=")
    if not key or not equals or " " in text:
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected NAME=VALUE without blanks, e.g. retention.ms=-1")
    return key, value


def address(text):
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected HOST:PORT, e.g. 127.0.0.1:9092")
    return text


def port_number(text):
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a port, 1 to 65535")
    return int(text)


def heap_size(text):
    if not re.fullmatch(r"[0-9]+[kmg]", text):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a size such as 384m or 1g")
    return text


def site_address(text):
    name, equals, where = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected SITE=HOST:PORT, e.g. paris=127.0.0.1:9092")
    check_site(name)
    return name, address(where)


def site_topics(text):
    name, equals, topics = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected SITE=TOPIC,TOPIC, e.g. paris=paris.inventory.events")
    check_site(name)
    return name, names(topics)


def command_install(_):
    ensure_installed()


def command_broker(options):
    ensure_installed()
    topics = {name: HOME_LOG for name in options.topics}
    topics.update({name: EVENT_LOG for name in options.mirrored_topics})
    run_in_foreground(Broker(options.dir, topics, options.port, options.controller_port,
                             options.advertised, options.heap, options.session_ms,
                             options.log_level, benchmark=options.benchmark),
                      options.until_stdin_closes)


def command_topic(options):
    ensure_installed()
    require_broker(options.bootstrap, "a broker")
    settings = dict(options.config)
    if options.create:
        kind = {} if options.plain else EVENT_LOG if options.mirrored else HOME_LOG
        topics = {name: {**kind, **settings} for name in options.create}
        topic_tool(options.bootstrap, "create", topics)
    elif options.alter:
        if not settings:
            raise Failure("found --alter without --config; expected what to alter; "
                          "add --config NAME=VALUE")
        topic_tool(options.bootstrap, "alter", {name: settings for name in options.alter})
    elif options.delete:
        topic_tool(options.bootstrap, "delete", {name: {} for name in options.delete})
    else:
        print(topic_tool(options.bootstrap, "describe", {name: {} for name in options.describe}),
              end="")


def command_mirror(options):
    sites = dict(options.site)
    if len(sites) < 2 or len(sites) != len(options.site):
        raise Failure(f"found {len(options.site)} --site options naming {len(sites)} sites; "
                      "expected two or more, each once; add --site NAME=HOST:PORT")
    ensure_installed()
    run_in_foreground(MirrorMaker(options.dir, sites, options.heap, options.offset_flush_ms,
                                  options.log_level), options.until_stdin_closes)


def command_pair_up(options):
    ensure_installed()
    chosen = dict(options.topics_for)
    strangers = set(chosen) - set(options.sites)
    if strangers:
        raise Failure(f"found --topics-for {', '.join(sorted(strangers))}; "
                      f"expected one of the sites {', '.join(options.sites)}")
    Pair(options.dir).up(options.sites, {
        site: chosen.get(site, [f"{site}.{service}.events" for service in SERVICES])
        for site in options.sites})


def command_pair_down(options):
    Pair(options.dir).down(options.keep_data)


def command_pair_status(options):
    sys.exit(0 if Pair(options.dir).status() else 1)


def command_pair_cut(options):
    Pair(options.dir).signal_mirror(signal.SIGSTOP)
    say("cut: the mirror's JVM is stopped; `pair heal` lets it go on")


def command_pair_heal(options):
    Pair(options.dir).signal_mirror(signal.SIGCONT)
    say("healed: the mirror's JVM goes on")


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(group, name, function, text):
        command = group.add_parser(name, help=text.splitlines()[0], description=text,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
        command.set_defaults(function=function)
        return command

    add(commands, "install", command_install, "Put the pinned jars into the cache.\n\n"
        "The other commands do this by themselves. The cache is $CONCORDAT_CACHE, or\n"
        "~/.cache/concordat. Needs a JDK (17 or later) and Maven.")

    def add_foreground(name, function, text, heap):
        command = add(commands, name, function, text)
        command.add_argument("--dir", required=True, help="folder for data, settings and log")
        command.add_argument("--heap", type=heap_size, default=heap,
                             help="the JVM's largest heap (default %(default)s)")
        command.add_argument("--log-level", default="warn",
                             choices=["error", "warn", "info", "debug"],
                             help="how much the log file tells (default %(default)s)")
        command.add_argument("--until-stdin-closes", action="store_true",
                             help="stop also when standard input ends")
        return command

    broker = add_foreground(
        "broker", command_broker,
        "Run one broker and controller until SIGTERM or SIGINT.\n\n"
        "Prints one line when it serves and the topics exist:\n"
        '  READY {"bootstrap": "127.0.0.1:PORT", "pid": JVM, ...}\n'
        "An existing DIR is served again, at the same address. If this process dies, its JVM is\n"
        "killed; if the JVM dies, this process says so and ends with 1.", "384m")
    broker.add_argument("--port", type=port_number,
                        help="where clients connect (default: as before, or a free one)")
    broker.add_argument("--controller-port", type=port_number,
                        help="where the controller listens (default: as before, or a free one)")
    broker.add_argument("--topics", type=names, default=[], metavar="A,B",
                        help="event logs at home here: kept for ever, on disk before acknowledged")
    broker.add_argument("--mirrored-topics", type=names, default=[], metavar="A,B",
                        help="event logs copied here from another site: kept for ever")
    broker.add_argument("--advertised", type=address, metavar="HOST:PORT",
                        help="the address told to clients, for a TCP proxy in front; it is also "
                             "the `bootstrap` of READY, where `direct` goes past the proxy")

    broker.add_argument("--session-ms", type=int, default=2000, metavar="MS",
                        help="how long the controller waits for a silent broker; a start after "
                             "kill -9 takes this much longer (default %(default)s)")

    broker.add_argument("--benchmark", action="store_true",
                        help="run as Kafka's own start script does: both compilers, G1, a heap of "
                             "1 GB, default threads; starts more slowly")

    topic = add(
        commands, "topic", command_topic,
        "Create, alter, delete or describe topics; returns when the broker shows the effect.\n\n"
        "A created topic has one partition and the settings of an event log at home;\n"
        "--config adds to them. --describe prints one JSON document a line.")
    topic.add_argument("--bootstrap", type=address, required=True, metavar="HOST:PORT")
    action = topic.add_mutually_exclusive_group(required=True)
    for name in ("create", "alter", "delete", "describe"):
        action.add_argument(f"--{name}", type=names, metavar="NAME[,NAME]")
    topic.add_argument("--config", type=setting, action="append", default=[],
                       metavar="NAME=VALUE", help="a setting, for --create and --alter")
    kind = topic.add_mutually_exclusive_group()
    kind.add_argument("--mirrored", action="store_true",
                      help="create with the settings of an event log that is a copy")
    kind.add_argument("--plain", action="store_true", help="create with Kafka's own settings")

    mirror = add_foreground(
        "mirror", command_mirror,
        "Run MirrorMaker 2 between all sites until SIGTERM or SIGINT.\n\n"
        "Only topics whose name starts with `SITE.` leave a site, under the same name; they must\n"
        "exist at both ends. Prints READY {...} when all connectors run. What has been copied is\n"
        "remembered on the brokers, so it resumes, with any --dir, after kill -9 too; then the\n"
        "records since the last flush of offsets come twice.", "320m")
    mirror.add_argument("--site", type=site_address, action="append", required=True,
                        metavar="NAME=HOST:PORT", help="a site's broker; give two or more")
    mirror.add_argument("--offset-flush-ms", type=int, default=5000, metavar="MS",
                        help="how often it remembers what it copied (default %(default)s)")

    pair = commands.add_parser("pair", help="Sites and the mirror between them, detached.",
                               description="Sites and the mirror between them, detached.")
    actions = pair.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add_pair(name, function, text):
        command = add(actions, name, function, text)
        command.add_argument("--dir", required=True, help="folder for the data and state.json")
        return command

    up = add_pair("up", command_pair_up,
                  "Start a broker for each site and the mirror.\n\n"
                  "They stay when this command ends; `pair down` ends them. If some of them run,\n"
                  "the missing ones are started; if all do, it says so and ends with 1.")
    up.add_argument("--sites", type=site_names, default=["paris", "borlange"], metavar="A,B",
                    help="default: paris,borlange")
    up.add_argument("--topics-for", type=site_topics, action="append", default=[],
                    metavar="SITE=TOPIC,TOPIC",
                    help=f"a site's own topics (default: SITE.SERVICE.events for "
                         f"{', '.join(SERVICES)})")
    down = add_pair("down", command_pair_down, "Stop everything and remove the data.")
    down.add_argument("--keep-data", action="store_true", help="for a later `pair up`")
    add_pair("status", command_pair_status,
             "Say what runs, with addresses and pids.\n\nEnds with 1 if something does not run.")
    add_pair("cut", command_pair_cut,
             "Cut the sites off from one another.\n\n"
             "Honestly: the mirror's JVM is stopped with SIGSTOP. Connections stay open and no\n"
             "packet is lost; nothing is copied until `pair heal`. A cut longer than two minutes\n"
             "makes the mirror rejoin its groups, which adds some seconds to the healing.")
    add_pair("heal", command_pair_heal, "Let the mirror go on after `pair cut` (SIGCONT).")
    return parser.parse_args(arguments)


def main():
    options = parse(sys.argv[1:])
    try:
        options.function(options)
    except Failure as failure:
        say(f"kafka.py: {failure}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
