#!/usr/bin/env python3
"""Follows one Concordat stream with an ordinary Kafka client and decides, record by record,
what every other reader of the same log decides. The rule is in docs/subscribing.md.

Nothing here is shared with the services: Chain is the whole rule, and needs no Kafka.
"""
import argparse
import base64
import hashlib
import json
import os
import re
import signal
import struct
import sys
import time

ZEROS = "0" * 64
REQUIRED = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time",
            "ce_sequence", "ce_parent", "ce_writer", "content-type")
HEX64 = re.compile(rb"[0-9a-f]{64}")
DECIMAL = re.compile(rb"0|[1-9][0-9]{0,18}")
COVERED_NAME = re.compile(r"ce_[a-z0-9]+")
# How many void links a reader remembers. It is part of the rule: readers with different
# limits could disagree about a log that somebody floods with strangers.
LIMIT = 65536
# What a decoder puts in place of bytes that are no text.
UNREADABLE = "\ufffd"


class FollowError(Exception):
    """What was found, what was expected and what to do about it."""


def covered(name):
    return name == "content-type" or (name.startswith("ce_") and name != "ce_id")


def canonical(headers, data):
    """The bytes the link is the SHA-256 of; headers are (name, bytes or None), null is empty."""
    pairs = sorted((name.encode(), value or b"") for name, value in headers if covered(name))
    parts = [part for pair in pairs for part in pair] + [data or b""]
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def link_of(headers, data):
    return hashlib.sha256(canonical(headers, data)).hexdigest()


class Chain:
    """The reader's state, and the rule that moves it: add() takes the records in log order."""

    def __init__(self, source, mirrored=False, limit=LIMIT):
        self.source = source.encode()
        self.mirrored = mirrored
        self.limit = limit
        self.head = {"link": ZEROS, "sequence": -1, "offset": -1}
        self.ahead = {}        # void link -> its sequence; none is below the head's sequence
        self.corrupt = set()   # links of corrupt records that claim the head as parent
        self.suspect = -1      # the head must reach this sequence before a mirror is trusted again
        self.damaged = False

    @property
    def state(self):
        if self.damaged:
            return "damaged"
        return "suspect" if self.suspect >= 0 else "ok"

    def add(self, headers, data, offset):
        """Returns the outcome: "accepted", "void:<reason>" or "damaged"."""
        if self.damaged:
            return "damaged"
        outcome = self._decide(headers, data, offset)
        if len(self.ahead) + len(self.corrupt) > self.limit:
            self.damaged = True
        if self.damaged:
            return "damaged"
        return outcome

    def _decide(self, headers, data, offset):
        # Some clients cannot deliver any header of a record once one name is not UTF-8, and others
        # deliver this character in it, so no reader may look at such a record.
        if any(UNREADABLE in name for name, _ in headers):
            return "void:corrupt"
        # A header that appears twice has no value: readers that take the first one and readers
        # that take the last one must not disagree.
        fields, twice = {}, set()
        for name, value in headers:
            if name in fields:
                twice.add(name)
            fields[name] = value or b""
        names = list(fields)
        for name in twice:
            del fields[name]

        link = link_of(headers, data)
        parent = fields.get("ce_parent", b"").decode("latin-1")
        # Clients decode names outside a-z0-9 differently, so such a record has no single link.
        has_link = (not any(covered(name) for name in twice)
                    and all(COVERED_NAME.fullmatch(name) for name in names if name.startswith("ce_")))
        if not has_link or not self._well_formed(fields) or fields["ce_id"] != link.encode():
            if parent == self.head["link"]:
                # The damage may be in ce_id itself, so what it should have been counts too. The
                # head is never corrupt, or one forged ce_id would end the stream.
                claims = [fields.get("ce_id", b"")] + ([link.encode()] if has_link else [])
                self.corrupt.update(claim.decode() for claim in claims if HEX64.fullmatch(claim))
                self.corrupt.discard(self.head["link"])
            return "void:corrupt"

        sequence = int(fields["ce_sequence"])
        if sequence <= self.head["sequence"]:
            if sequence == self.head["sequence"] and link != self.head["link"]:
                # A rival of the head may have children, and knowing it tells them from a gap.
                self.ahead[link] = sequence
            return "void:stale"
        if parent in self.corrupt:
            # Somebody built on a record that can no longer be read.
            self.damaged = True
            return "damaged"
        if link in self.ahead:
            return "void:repeated"
        if parent == self.head["link"] and sequence == self.head["sequence"] + 1:
            self.head = {"link": link, "sequence": sequence, "offset": offset}
            self.corrupt.clear()
            # The accepted link itself is never in here: it would have been repeated.
            self.ahead = {known: at for known, at in self.ahead.items() if at >= sequence}
            if sequence >= self.suspect:
                self.suspect = -1
            return "accepted"
        if self.mirrored and parent != self.head["link"] and parent not in self.ahead:
            self.suspect = max(self.suspect, sequence)
        self.ahead[link] = sequence
        return "void:stranger"

    def _well_formed(self, fields):
        # The other values are not looked at: what one reader checks and another does not would
        # let them disagree.
        return (all(name in fields for name in REQUIRED)
                and HEX64.fullmatch(fields["ce_id"])
                and HEX64.fullmatch(fields["ce_parent"])
                and DECIMAL.fullmatch(fields["ce_sequence"])
                and int(fields["ce_sequence"]) < 2 ** 63
                and fields["ce_source"] == self.source)


def source_of(stream):
    parts = stream.split(".")
    if len(parts) != 3 or parts[2] != "events" or not all(parts):
        raise FollowError("Found the stream name %r; expected <site>.<service>.events. When the topic "
                          "has another name, give the stream's with --stream." % stream)
    return "/sites/%s/%s" % (parts[0], parts[1])


# The state file: everything a reader has to remember between runs.

def save_state(path, stream, topic, chain, offset):
    state = {"format": 1, "stream": stream, "topic": topic, "mirrored": chain.mirrored, "offset": offset,
             "head": chain.head, "ahead": chain.ahead, "corrupt": sorted(chain.corrupt),
             "suspect": chain.suspect, "damaged": chain.damaged}
    # A reader killed while it writes must find the old file or the new one, never half of one.
    temporary = path + ".new"
    with open(temporary, "w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_state(path, stream, topic, chain):
    """Fills the chain and returns the next offset to read, or None when there is no file yet."""
    try:
        with open(path) as file:
            state = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FollowError("Found a state file %s that cannot be read (%s); expected what an earlier run "
                          "wrote. Delete it to read the stream from the beginning." % (path, error))
    try:
        expected = {"format": 1, "stream": stream, "topic": topic, "mirrored": chain.mirrored}
        found = {name: state[name] for name in expected}
        head = state["head"]
        chain.head = {"link": str(head["link"]), "sequence": int(head["sequence"]),
                      "offset": int(head["offset"])}
        chain.ahead = {str(link): int(sequence) for link, sequence in state["ahead"].items()}
        chain.corrupt = set(state["corrupt"])
        chain.suspect = int(state["suspect"])
        chain.damaged = bool(state["damaged"])
        offset = int(state["offset"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FollowError("Found a state file %s without a usable %s; expected what an earlier run "
                          "wrote. Delete it to read the stream from the beginning." % (path, error))
    if found != expected:
        raise FollowError("Found a state file %s of %s; expected one of %s. Use one state file for each "
                          "stream." % (path, json.dumps(found), json.dumps(expected)))
    return offset


# Output, the same in every follower.

class Output:
    def __init__(self, everything, as_json):
        self.everything = everything
        self.as_json = as_json
        self.accepted = 0
        self.void = {}

    def record(self, outcome, headers, data, offset):
        outcome, _, reason = outcome.partition(":")
        if outcome == "accepted":
            self.accepted += 1
        elif outcome == "void":
            self.void[reason] = self.void.get(reason, 0) + 1
        if reason == "corrupt" or outcome == "damaged":
            alarm("The record at offset %d is %s." % (offset, reason or outcome))
        if outcome == "void" and not self.everything:
            return
        fields = {name: (value or b"").decode("utf-8", "replace") for name, value in headers}
        line = {"offset": offset, "outcome": outcome, "reason": reason, "link": link_of(headers, data)}
        for name in ("sequence", "type", "subject", "time"):
            line[name] = fields.get("ce_" + name, "")
        if self.as_json:
            print_json(line)
        else:
            # A header may hold a tab or a line end, which must not forge a line of output.
            print("\t".join(re.sub(r"[\x00-\x1f\x7f]", "?", str(field)) for field in line.values()))

    def summary(self, chain):
        print_json({"accepted": self.accepted, "void": dict(sorted(self.void.items())),
                    "head": chain.head, "state": chain.state})
        sys.stdout.flush()
        if chain.state == "damaged":
            alarm("The log is damaged: a record builds on one that cannot be read, or more than %d void "
                  "links are pending. Expected an unbroken chain. Follow another replica, and tell the "
                  "site's operators." % chain.limit)
        elif chain.state == "suspect":
            alarm("This replica has a gap: a record at sequence %d has a parent that is not here. Decide "
                  "nothing from it; follow the site's own log or another replica." % chain.suspect)


def print_json(value):
    print(json.dumps(value, separators=(",", ":"), ensure_ascii=True))


def alarm(message):
    sys.stdout.flush()
    print("follow: " + message, file=sys.stderr, flush=True)


# The Kafka side.

def follow(options):
    try:
        import confluent_kafka as kafka
    except ImportError:
        raise FollowError("Found no module confluent_kafka; expected version 1.7.0 or later. Install "
                          "python3-confluent-kafka (Debian) or confluent-kafka (PyPI).")
    stream = options.stream or options.topic
    chain = Chain(source_of(stream), options.mirrored)
    start = load_state(options.state, stream, options.topic, chain) if options.state else None
    output = Output(options.all, options.json)
    if chain.damaged:
        output.summary(chain)
        return chain

    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(1))

    consumer = kafka.Consumer({
        "bootstrap.servers": options.bootstrap,
        "group.id": "concordat-follower",  # the client asks for one; no group is joined
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        # The client's default hides aborted transactions, which other readers see.
        "isolation.level": "read_uncommitted",
        "enable.partition.eof": True,
        "check.crcs": True,
    })
    try:
        first, end = edges(kafka, consumer, options.topic)
        offset = check_start(kafka, consumer, options, chain, start, first, end)
        consumer.assign([kafka.TopicPartition(options.topic, 0, offset)])
        saved = time.monotonic()
        while not stopped and not chain.damaged and not (options.until_end and offset >= end):
            message = consumer.poll(0.2)
            if message is not None and message.error():
                if message.error().code() == kafka.KafkaError._PARTITION_EOF:
                    # Markers of transactions hold the last offsets, and are never delivered.
                    offset = max(offset, message.offset())
                else:
                    raise FollowError("Found the Kafka error %s while reading %s; expected records. Check "
                                      "the brokers and run again." % (message.error(), options.topic))
            elif message is not None:
                headers, data = headers_of(message), message.value()
                outcome = chain.add(headers, data, message.offset())
                output.record(outcome, headers, data, message.offset())
                offset = message.offset() + 1
            if options.state and time.monotonic() - saved > 1:
                # What was decided goes out before it is remembered: a stop in between repeats
                # lines, and loses none.
                sys.stdout.flush()
                save_state(options.state, stream, options.topic, chain, offset)
                saved = time.monotonic()
            if message is None or message.error():
                sys.stdout.flush()
        output.summary(chain)
        if options.state:
            save_state(options.state, stream, options.topic, chain, offset)
    except kafka.KafkaException as error:
        raise FollowError("Found the Kafka error %s; expected to reach %s at %s. Check the address and "
                          "the brokers." % (error.args[0], options.topic, options.bootstrap))
    finally:
        consumer.close()
    return chain


def headers_of(message):
    """The headers; when the client cannot decode a name, one header that says so."""
    try:
        headers = message.headers() or []
    except (SystemError, UnicodeError):
        headers = [(UNREADABLE, b"")]
    if any(UNREADABLE in name for name, _ in headers):
        return [(UNREADABLE, b"")]
    return headers


def edges(kafka, consumer, topic):
    """The first offset the log holds, and the offset after its last."""
    # Asking for one topic by name could make the broker create it.
    metadata = consumer.list_topics(timeout=15).topics.get(topic)
    if metadata is None or metadata.error:
        raise FollowError("Found no topic %s; expected a stream. Check the name, and that you may read "
                          "it." % topic)
    if len(metadata.partitions) != 1:
        raise FollowError("Found %d partitions in %s; expected 1, because a stream is one partition. Check "
                          "that the topic is a stream." % (len(metadata.partitions), topic))
    return consumer.get_watermark_offsets(kafka.TopicPartition(topic, 0), timeout=15)


def check_start(kafka, consumer, options, chain, start, first, end):
    """The offset to read first, once it is sure that the log is the one the state came from."""
    if start is None:
        if first > 0:
            raise FollowError("Found %s beginning at offset %d; expected 0, because the chain is followed "
                              "from its first record. Follow a replica that holds the whole stream, or go "
                              "on from a state file." % (options.topic, first))
        return 0
    head = chain.head
    # Without a head to look up, only the whole log read so far can vouch for the state.
    held = first <= head["offset"] and start <= end if head["offset"] >= 0 else first == 0 and start <= end
    if held and head["offset"] >= 0:
        consumer.assign([kafka.TopicPartition(options.topic, 0, head["offset"])])
        held, deadline = False, time.monotonic() + 30
        while True:
            message = consumer.poll(0.2)
            if message is not None and not message.error():
                held = (message.offset() == head["offset"]
                        and link_of(headers_of(message), message.value()) == head["link"])
                break
            if message is not None and message.error().code() == kafka.KafkaError._PARTITION_EOF:
                break
            if message is not None or time.monotonic() > deadline:
                raise FollowError("Found no answer when reading %s at offset %d (%s); expected a record. Check "
                                  "the brokers and run again." % (options.topic, head["offset"],
                                                                  message.error() if message else "30 s passed"))
    if not held:
        raise FollowError(
            "Found %s holding offsets %d to %d without the record %s at offset %d; expected the head that "
            "%s remembers, and offset %d as the next. The topic was cut or made anew: delete the state file "
            "to read the stream from the beginning."
            % (options.topic, first, end - 1, head["link"], head["offset"], options.state, start))
    return start


# The test vectors.

def run_vectors(path, everything):
    """Prints a line for each failure (with everything, a line for each case) and a summary."""
    try:
        with open(path) as file:
            vectors = json.load(file)
        if vectors["format"] != 1:
            raise FollowError("Found vectors of format %r in %s; expected 1. Use the vectors of this "
                              "version." % (vectors["format"], path))
        cases = [link_case(case, everything) for case in vectors.get("links", [])]
        cases += [log_case(case, everything) for part in ("logs", "settled")
                  for case in vectors.get(part, [])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FollowError("Found no test vectors in %s (%s: %s); expected a file like "
                          "events/testdata/vectors.json." % (path, type(error).__name__, error))
    print_json({"cases": len(cases), "failures": cases.count(False)})
    return all(cases)


def from_json(headers, data):
    # The Kafka client ends a name at its first zero byte, and so do the vectors.
    return ([(name.partition("\0")[0], None if value is None else value.encode())
             for name, value in headers],
            None if data is None else base64.b64decode(data))


def compare(name, expected, found, everything):
    wrong = {key: {"expected": value, "found": found[key]}
             for key, value in expected.items() if value != found[key]}
    if everything:
        print_json(dict(found, name=name))
    if wrong:
        print_json({"name": name, "failed": wrong})
    return not wrong


def link_case(case, everything):
    headers, data = from_json(case["headers"], case["data_base64"])
    found = {"canonical_base64": base64.b64encode(canonical(headers, data)).decode(),
             "link": link_of(headers, data)}
    return compare(case["name"], {key: case[key] for key in found}, found, everything)


def log_case(case, everything):
    chain = Chain(case["source"], case["mirrored"], case.get("limit", LIMIT))
    outcomes = [chain.add(*from_json(record["headers"], record["data_base64"]), offset)
                for offset, record in enumerate(case["records"])]
    found = {"expect": outcomes, "state": chain.state,
             "head": {"link": chain.head["link"], "sequence": chain.head["sequence"]}}
    # A log without expectations is only decided, so that readers can be compared with each other.
    return compare(case["name"], {key: case[key] for key in found if key in case}, found, everything)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Follows one Concordat stream from its first record.")
    parser.add_argument("--vectors", metavar="FILE", help="run the test vectors in FILE, without Kafka")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="Kafka brokers")
    parser.add_argument("--topic", help="the topic that holds the stream")
    parser.add_argument("--stream", help="the stream's name, when the topic has another one")
    parser.add_argument("--mirrored", action="store_true", help="the topic is a replica: watch for gaps")
    parser.add_argument("--until-end", action="store_true", help="stop where the log ended at the start")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of tab-separated ones")
    parser.add_argument("--all", action="store_true", help="print void records too")
    parser.add_argument("--state", metavar="FILE", help="remember the position here, and go on from it")
    options = parser.parse_args(arguments)
    try:
        if options.vectors:
            return 0 if run_vectors(options.vectors, options.all) else 1
        if not options.bootstrap or not options.topic:
            raise FollowError("Found no --bootstrap or no --topic; expected both, or --vectors FILE.")
        chain = follow(options)
        return 0 if chain.state == "ok" else 7
    except FollowError as error:
        alarm(str(error))
        return 1


if __name__ == "__main__":
    # argparse leaves with 2; every error of the command is 1.
    try:
        sys.exit(main())
    except SystemExit as leaving:
        sys.exit(1 if leaving.code == 2 else leaving.code)
