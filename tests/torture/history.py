"""What the clients did and saw, as they saw it.

Law: an entry is written by the client alone, from its own clock and its own answers; nothing in it is
taken from the services' logs. An operation that got no answer is `unknown`: it may have happened or not.
"""
import json
import threading
import time
from dataclasses import asdict, dataclass, field

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"


@dataclass
class Answer:
    """What one attempt was answered with."""
    outcome: str
    sequence: int = -1
    link: str = ""
    repeated: bool = False
    event_type: str = ""
    subject: str = ""
    reason: str = ""


@dataclass
class Operation:
    """One command, with all attempts under its request id. Times are steady nanoseconds."""
    client: str
    stream: str
    method: str
    request_id: str
    invoke: int
    complete: int = -1
    # The first answer that said something, or one that is unknown.
    answer: Answer = field(default_factory=lambda: Answer(UNKNOWN))
    # What the same request id was answered with later.
    again: list = field(default_factory=list)
    # The request without its id, to ask again.
    fields: dict = field(default_factory=dict)
    # The object of a model that the operation is about: [model, object, action, argument].
    model: list = field(default_factory=list)


@dataclass
class Read:
    """One resource as a site told it; `resource` is None where the site knew of none."""
    client: str
    site: str
    collection: str
    name: str
    min_stream: str
    min_sequence: int
    invoke: int
    complete: int
    stream: str = ""
    sequence: int = -1
    resource: dict = None


@dataclass
class Seen:
    """One event as a subscriber of a site was told it; `subscription` counts its calls."""
    client: str
    site: str
    subscription: int
    stream: str
    from_sequence: int
    sequence: int
    link: str


class History:
    """Entries from many threads."""

    KINDS = {"operation": Operation, "read": Read, "seen": Seen}

    def __init__(self):
        self.operations, self.reads, self.seen = [], [], []
        self.lock = threading.Lock()

    def add(self, entry):
        entries = {Operation: self.operations, Read: self.reads, Seen: self.seen}[type(entry)]
        with self.lock:
            entries.append(entry)

    def write(self, path):
        with open(path, "w") as file:
            for kind, entries in (("operation", self.operations), ("read", self.reads), ("seen", self.seen)):
                for entry in entries:
                    file.write(json.dumps({kind: asdict(entry)}) + "\n")


def now():
    return time.monotonic_ns()
