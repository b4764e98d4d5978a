#!/usr/bin/env python3
"""An independent reader: what the sites say must equal what their topics fold to.

  reader.py --site paris=HOST:PORT --site borlange=HOST:PORT \\
            --concordat build/release/services/cli/concordat --config shell.yaml

It reads every stream at every site with an ordinary Kafka client, applies the published rule, folds the
published events into a state of its own, looks for broken invariants on the way, and compares resources
and heads with what `concordat` answers at each site. Written from docs/subscribing.md and
docs/catalogue.md; it shares no code with the services or the followers. Prints one JSON document; the
exit code is 0, or 7 where something was found.
"""
import argparse
import base64
import collections
import importlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import chain  # noqa: E402
from state import COLLECTIONS, OF_SERVICE, Allocations, Stream  # noqa: E402

EVENTS = Path(__file__).resolve().parents[2] / "events"
SCHEMA = "urn:concordat:schema:"
READ_SECONDS = 120


class Protos:
    """The published protos, compiled by protoc into a temporary folder."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="concordat-protos-")
        protos = sorted(str(path) for path in EVENTS.glob("concordat/*/v1/*.proto"))
        subprocess.run(["protoc", "-I", str(EVENTS), f"--python_out={self.folder.name}", *protos], check=True)
        sys.path.insert(0, self.folder.name)

    def event(self, service):
        """The class of a service's Event."""
        return importlib.import_module(f"concordat.{service}.v1.events_pb2").Event

    def module(self, name):
        return importlib.import_module(name)


@dataclass
class Accepted:
    """One accepted record, by its headers."""
    offset: int
    sequence: int
    link: str
    parent: str
    type: str
    subject: str
    time: str
    writer: str
    command: str
    actor: str
    data: bytes


class Followed:
    """One stream at one site: the chain, the state, what was accepted, and what was found wrong."""

    def __init__(self, protos, name, mirrored):
        self.name = name
        site, service, _ = name.split(".")
        self.chain = chain.Chain(f"/sites/{site}/{service}", mirrored)
        self.state = Stream(site, service)
        self.message = protos.event(service)
        self.allocations = Allocations(self.state)
        self.accepted, self.void, self.findings = [], {}, []

    def add(self, headers, data, offset):
        outcome = self.chain.add(headers, data, offset)
        if outcome != "accepted":
            self.void[outcome] = self.void.get(outcome, 0) + 1
            if outcome in ("void:corrupt", "damaged"):
                self.findings.append(f"{self.name}: the record at offset {offset} is {outcome}")
            return outcome
        record = chain.Record(headers, data)
        entry = Accepted(offset, record.sequence, record.link, record.parent, record.text("ce_type"),
                         record.text("ce_subject"), record.text("ce_time"), record.text("ce_writer"),
                         record.text("ce_commandid"), record.text("ce_actor"), data or b"")
        self.accepted.append(entry)
        event = None
        if record.text("ce_dataschema") == SCHEMA + self.message.DESCRIPTOR.full_name:
            event = self.message.FromString(entry.data)
        self.state.fold(event, entry.sequence, entry.time, record.text("ce_correlationid"),
                        record.text("ce_actor"))
        if not self.state.not_folded:
            self.allocations.after(event)
        return outcome

    def problems(self):
        found = [*self.findings, *self.allocations.findings]
        found += [f"{self.name}: this reader does not fold {event}" for event in self.state.not_folded[:3]]
        if self.chain.state != "ok":
            found.append(f"{self.name} is {self.chain.state}")
        return found


def read_topic(bootstrap, topic):
    """Every record of a topic from offset 0 to where it ends now: (headers, value, offset)."""
    import confluent_kafka as kafka

    consumer = kafka.Consumer({
        "bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False,
        "auto.offset.reset": "error", "isolation.level": "read_uncommitted", "enable.partition.eof": True})
    try:
        place = kafka.TopicPartition(topic, 0, 0)
        first, end = consumer.get_watermark_offsets(place, timeout=15)
        if first != 0:
            raise ValueError(f"{topic} begins at offset {first}, expected 0: the log was cut")
        consumer.assign([place])
        offset, deadline = 0, time.monotonic() + READ_SECONDS
        while offset < end:
            if time.monotonic() > deadline:
                raise ValueError(f"{topic}: at offset {offset} of {end} after {READ_SECONDS} s")
            for message in consumer.consume(1000, timeout=0.1):
                if message.error() is not None:
                    if message.error().code() != kafka.KafkaError._PARTITION_EOF:
                        raise ValueError(f"{topic}: {message.error()}")
                    offset = max(offset, message.offset())
                    continue
                yield headers_of(message), message.value(), message.offset()
                offset = message.offset() + 1
    finally:
        consumer.close()


def headers_of(message):
    try:
        return message.headers() or []
    except (SystemError, UnicodeError):
        return [(chain.ODD, b"")]


def streams_of(sites):
    return [f"{site}.{service}.events" for site in sites for service in OF_SERVICE]


def follow_site(protos, site, bootstrap, sites):
    """Every stream as this site's brokers hold it, by name."""
    followed = {}
    for name in streams_of(sites):
        followed[name] = Followed(protos, name, mirrored=not name.startswith(f"{site}."))
        for headers, data, offset in read_topic(bootstrap, name):
            followed[name].add(headers, data, offset)
    return followed


# --- comparing -----------------------------------------------------------------------------------


def compare_replicas(by_site):
    """Every site holds the same history of every stream."""
    (first, streams), *others = by_site.items()
    for other, theirs in others:
        for name, followed in streams.items():
            links, rival = ([record.link for record in each.accepted] for each in (followed, theirs[name]))
            if links != rival:
                at = next((i for i, pair in enumerate(zip(links, rival)) if pair[0] != pair[1]),
                          min(len(links), len(rival)))
                yield f"{name}: {first} has {len(links)} events and {other} {len(rival)}; they part at {at}"


class Shell:
    """`concordat`, asked for JSON."""

    def __init__(self, program, config):
        self.words = [program, "--config", str(config), "--as", "reader"]

    def __call__(self, *words):
        done = subprocess.run([*self.words, *words, "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=120)
        if done.returncode != 0:
            raise ValueError(f"concordat {' '.join(words)} ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)


def text_of(resource):
    return json.dumps({key: value for key, value in resource.items() if key != "@type"}, sort_keys=True)


def compare_resources(site, followed, answer_of):
    """`answer_of(collection)` is what the site answers: its resources and those of its replicas."""
    for collection, service in COLLECTIONS.items():
        folded = sorted(text_of(resource) for name, each in followed.items() if each.state.service == service
                        for resource in each.state.tables[collection].values())
        answered = sorted(text_of(resource) for resource in answer_of(collection))
        for what, ours, theirs in (("folded and not answered", folded, answered),
                                   ("answered and not folded", answered, folded)):
            for text in list_without(ours, theirs)[:3]:
                yield f"{site}: {collection}: {what}: {text}"


def list_without(some, others):
    return list((collections.Counter(some) - collections.Counter(others)).elements())


def compare_heads(site, followed, heads):
    """`heads` are (stream, (sequence, link)) as the site's processes say; several may tell of one stream."""
    for name, each in followed.items():
        ours = (each.chain.sequence, each.chain.head)
        for theirs in {head for stream, head in heads if stream == name} or {None}:
            if theirs != ours:
                yield f"{site}: {name}: the head is {theirs}, folded {ours}"


def heads_of(status, site):
    return [(stream["stream"], (int(stream.get("sequence", 0)), stream.get("link", chain.ZEROS)))
            for answer in status["sites"] if answer.get("site") == site for stream in answer["streams"]]


def check(protos, brokers, shell):
    """(summary, findings) over all sites; `brokers` is {site: bootstrap}."""
    by_site = {site: follow_site(protos, site, bootstrap, brokers) for site, bootstrap in brokers.items()}
    findings = list(compare_replicas(by_site))
    for site, followed in by_site.items():
        findings += [f"{site}: {problem}" for each in followed.values() for problem in each.problems()]
        if shell is not None:
            findings += compare_resources(
                site, followed,
                lambda collection, at=site: shell("get", collection, "--site", at, "--all-sites").get("resources", []))
            findings += compare_heads(site, followed, heads_of(shell("status"), site))
    return by_site, findings


def summary_of(by_site, findings):
    return {
        "sites": {site: {
            "streams": len(followed),
            "events": sum(len(each.accepted) for each in followed.values()),
            "void": sum(sum(each.void.values()) for each in followed.values()),
            "resources": sum(len(table) for each in followed.values() for table in each.state.tables.values()),
        } for site, followed in by_site.items()},
        "findings": findings,
    }


def record_line(topic, headers, data, offset):
    """One record as a line of a recorded log."""
    return json.dumps({"topic": topic, "offset": offset,
                       "headers": [[name, (value or b"").decode()] for name, value in headers],
                       "data": base64.b64encode(data or b"").decode()})


def follow_recorded(protos, lines):
    """The streams of a recorded log, by name."""
    followed = {}
    for line in lines:
        entry = json.loads(line)
        name = entry["topic"]
        if name not in followed:
            followed[name] = Followed(protos, name, mirrored=False)
        followed[name].add([(key, value.encode()) for key, value in entry["headers"]],
                           base64.b64decode(entry["data"]), entry["offset"])
    return followed


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", action="append", required=True, metavar="NAME=HOST:PORT", help="a site's brokers")
    parser.add_argument("--concordat", metavar="PATH", help="the command line; without it only topics are compared")
    parser.add_argument("--config", metavar="FILE", help="its configuration, with every site in it")
    parser.add_argument("--record", metavar="FILE", help="also write the records of the first site's own streams here")
    return parser.parse_args()


def main():
    options = parse()
    brokers = dict(word.split("=", 1) for word in options.site)
    shell = Shell(options.concordat, options.config) if options.concordat else None
    if options.record:
        site, bootstrap = next(iter(brokers.items()))
        with open(options.record, "w") as file:
            for name in streams_of([site]):
                for headers, data, offset in read_topic(bootstrap, name):
                    file.write(record_line(name, headers, data, offset) + "\n")
    by_site, findings = check(Protos(), brokers, shell)
    print(json.dumps(summary_of(by_site, findings), indent=1))
    return 7 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
