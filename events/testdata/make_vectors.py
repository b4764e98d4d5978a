#!/usr/bin/env python3
"""Writes vectors.json, the test vectors of the linked log.

The expected outcomes are stated by hand, record by record: no reader computes
them, so that a mistake shared by every reader still shows.

    make_vectors.py            write vectors.json next to this file
    make_vectors.py --check    exit 1 when vectors.json differs from what would be written
"""
import base64
import hashlib
import json
import pathlib
import struct
import sys

FILE = pathlib.Path(__file__).resolve().parent / "vectors.json"
STREAM, SOURCE = "paris.reservations.events", "/sites/paris/reservations"
ZEROS = "0" * 64
HOLD = "concordat.reservations.v1.ReservationHeld"
OPENED = "concordat.system.v1.StreamOpened"
STARTED = "concordat.system.v1.WriterStarted"
OK = "accepted"
STALE, REPEATED, STRANGER, CORRUPT = (
    "void:" + reason for reason in ("stale", "repeated", "stranger", "corrupt"))
DAMAGED = "damaged"


def canonical(headers, data):
    """The exact bytes a link is the SHA-256 of."""
    covered = sorted((name.encode(), (value or "").encode()) for name, value in headers
                     if name == "content-type" or (name.startswith("ce_") and name != "ce_id"))
    parts = [part for header in covered for part in header] + [data or b""]
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def link_of(headers, data):
    return hashlib.sha256(canonical(headers, data)).hexdigest()


def text(data):
    return None if data is None else base64.b64encode(data).decode()


class Record:
    """One record. `change` alters headers before the link is computed (None leaves one out),
    so that the record is wrong in that one respect only."""

    def __init__(self, parent, sequence, writer="a", data=b"", change=None, more=()):
        system = OPENED if parent is None else STARTED if data == STARTED else None
        fields = {
            "ce_specversion": "1.0",
            "ce_source": SOURCE,
            "ce_type": system or HOLD,
            "ce_subject": "reservations/r%s" % sequence,
            "ce_time": "2026-11-23T18:59:23.%06dZ" % (int(sequence) % 1000000),
            "ce_dataschema": "urn:concordat:schema:"
                             + (system or "concordat.reservations.v1.Event"),
            "content-type": "application/protobuf",
            "ce_sequence": str(sequence),
            "ce_parent": parent.link if parent else ZEROS,
            "ce_writer": "%s.%s" % (writer * 32, sequence),
        }
        fields.update(change or {})
        self.sequence = int(sequence)
        self.key = fields["ce_subject"] or ""
        self.data = b"" if data == STARTED else data
        self.headers = [[n, v] for n, v in fields.items() if v is not None] + [list(h) for h in more]
        self.link = link_of(self.headers, self.data)
        if "ce_id" not in fields:
            self.headers.insert(1, ["ce_id", self.link])

    def but(self, data=False, **headers):
        """A copy damaged after it was linked; `drop` names a header to lose, `twice` one to repeat."""
        copy = object.__new__(Record)
        copy.__dict__.update(self.__dict__)
        copy.data = self.data if data is False else data
        copy.headers = [[n, headers.get(n, v)] for n, v in self.headers if n != headers.get("drop")]
        copy.headers += [[n, v] for n, v in self.headers if n == headers.get("twice")]
        return copy

    def json(self):
        return {"key": self.key, "headers": self.headers, "data_base64": text(self.data)}


def chain(length, writer="a", after=None, start=0):
    records = []
    for sequence in range(start, start + length):
        after = Record(after, sequence, writer, b"event %d of %s" % (sequence, writer.encode()))
        records.append(after)
    return records


def log(name, steps, state="ok", mirrored=False, limit=None):
    accepted = [record for record, outcome in steps if outcome == OK]
    head = accepted[-1] if accepted else None
    return {"name": name, "stream": STREAM, "source": SOURCE, "mirrored": mirrored,
            **({"limit": limit} if limit else {}),
            "records": [record.json() for record, _ in steps],
            "expect": [outcome for _, outcome in steps],
            "head": {"link": head.link if head else ZEROS, "sequence": head.sequence if head else -1},
            "state": state}


def each(records, outcome):
    return [(record, outcome) for record in records]


def links():
    minimal = Record(None, 0, change={"ce_dataschema": None}).headers
    full = Record(None, 0, data=b"\x0a\x02r1").headers + [
        ["ce_commandid", "6f0c2a52-7c0d-4d4e-9d7e-0a1b2c3d4e5f"],
        ["ce_commanddigest", hashlib.sha256(b"command").hexdigest()],
        ["ce_actor", "users/ana"],
        ["ce_correlationid", "booking-42"],
        ["ce_causationid", "lyon.payments.events:17:" + hashlib.sha256(b"cause").hexdigest()],
        ["ce_traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]]

    def with_value(name, value):
        return [[n, value if n == name else v] for n, v in full]

    cases = [
        ("minimal", minimal, b""),
        ("minimal, null value counts as empty data", minimal, None),
        ("all headers", full, b"\x0a\x02r1"),
        ("all headers, shuffled: the same link", full[::-1], b"\x0a\x02r1"),
        ("all headers, another shuffle: the same link", full[5:] + full[:5], b"\x0a\x02r1"),
        ("all headers but ce_id: the same link", [h for h in full if h[0] != "ce_id"], b"\x0a\x02r1"),
        ("another ce_id: the same link", with_value("ce_id", "f" * 64), b"\x0a\x02r1"),
        ("unicode values, counted in bytes", with_value("ce_subject", "réservations/Zoë-東京-🎟"),
         "Ünïcode 🎟".encode()),
        ("composed and decomposed text differ: composed", with_value("ce_actor", "users/zo\u00eb"), b""),
        ("composed and decomposed text differ: decomposed", with_value("ce_actor", "users/zoe\u0308"), b""),
        ("empty header value", with_value("ce_actor", ""), b"\x0a\x02r1"),
        ("header absent, unlike empty", [h for h in full if h[0] != "ce_actor"], b"\x0a\x02r1"),
        ("unknown extension is covered", full + [["ce_foo", "bar"]], b"\x0a\x02r1"),
        ("header without ce_ is not covered: the same link as all headers",
         full + [["foo", "bar"], ["traceparent", "x"], ["xce_foo", "bar"], ["Content-Type", "x"]],
         b"\x0a\x02r1"),
        ("binary data", minimal, bytes(range(256))),
        ("boundary: name and value, ce_a=bc", minimal + [["ce_a", "bc"]], b""),
        ("boundary: name and value, ce_ab=c", minimal + [["ce_ab", "c"]], b""),
        ("boundary: two headers", minimal + [["ce_a", "1"], ["ce_b", "2"]], b""),
        ("boundary: the second header inside the first one's value",
         minimal + [["ce_a", "1\0\0\0\4ce_b\0\0\0\0012"]], b""),
        ("boundary: last value and data, split late", minimal + [["ce_z", "xy"]], b"z"),
        ("boundary: last value and data, split early", minimal + [["ce_z", "x"]], b"yz"),
        ("order is by name: ce_a before ce_aa before ce_b",
         minimal + [["ce_b", "3"], ["ce_aa", "2"], ["ce_a", "1"]], b""),
    ]
    return [{"name": name, "headers": headers, "data_base64": text(data),
             "canonical_base64": text(canonical(headers, data)), "link": link_of(headers, data)}
            for name, headers, data in cases]


def logs():
    a = chain(8)
    out = []

    def add(*args, **kwargs):
        out.append(log(*args, **kwargs))

    add("empty", [])
    add("plain chain", each(a, OK))
    add("plain chain, mirrored", each(a, OK), mirrored=True)

    takeover = Record(a[1], 2, "b", STARTED)
    old, new = a[2:4], chain(2, "b", takeover, 3)
    add("stale writer: its group follows another writer's WriterStarted",
        each(a[:2], OK) + [(takeover, OK), (old[0], STALE), (old[1], STRANGER)] + each(new, OK)
        + [(old[1], STALE), (a[4], STALE)])
    add("race: two writers start on the same head, the first in the log wins",
        each(a[:2], OK) + [(takeover, OK), (Record(a[1], 2, "c", STARTED), STALE)] + each(new, OK))
    add("race: the loser goes on from its own record",
        each(a[:2], OK) + [(a[2], OK), (takeover, STALE), (new[0], STRANGER), (a[3], OK),
                           (new[1], STRANGER), (a[4], OK), (new[1], STALE), (a[5], OK)])
    add("two first records", [(a[0], OK), (Record(None, 0, "b"), STALE), (a[1], OK)])

    add("mirror duplicates: a run delivered twice",
        each(a[:4], OK) + each(a[1:4], STALE) + each(a[4:6], OK), mirrored=True)
    add("mirror duplicates: the same record three times",
        [(a[0], OK), (a[0], STALE), (a[0], STALE), (a[1], OK), (a[1], STALE)], mirrored=True)

    other = Record(a[1], 2, "b")
    add("child before parent, parent, the child again: it stays void",
        [(a[0], OK), (a[2], STRANGER), (a[2], REPEATED), (a[1], OK), (a[2], REPEATED)])
    add("child before parent, parent, a new child: the new one is accepted",
        [(a[0], OK), (a[2], STRANGER), (a[1], OK), (other, OK), (a[2], STALE)])
    add("descendants before their ancestor stay void",
        [(a[0], OK), (a[2], STRANGER), (a[3], STRANGER), (a[1], OK), (a[2], REPEATED),
         (a[3], REPEATED), (a[4], STRANGER), (other, OK), (a[3], REPEATED)])

    bad = a[2].but(data=b"event 2 of A")
    add("corrupt record alone: the chain goes on past it",
        each(a[:2], OK) + [(bad, CORRUPT), (a[2], OK), (a[3], OK)])
    add("corrupt record, then its child: damaged",
        each(a[:2], OK) + [(bad, CORRUPT), (a[3], DAMAGED), (a[2], DAMAGED), (a[3], DAMAGED)],
        state="damaged")
    add("corrupt record, then its child: damaged, mirrored",
        each(a[:2], OK) + [(bad, CORRUPT), (a[3], DAMAGED)], state="damaged", mirrored=True)
    add("corrupt first record, then its child: damaged",
        [(a[0].but(data=None), CORRUPT), (a[1], DAMAGED)], state="damaged")
    add("corrupt record, a void one, then its child: damaged",
        each(a[:2], OK) + [(bad, CORRUPT), (a[0], STALE), (a[4], STRANGER), (a[3], DAMAGED)],
        state="damaged")
    add("two corrupt records on one head, then a child of the first: damaged",
        each(a[:2], OK) + [(bad, CORRUPT), (other.but(data=b"!"), CORRUPT), (a[3], DAMAGED)],
        state="damaged")
    add("corrupt record, another accepted in its place, then its child: a stranger",
        each(a[:2], OK) + [(bad, CORRUPT), (takeover, OK), (a[3], STRANGER), (new[0], OK)])
    add("corrupt record that is not on the head, then its child: a stranger",
        each(a[:2], OK) + [(a[3].but(data=b""), CORRUPT), (a[4], STRANGER), (a[2], OK)])
    add("corrupt child of a corrupt record is only corrupt",
        each(a[:2], OK) + [(bad, CORRUPT), (a[3].but(data=b""), CORRUPT), (a[2], OK), (a[3], OK)])
    add("a covered header altered: corrupt",
        [(a[0], OK)] + [(a[1].but(**{name: value}), CORRUPT) for name, value in (
            ("ce_type", HOLD + "x"), ("ce_subject", ""), ("ce_time", "2026-11-23T18:59:23.000002Z"),
            ("ce_writer", "b" * 32 + ".1"), ("content-type", "application/json"),
            ("ce_dataschema", "urn:x"), ("ce_sequence", "2"), ("ce_parent", a[2].link),
            ("ce_specversion", "1.1"))] + [(a[1], OK)])
    add("the key and headers without ce_ are not covered: accepted",
        [(a[0], OK), (Record(a[0], 1, more=[("foo", "bar"), ("foo", "baz"), ("id", "")]), OK)])

    gap = chain(8, "d")
    add("gap on a mirrored log: suspect",
        each(gap[:2], OK) + each(gap[3:6], STRANGER), state="suspect", mirrored=True)
    add("gap on a log that is not mirrored: no suspicion",
        each(gap[:2], OK) + each(gap[3:6], STRANGER))
    add("gap cleared: the chain grows past the stranger",
        each(a[:2], OK) + [(gap[3], STRANGER)] + each(a[2:6], OK), mirrored=True)
    add("gap cleared, then another",
        each(a[:2], OK) + [(gap[3], STRANGER)] + each(a[2:5], OK) + [(gap[6], STRANGER)],
        state="suspect", mirrored=True)
    wrong = Record(a[1], 5, "e")
    add("no suspicion when the stranger's parent is the head or a known stranger",
        each(a[:2], OK) + [(wrong, STRANGER), (Record(wrong, 6, "e"), STRANGER)], mirrored=True)
    add("no suspicion from stale, repeated and corrupt records",
        each(a[:2], OK) + [(gap[3], STRANGER)] + each(a[2:6], OK)
        + [(gap[4], STALE), (gap[7].but(data=b""), CORRUPT), (a[0], STALE)], mirrored=True)
    add("wrong sequence with the right parent: void",
        each(a[:2], OK) + [(Record(a[1], 3), STRANGER), (Record(a[1], 1), STALE),
                           (Record(a[1], 0), STALE), (Record(a[1], 9223372036854775807), STRANGER),
                           (a[2], OK)])
    forged = Record(a[1], 2, change={"ce_parent": hashlib.sha256(b"forged").hexdigest()})
    add("right sequence with a forged parent: void", each(a[:2], OK) + [(forged, STRANGER), (a[2], OK)])
    add("right sequence with an ancestor as parent: void",
        each(a[:3], OK) + [(Record(a[1], 3), STRANGER), (a[3], OK)])
    add("truncated genesis: nothing can be accepted", each(a[1:4], STRANGER))
    add("truncated genesis, mirrored: suspect", each(a[1:4], STRANGER), state="suspect", mirrored=True)
    add("first record with sequence 1, or with a parent: void",
        [(Record(None, 1), STRANGER), (Record(a[3], 0), STRANGER), (a[0], OK)])

    add("duplicated covered header: corrupt", [(a[0], OK)] + [
        (a[1].but(twice=name), CORRUPT) for name in
        ("ce_type", "ce_id", "content-type", "ce_sequence", "ce_parent", "ce_dataschema")] + [(a[1], OK)])
    add("duplicated header, linked as it stands: corrupt",
        [(a[0], OK), (Record(a[0], 1, more=[("ce_actor", "x"), ("ce_actor", "x")]), CORRUPT), (a[1], OK)])
    required = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time",
                "ce_sequence", "ce_parent", "ce_writer", "content-type")
    add("required header missing: corrupt", [(a[0], OK)] + [
        (a[1].but(drop=name), CORRUPT) for name in required] + [(a[1], OK)])
    add("required header missing, linked as it stands: corrupt", [(a[0], OK)] + [
        (Record(a[0], 1, change={name: None}), CORRUPT) for name in required] + [(a[1], OK)])
    add("ce_dataschema is not required", [(Record(None, 0, change={"ce_dataschema": None}), OK)])
    add("record of another stream: corrupt", [(a[0], OK)] + [
        (Record(a[0], 1, change={"ce_source": source}), CORRUPT) for source in
        ("/sites/lyon/reservations", "/sites/paris/reservations/", "/Sites/paris/reservations",
         "/sites/paris/reservation", "paris.reservations.events", "")] + [(a[1], OK)])
    add("ce_sequence not canonical: corrupt", [(a[0], OK)] + [
        (Record(a[0], 1, change={"ce_sequence": s}), CORRUPT) for s in
        ("007", "01", "+1", "", "-1", "-0", " 1", "1 ", "1\n", "1.0", "1e0", "0x1", "1_0", "\u0661", "\uff11",
         "one", "9223372036854775808", "18446744073709551617", "1" * 400)] + [(a[1], OK)])
    odd = [a[0].link.upper(), a[0].link[:-1], a[0].link + "0", a[0].link + "\n", "g" + a[0].link[1:],
           "0x" + a[0].link[2:], "", "\uff10" * 64]
    add("ce_parent not 64 lower-case hex: corrupt", [(a[0], OK)] + [
        (Record(a[0], 1, change={"ce_parent": parent}), CORRUPT) for parent in odd] + [(a[1], OK)])
    ids = [a[1].link.upper(), a[1].link[:-1], a[1].link + "0", a[1].link + "\n", " " + a[1].link, "", ZEROS, a[5].link]
    add("ce_id not the record's link in lower-case hex: corrupt", [(a[0], OK)] + [
        (a[1].but(ce_id=value), CORRUPT) for value in ids] + [(a[1], OK)])
    empty, null = Record(None, 0, data=b""), Record(None, 0, data=None)
    add("empty data", [(empty, OK), (null, STALE)])
    add("null data counts as empty data", [(null, OK), (empty, STALE)])
    return out


def settled():
    """Logs that pin down the corners a hostile or unlucky log could pull readers apart with.
    A log with a "limit" is for a reader that remembers so many void links instead of 65536."""
    a, gap = chain(8), chain(8, "d")
    out = []

    def add(*args, **kwargs):
        out.append(log(*args, **kwargs))

    add("a corrupt record that claims the head's link does not end the stream",
        [(a[0], OK), (a[1].but(ce_id=a[0].link), CORRUPT), (a[1], OK), (a[2], OK)])
    add("a corrupt first record that claims the zeros does not end the stream",
        [(a[0].but(ce_id=ZEROS), CORRUPT), (a[0], OK), (a[1], OK)])
    add("a corrupt record that claims an old link: duplicates of its children stay stale",
        each(a[:3], OK) + [(a[3].but(ce_id=a[0].link), CORRUPT), (a[1], STALE), (a[3], OK)])
    add("corrupt ce_id, then a child of the link it should have had: damaged",
        each(a[:2], OK) + [(a[2].but(ce_id=a[6].link), CORRUPT), (a[3], DAMAGED)], state="damaged")
    add("unreadable ce_id, then a child of the link it should have had: damaged",
        each(a[:2], OK) + [(a[2].but(ce_id="?" + a[2].link[1:]), CORRUPT), (a[3], DAMAGED)],
        state="damaged")
    add("lost ce_id, then a child of the link it should have had: damaged",
        each(a[:2], OK) + [(a[2].but(drop="ce_id"), CORRUPT), (a[3], DAMAGED)], state="damaged")
    add("lost header, then a child of the claimed link: damaged",
        each(a[:2], OK) + [(a[2].but(drop="ce_type"), CORRUPT), (a[3], DAMAGED)], state="damaged")
    double = a[2].but(twice="ce_type")
    add("doubled header, then a child of the claimed link: damaged",
        each(a[:2], OK) + [(double, CORRUPT), (a[3], DAMAGED)], state="damaged")
    add("doubled ce_id, then a child of the link it should have had: damaged",
        each(a[:2], OK) + [(a[2].but(twice="ce_id"), CORRUPT), (a[3], DAMAGED)], state="damaged")
    unlinked = a[2].but(twice="ce_parent")
    add("a doubled ce_parent has no value, so nothing is remembered",
        each(a[:2], OK) + [(unlinked, CORRUPT), (a[3], STRANGER), (a[2], OK)])
    built = Record(a[1], 2, more=[("ce_actor", "x"), ("ce_actor", "y")])
    blind = built.but(ce_id=a[7].link)
    add("a record with a doubled header has no link of its own, only the claimed one",
        each(a[:2], OK) + [(blind, CORRUPT), (Record(built, 3), STRANGER), (a[2], OK)])

    def odd_name(name):
        return Record(a[0], 1, more=[(name, "x")])

    add("ce_ names are lower-case letters and digits: others are corrupt",
        [(a[0], OK)] + [(odd_name(name), CORRUPT) for name in
                        ("ce_", "ce_Foo", "ce_foo_bar", "ce_foo-bar", "ce_f\u00fc", "ce_\ufffd", "ce_ foo",
                         "ce_foo\n", "ce_\u0661")] + [(a[1], OK)])
    unreadable = Record(a[0], 1, more=[("x\ufffd", "x")])
    add("a name that may not be UTF-8 makes the record unreadable: nothing of it is remembered",
        [(a[0], OK), (unreadable, CORRUPT), (Record(unreadable, 2), STRANGER), (a[1], OK)])
    add("names in other cases are other headers",
        [(a[0], OK), (Record(a[0], 1, more=[("CE_foo", "x"), ("Ce_id", "x"), ("Content-Type", "x")]), OK)])
    cut = Record(a[0], 1, more=[("ce_foo", "x")])
    longer = cut.but()
    longer.headers = [[n + "\0bar" if n == "ce_foo" else n, v] for n, v in cut.headers]
    second = a[1].but()
    second.headers = second.headers + [["ce_id\0x", "y"]]
    add("a name ends at its first zero byte", [(a[0], OK), (second, CORRUPT), (longer, OK)])
    null = Record(a[0], 1, more=[("ce_actor", None)])
    empty = null.but(ce_actor="")
    add("a null header value counts as empty", [(a[0], OK), (null, OK), (empty, STALE)])
    loose = {"ce_specversion": "2.0", "ce_type": "", "ce_subject": "", "ce_time": "yesterday",
             "ce_writer": "me", "content-type": "text/plain", "ce_dataschema": ""}
    add("no value is checked but ce_id, ce_parent, ce_sequence and ce_source",
        [(Record(None, 0, change=loose), OK)])
    add("a required header may be empty, and null is empty",
        [(Record(None, 0, change={"ce_time": None}, more=[("ce_time", None)]), OK)])

    takeover = Record(a[1], 2, "b", STARTED)
    add("a stale group longer than its rival is no gap",
        each(a[:2], OK) + [(takeover, OK), (a[2], STALE), (a[3], STRANGER), (a[4], STRANGER)], mirrored=True)
    new = chain(2, "b", takeover, 3)
    add("strangers the head has caught up with are still known",
        each(a[:2], OK) + [(takeover, OK), (a[2], STALE), (a[3], STRANGER), (new[0], OK),
                           (a[4], STRANGER), (new[1], OK), (a[5], STRANGER)], mirrored=True)
    add("a gap filled too late stays a gap: the records after it came first",
        each(a[:2], OK) + [(a[3], STRANGER), (a[4], STRANGER), (a[2], OK), (a[3], REPEATED),
                           (a[4], REPEATED), (a[5], STRANGER)], state="suspect", mirrored=True)
    add("suspicion lasts until the head reaches the stranger's sequence",
        each(a[:2], OK) + [(gap[5], STRANGER), (a[2], OK), (a[3], OK), (a[4], OK)],
        state="suspect", mirrored=True)
    add("child before parent on a mirrored log: suspect",
        [(a[0], OK), (a[2], STRANGER), (a[1], OK)], state="suspect", mirrored=True)
    loose_ends = [Record(a[0], sequence, "e") for sequence in range(5, 9)]
    add("more pending void links than the limit: damaged",
        [(a[0], OK)] + each(loose_ends[:3], STRANGER) + [(loose_ends[0], REPEATED),
                                                        (loose_ends[3], DAMAGED), (a[1], DAMAGED)],
        state="damaged", limit=3)
    add("links the head has passed do not count for the limit",
        [(a[0], OK), (gap[2], STRANGER), (gap[3], STRANGER)] + each(a[1:5], OK)
        + [(gap[5], STRANGER), (gap[6], STRANGER), (a[5], OK)], limit=2)
    return out


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("make_vectors.py: found the arguments %s; expected none or --check." % sys.argv[1:])
    vectors = {"format": 1, "links": links(), "logs": logs(), "settled": settled()}
    written = (json.dumps(vectors, indent=1, ensure_ascii=True) + "\n").encode()
    if not sys.argv[1:]:
        FILE.write_bytes(written)
    elif not FILE.exists() or FILE.read_bytes() != written:
        sys.exit("make_vectors.py: vectors.json differs from what this generator writes; "
                 "run make_vectors.py and look at the difference.")


if __name__ == "__main__":
    main()
