"""One broker and controller, and the topics on a broker."""

import json
import os
import subprocess

from common import Failure, lines, write_json
from jvm import BENCHMARK, Jvm, QUICK_START, die_with_parent, java_command
from ports import await_port, free_port


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
