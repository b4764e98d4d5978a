"""Real processes for one test: concordatd, the command line, brokers and the mirror between them.

A Cluster owns a temporary folder and whatever it started; close() ends the processes and removes the
folder. Children die with the test, however it ends. Waiting is polling with a deadline, never a pause.
"""
import contextlib
import ctypes
import functools
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
REPOSITORY = Path(__file__).resolve().parents[2]
KAFKA = REPOSITORY / "deploy" / "kafka" / "kafka.py"
sys.path.insert(0, str(KAFKA.parent))
from ports import free_port  # noqa: E402
FOLLOW = REPOSITORY / "events" / "followers" / "python" / "follow.py"
JAVA_BUILD = REPOSITORY / "events" / "followers" / "java" / "build.sh"
RULES = REPOSITORY / "services" / "compliance" / "rules"
SERVICES = ("inventory", "reservations", "compliance", "deployment")
BUILD = REPOSITORY / "build" / "dev"
BINARIES = {
    "CONCORDATD": BUILD / "services" / "node" / "concordatd",
    "CONCORDAT": BUILD / "services" / "cli" / "concordat",
    "RPC_CLIENT": BUILD / "tests" / "integration" / "rpc_client",
    "TAMPER_ROW": BUILD / "tests" / "integration" / "tamper_row",
}
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def binary(name):
    path = Path(os.environ.get(name) or BINARIES[name])
    if not path.exists():
        raise RuntimeError(f"found no {path}; expected it built, or its path in ${name}")
    return str(path.absolute())


def stream(site, service):
    return f"{site}.{service}.events"


def die_with_test():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def eventually(condition, seconds=30, what="", pause=0.05):
    """What `condition` returns once that is true; an AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}; found last: {found!r}")
        time.sleep(pause)


class Ended(AssertionError):
    """A process that was expected to serve has ended."""


class Node:
    """One concordatd. `config` is its configuration, written anew at each start."""

    READY_SECONDS = 60

    def __init__(self, cluster, name, config, wrapper=()):
        self.cluster, self.name, self.config, self.wrapper = cluster, name, config, list(wrapper)
        self.path = cluster.folder / f"{name}.yaml"
        self.errors = cluster.folder / f"{name}.err"
        self.data = Path(config.get("data_dir", cluster.folder))
        self.process = None

    def launch(self):
        """Starts it and does not wait."""
        if self.process is not None:
            self.process.stdout.close()
        # JSON is YAML.
        self.path.write_text(json.dumps(self.config, indent=1))
        self.begin = self.errors.stat().st_size if self.errors.exists() else 0
        with open(self.errors, "ab") as errors:
            self.process = subprocess.Popen(
                [*self.wrapper, binary("CONCORDATD"), "--config", str(self.path)], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors, preexec_fn=die_with_test)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.output = b""
        return self

    def ready(self):
        self.output += self.process.stdout.read() or b""
        if self.process.poll() is not None:
            raise Ended(f"{self.name} ended with {self.process.returncode}: {self.said()[-3000:]}")
        return b"READY " in self.output and self.output.endswith(b"\n")

    def start(self):
        self.launch()
        return self.wait_ready()

    def wait_ready(self):
        eventually(self.ready, self.READY_SECONDS, f"{self.name} is ready: {self.said()[-2000:]}", pause=0.02)
        return self

    def said(self):
        """What this run wrote to its log."""
        with open(self.errors, "rb") as errors:
            errors.seek(self.begin)
            return errors.read().decode("utf-8", "replace")

    def log(self):
        """What this run logged: time, level and message of each line. A line that is no such object is a bug,
        for whoever collects logs would lose it.
        """
        with open(self.errors, "rb") as errors:
            errors.seek(self.begin)
            lines = errors.read().splitlines()
        entries = []
        for line in lines:
            try:
                entry = json.loads(line.decode())
            except ValueError as error:
                raise AssertionError(f"{self.name} logged {line!r}, expected one JSON object: {error}") from error
            if not isinstance(entry, dict) or set(entry) != {"time", "level", "message"}:
                raise AssertionError(f"{self.name} logged {line!r}, expected an object of time, level and message")
            entries.append(entry)
        return entries

    @property
    def doors(self):
        """Where its sites answer, by its line READY: {"paris": {"grpc": …, "http": …}}."""
        line = next(line for line in self.output.splitlines() if line.startswith(b"READY "))
        return json.loads(line[len(b"READY "):])["sites"]

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """As an operator does; a process that cannot stop cleanly has a bug."""
        self.process.terminate()
        code = self.process.wait(60)
        if code != 0:
            raise AssertionError(f"{self.name} ended with {code}, expected 0: {self.said()[-3000:]}")
        self.log()

    def ends(self, seconds=60):
        """Waits until it ends by itself: the exit code."""
        return self.process.wait(seconds)

    def release(self):
        if self.alive():
            self.kill()
        if self.process is not None:
            self.process.stdout.close()


class Kafka:
    """A program of kafka.py: a broker or the mirror."""

    def __init__(self, cluster, *arguments):
        self.cluster, self.arguments = cluster, [str(word) for word in arguments]
        self.process = None

    def launch(self):
        self.process = subprocess.Popen(
            [sys.executable, str(KAFKA), *self.arguments, "--until-stdin-closes"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_test)
        return self

    def wait_ready(self):
        line = self.process.stdout.readline()
        if not line.startswith("READY "):
            raise AssertionError(f"kafka.py {self.arguments} said {line!r} and {self.process.stderr.read()}")
        self.facts = json.loads(line[len("READY "):])
        return self

    def start(self):
        return self.launch().wait_ready()

    @property
    def bootstrap(self):
        return self.facts["bootstrap"]

    def kill(self):
        os.kill(self.facts["pid"], signal.SIGKILL)
        self.release()

    def pause(self):
        os.kill(self.facts["pid"], signal.SIGSTOP)

    def resume(self):
        os.kill(self.facts["pid"], signal.SIGCONT)

    def release(self):
        if self.process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(90)  # longer than it gives its own process to stop in order
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        self.process = None


class Answer:
    """What a command of the command line said."""

    def __init__(self, words, done):
        self.words, self.code, self.out, self.err = words, done.returncode, done.stdout, done.stderr

    @property
    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return f"concordat {' '.join(self.words)}\nexit code {self.code}\n{self.out}{self.err}"


class Shell:
    """The command line, with a configuration of its own."""

    # A third of such a short run would look for leaks, which cli_test does.
    environment = {"ASAN_OPTIONS": "detect_leaks=0:malloc_context_size=2"}

    def __init__(self, cluster, sites, site=None, name="shell"):
        """`sites`: {"paris": {"address": …, "services": {…}}}; `site` is asked unless said otherwise."""
        self.path = cluster.folder / f"{name}.yaml"
        context = {"site": site or next(iter(sites)), "sites": sites}
        self.path.write_text(json.dumps({"current-context": "test", "contexts": {"test": context}}))

    def run(self, *words, stdin=""):
        words = [str(word) for word in words]
        done = subprocess.run(
            [binary("CONCORDAT"), "--config", str(self.path), "--as", "tester", *words], input=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, preexec_fn=die_with_test,
            env={**os.environ, **self.environment})
        return Answer(words, done)

    def __call__(self, *words, code=0, stdin=""):
        """Runs it and expects this exit code."""
        answer = self.run(*words, stdin=stdin)
        if answer.code != code:
            raise AssertionError(f"expected exit code {code}: {answer}")
        return answer

    def json(self, *words, code=0, stdin=""):
        return self(*words, "-o", "json", code=code, stdin=stdin).json

    def streams(self, site):
        """The streams as the site has them, by name."""
        merged = {}
        for answer in self.json("status")["sites"]:
            if answer["site"] != site:
                continue
            for state in answer["streams"]:
                # Of several processes the home's word counts most.
                if state["stream"] not in merged or state.get("home"):
                    merged[state["stream"]] = state
        return merged

    def heads(self, site):
        return {name: (int(state["sequence"]), state["link"]) for name, state in self.streams(site).items()}

    def voids(self, site, topic):
        """{reason: how many records of the stream were void there for it}"""
        return {reason: int(count) for reason, count in self.streams(site)[topic].get("voidRecords", {}).items()}

    def get(self, *words, site=None):
        return self.json("get", *words, *(("--site", site) if site else ()))

    def wait_state(self, collection, name, state, site, seconds=30):
        """Until a resource is in a state, such as RESERVATION_STATE_ACTIVE."""
        def reached():
            found = self.get(collection, name, site=site)
            return found if found.get("state") == state else None
        return eventually(reached, seconds, f"{name} is {state} at {site}", pause=0.1)


class Cluster:
    """Everything that one test runs."""

    def __init__(self, folder=None):
        self.stack = contextlib.ExitStack()
        self.folder = Path(folder or tempfile.mkdtemp(prefix="concordat-test-"))
        self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.taken = set()

    def close(self):
        self.stack.close()

    def free_port(self):
        """One that is free at a restart too."""
        port = free_port(self.taken)
        self.taken.add(port)
        return port

    def address(self):
        return f"127.0.0.1:{self.free_port()}"

    def node(self, name, config, wrapper=()):
        node = Node(self, name, config, wrapper)
        self.stack.callback(node.release)
        return node

    def broker(self, site, sites=("paris", "borlange"), folder=None):
        """A broker of a site: its own topics at home, the others' as mirrored ones."""
        own = [stream(site, service) for service in SERVICES]
        others = [stream(other, service) for other in sites if other != site for service in SERVICES]
        words = ["broker", "--dir", folder or self.folder / f"broker-{site}", "--topics", ",".join(own)]
        if others:
            words += ["--mirrored-topics", ",".join(others)]
        return self.kafka(*words)

    def mirror(self, brokers, *options):
        sites = [word for site, broker in brokers.items() for word in ("--site", f"{site}={broker.bootstrap}")]
        return self.kafka("mirror", "--dir", self.folder / "mirror", *sites, *options)

    def kafka(self, *arguments):
        program = Kafka(self, *arguments)
        self.stack.callback(program.release)
        return program

    def topic(self, broker, *arguments):
        done = subprocess.run([sys.executable, str(KAFKA), "topic", "--bootstrap", broker.bootstrap, *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        if done.returncode != 0:
            raise AssertionError(f"kafka.py topic {arguments}: {done.stdout}")
        return done.stdout


@functools.lru_cache(maxsize=None)
def follower(language):
    """How a follower is called; the Java one is built where it is not."""
    if language == "python":
        return ["/usr/bin/python3", str(FOLLOW)]
    jar = subprocess.run([JAVA_BUILD], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return ["java", "-XX:TieredStopAtLevel=1", "-jar", jar]


def follow(broker, topic, *options, code=0, language="python"):
    """What a follower decides about a topic: its lines and its summary."""
    done = subprocess.run(
        [*follower(language), "--bootstrap", broker.bootstrap, "--topic", topic, "--until-end", "--json", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    if done.returncode != code:
        raise AssertionError(f"the {language} follower of {topic} ended with {done.returncode}, expected {code}: "
                             f"{done.stdout[-1000:]}{done.stderr}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[:-1], lines[-1]


def read_topic(broker, topic):
    """Every record of a topic: (offset, headers as a dict, value)."""
    import confluent_kafka

    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker.bootstrap, "group.id": "test", "enable.auto.commit": False,
        "auto.offset.reset": "error", "isolation.level": "read_uncommitted"})
    try:
        place = confluent_kafka.TopicPartition(topic, 0, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=15)
        consumer.assign([place])
        records = []
        deadline = time.monotonic() + 60
        while len(records) < end:
            assert time.monotonic() < deadline, f"{topic}: read {len(records)} of {end} records in 60 s"
            for message in consumer.consume(1000, timeout=1):
                assert message.error() is None, message.error()
                records.append((message.offset(), dict(message.headers() or []), message.value()))
        return records
    finally:
        consumer.close()


def produce(broker, topic, headers, value, copies=1):
    """Appends a record as somebody else than the services would."""
    import confluent_kafka

    producer = confluent_kafka.Producer({
        "bootstrap.servers": broker.bootstrap, "queue.buffering.max.messages": max(copies, 1000)})
    for _ in range(copies):
        producer.produce(topic, partition=0, value=value, headers=list(headers.items()))
    assert producer.flush(60) == 0, "the record was not taken"


def http_get(address, path):
    """Status and text of a page."""
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Metrics:
    """What a process tells Prometheus at one moment."""

    SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? ([^ ]+)")

    def __init__(self, address):
        status, self.text = http_get(address, "/metrics")
        assert status == 200, f"/metrics at {address} answered {status}: {self.text}"
        self.samples = []
        for line in self.text.splitlines():
            if not line.startswith("#"):
                name, labels, value = self.SAMPLE.fullmatch(line).groups()
                self.samples.append((name, dict(re.findall(r'([a-z_]+)="([^"]*)"', labels or "")), float(value)))

    def by(self, label, name, **labels):
        """{the label's value: the sample}, of the samples that have all the labels given."""
        return {found[label]: value for sample, found, value in self.samples
                if sample == name and labels.items() <= found.items()}

    def total(self, name, **labels):
        """The sum of those samples; 0 where there are none, as a counter's that has not counted yet."""
        return sum(value for sample, found, value in self.samples if sample == name and labels.items() <= found.items())


def rpc_all(address, method, requests):
    """Unary calls by name, `concordat.node.v1.NodeService/Verify`, one after the other, with JSON in and out."""
    if not requests:
        return []
    done = subprocess.run([binary("RPC_CLIENT"), "call", address, method, *map(json.dumps, requests)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120,
                          preexec_fn=die_with_test)
    if done.returncode != 0:
        raise AssertionError(f"{method} at {address}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def rpc(address, method, request=None):
    return rpc_all(address, method, [request or {}])[0]


def digests(address):
    """{stream: {table: (rows, digest as stored, digest as folded)}} at one process."""
    answer = rpc(address, "concordat.node.v1.NodeService/Verify")
    return {entry["stream"]: {table["table"]: (int(table["rows"]), table["stored"], table["folded"])
                              for table in entry["tables"]}
            for entry in answer["streams"]}
