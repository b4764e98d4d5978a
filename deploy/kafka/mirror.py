"""MirrorMaker 2 between the brokers of sites."""

import os
import socket

from common import Failure, lines
from jvm import Jvm, java_command


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
