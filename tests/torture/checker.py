"""Names what is wrong with a history, in the terms of the field.

  lost write          an answered command whose event is not in the log, at that place with that link
  duplicate           a command in the log twice, or answered differently when asked again
  aborted read        something was told that the log does not hold, or not as of that position
  stale read          a read told of less than the position that it asked for
  non-monotonic read  later reads of a client, or a subscription, went back or left something out
  torn group          what one writer decided lies on both sides of what another decided
  order regression    a command that began after another's answer stands before it in the log
  double allocation   a server promised or used twice at an instant, be it to reservations, to occurrences of a
                      series, to what an amendment adds or within a maintenance window; or more power, cooling,
                      servers or quota than there are
  divergence          sites, replicas, projections and an independent fold of the log are not equal

Law: a function here looks at the clients' history and the accepted log, and asks nobody. An unknown
operation may have happened or not; what the log says of it holds from then on.
"""
from collections import Counter, defaultdict

from history import OK, REFUSED, UNKNOWN, Answer

ANOMALIES = ("lost write", "duplicate", "aborted read", "stale read", "non-monotonic read", "torn group",
             "order regression", "double allocation", "divergence")


class Log:
    """The accepted records of every stream at its home: {stream: [records with sequence, link, …]}."""

    def __init__(self, streams, actor):
        self.streams = streams
        self.commands = defaultdict(list)
        for name, records in streams.items():
            for record in records:
                if record.actor == actor and record.command:
                    self.commands[name, record.command].append(record)

    def at(self, stream, sequence):
        records = self.streams.get(stream, [])
        return records[sequence] if 0 <= sequence < len(records) else None


def resolve(operations, log):
    """What the log knows of unknown operations: how many took effect, and how many did not."""
    counts = Counter()
    for operation in operations:
        if operation.answer.outcome != UNKNOWN:
            continue
        records = log.commands.get((operation.stream, operation.request_id), [])
        counts[bool(records)] += 1
        if records:
            record = records[0]
            outcome = REFUSED if record.type.endswith(".CommandRefused") else OK
            operation.answer = Answer(outcome, record.sequence, record.link, True, record.type, record.subject)
            operation.complete = -1  # nobody knows when
    return counts[True], counts[False]


def lost_writes(operations, log):
    for operation in operations:
        for answer in (operation.answer, *operation.again):
            if answer.outcome == UNKNOWN:
                continue
            record = log.at(operation.stream, answer.sequence)
            if record is None or record.link != answer.link:
                yield (f"{operation.stream}: {operation.request_id} was answered {answer.outcome} at "
                       f"{answer.sequence} with {answer.link[:12]}, the log holds "
                       f"{record.link[:12] if record else 'nothing'} there")


def duplicates(operations, log):
    for (stream, command), records in log.commands.items():
        if len(records) > 1:
            yield f"{stream}: {command} is in the log at {[record.sequence for record in records]}"
    for operation in operations:
        answers = [each for each in (operation.answer, *operation.again) if each.outcome != UNKNOWN]
        if len({(each.outcome, each.sequence, each.link) for each in answers}) > 1:
            yield f"{operation.stream}: {operation.request_id} was answered differently: {answers}"
        for later in answers[1:]:
            if not later.repeated:
                yield f"{operation.stream}: {operation.request_id} was answered twice as if it were new"


def torn_groups(log):
    for stream, records in log.streams.items():
        ended, current = set(), None
        for record in records:
            # A writer that claims the stream belongs to no group, and another may claim it before the first event.
            if record.type.startswith("concordat.system."):
                continue
            if record.writer != current:
                if record.writer in ended:
                    yield f"{stream}: {record.writer} goes on at {record.sequence} after another had written"
                ended.add(current)
                current = record.writer


def order_regressions(operations):
    """Per stream: what began after an answer has a higher sequence than what was answered."""
    by_stream = defaultdict(list)
    for operation in operations:
        if operation.answer.outcome != UNKNOWN:
            by_stream[operation.stream].append(operation)
    for stream, known in by_stream.items():
        ends = sorted((each for each in known if each.complete >= 0), key=lambda each: each.complete)
        at, highest = 0, None
        for operation in sorted(known, key=lambda each: each.invoke):
            while at < len(ends) and ends[at].complete < operation.invoke:
                if highest is None or ends[at].answer.sequence > highest.answer.sequence:
                    highest = ends[at]
                at += 1
            if highest is not None and operation.answer.sequence < highest.answer.sequence:
                yield (f"{stream}: {operation.request_id} began after {highest.request_id} was answered and has "
                       f"{operation.answer.sequence}, before {highest.answer.sequence}")


def stale_reads(reads, as_of):
    """`as_of(stream, collection, name, sequence)` is the resource after that event, by the log."""
    for read in reads:
        if read.stream == read.min_stream and read.sequence < read.min_sequence:
            yield f"{read.client} asked {read.site} for {read.name} at {read.min_stream}:{read.min_sequence} and got " \
                  f"{read.sequence}"
        if read.resource is None and as_of(read.min_stream, read.collection, read.name, read.min_sequence) is not None:
            yield f"{read.client} asked {read.site} for {read.name} at {read.min_stream}:{read.min_sequence} and was " \
                  "told that there is none"


def aborted_reads(reads, seen, log, as_of):
    for read in reads:
        if read.resource is not None:
            expected = as_of(read.stream, read.collection, read.name, read.sequence)
            if read.resource != expected:
                yield (f"{read.client} read {read.name} at {read.site} as of {read.stream}:{read.sequence} as "
                       f"{read.resource}, the log says {expected}")
    for entry in seen:
        record = log.at(entry.stream, entry.sequence)
        if record is None or record.link != entry.link:
            yield f"{entry.client} was told of {entry.link[:12]} at {entry.stream}:{entry.sequence}, which is not in the log"


def non_monotonic_reads(reads, seen):
    positions = {}
    for read in sorted((each for each in reads if each.stream), key=lambda each: each.invoke):
        key = read.client, read.stream
        # What a client has seen it asks for, at whichever site; so it must never see less.
        if read.min_stream == read.stream and read.sequence < positions.get(key, -1):
            yield f"{read.client} saw {read.stream} at {positions[key]} and later at {read.sequence}"
        positions[key] = max(read.sequence, positions.get(key, -1))
    expected = {}
    for entry in seen:
        key = entry.client, entry.subscription
        if entry.sequence != expected.get(key, entry.from_sequence):
            yield f"{entry.client} was told of {entry.sequence}, expected {expected.get(key, entry.from_sequence)}"
        expected[key] = entry.sequence + 1


def check(history, log, as_of, allocations=(), differences=()):
    """{anomaly: [what was found]}, with every anomaly in it. `allocations` and `differences` come from the reader."""
    operations = history.operations
    return {
        "lost write": list(lost_writes(operations, log)),
        "duplicate": list(duplicates(operations, log)),
        "aborted read": list(aborted_reads(history.reads, history.seen, log, as_of)),
        "stale read": list(stale_reads(history.reads, as_of)),
        "non-monotonic read": list(non_monotonic_reads(history.reads, history.seen)),
        "torn group": list(torn_groups(log)),
        "order regression": list(order_regressions(operations)),
        "double allocation": list(allocations),
        "divergence": list(differences),
    }
