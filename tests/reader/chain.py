"""The acceptance rule, written from docs/subscribing.md alone.

Law: a record is judged from its headers and bytes and from what came before it in the same topic; nobody
is asked. Shares no code with the services or with the followers.
"""
import hashlib
import re
import struct

ZEROS = "0" * 64
LIMIT = 65536
REQUIRED = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_sequence", "ce_parent",
            "ce_writer", "content-type")
LINK = re.compile(rb"[0-9a-f]{64}")
SEQUENCE = re.compile(rb"0|[1-9][0-9]*")
ODD = "\ufffd"


class Damaged(Exception):
    """The rest of the log can be neither accepted nor void."""


def is_covered(name):
    return name == "content-type" or (name.startswith("ce_") and name != "ce_id")


def is_odd(name):
    return name.startswith("ce_") and not re.fullmatch("[a-z0-9]+", name[3:])


def counted(data):
    return struct.pack(">I", len(data)) + data


def link_of(headers, data):
    """The link of a record: 64 hexadecimal digits."""
    covered = sorted((name.encode(), value or b"") for name, value in headers if is_covered(name))
    hashed = b"".join(counted(name) + counted(value) for name, value in covered) + counted(data or b"")
    return hashlib.sha256(hashed).hexdigest()


class Record:
    """Headers and value as the rule sees them."""

    def __init__(self, headers, data):
        self.headers, self.data = headers, data
        self.unreadable = any(ODD in name for name, _ in headers)
        names = [name for name, _ in headers]
        self.once = {name: value or b"" for name, value in headers if names.count(name) == 1}
        self.names = set(names)
        self.twice = any(names.count(name) > 1 for name in self.names if is_covered(name))
        self.odd = any(is_odd(name) for name in self.names)
        self.link = link_of(headers, data)

    def value(self, name):
        return self.once.get(name, b"")

    def text(self, name):
        return self.value(name).decode("utf-8", "replace")

    @property
    def sequence(self):
        return int(self.value("ce_sequence"))

    @property
    def parent(self):
        return self.text("ce_parent")

    def is_corrupt(self, source):
        sequence = self.value("ce_sequence")
        return bool(
            self.unreadable or self.odd or self.twice
            or any(name not in self.once for name in REQUIRED)
            or not LINK.fullmatch(self.value("ce_id")) or not LINK.fullmatch(self.value("ce_parent"))
            or not SEQUENCE.fullmatch(sequence) or len(sequence) > 19 or int(sequence) >= 1 << 63
            or self.value("ce_source") != source.encode() or self.value("ce_id") != self.link.encode())


class Chain:
    """What a reader keeps of one stream."""

    def __init__(self, source, mirrored=False, limit=LIMIT):
        self.source, self.mirrored, self.limit = source, mirrored, limit
        self.head, self.sequence, self.offset = ZEROS, -1, -1
        self.ahead, self.corrupt, self.suspect, self.damaged = {}, set(), -1, False

    @property
    def state(self):
        return "damaged" if self.damaged else "suspect" if self.suspect >= 0 else "ok"

    def add(self, headers, data, offset):
        """`accepted`, `void:REASON` or `damaged`."""
        if self.damaged:
            return "damaged"
        outcome = self.judge(Record(headers, data), offset)
        if len(self.ahead) + len(self.corrupt) > self.limit:
            outcome = "damaged"
        self.damaged = outcome == "damaged"
        return outcome

    def judge(self, record, offset):
        if record.is_corrupt(self.source):
            self.remember_corrupt(record)
            return "void:corrupt"
        sequence, link, parent = record.sequence, record.link, record.parent
        if sequence <= self.sequence:
            if sequence == self.sequence and link != self.head:
                self.ahead[link] = sequence
            return "void:stale"
        if parent in self.corrupt:
            return "damaged"
        if link in self.ahead:
            return "void:repeated"
        if parent == self.head and sequence == self.sequence + 1:
            self.accept(link, sequence, offset)
            return "accepted"
        if self.mirrored and parent != self.head and parent not in self.ahead:
            self.suspect = max(self.suspect, sequence)
        self.ahead[link] = sequence
        return "void:stranger"

    def accept(self, link, sequence, offset):
        self.head, self.sequence, self.offset = link, sequence, offset
        self.corrupt.clear()
        self.ahead = {link: at for link, at in self.ahead.items() if at >= sequence}
        if sequence >= self.suspect:
            self.suspect = -1

    def remember_corrupt(self, record):
        if record.unreadable or record.parent != self.head:
            return
        if LINK.fullmatch(record.value("ce_id")):
            self.corrupt.add(record.text("ce_id"))
        if not record.twice and not record.odd:
            self.corrupt.add(record.link)
        self.corrupt.discard(self.head)
