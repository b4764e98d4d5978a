#!/usr/bin/env python3
"""Each anomaly is found in a history that was forged to hold it, and none in one that holds none."""
import sys
import tempfile
import unittest
from collections import namedtuple
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from checker import ANOMALIES, Log, check, resolve  # noqa: E402
from history import OK, REFUSED, UNKNOWN, Answer, History, Operation, Read, Seen  # noqa: E402
from torture import LONG_PAUSE, Nemesis, happened, verdict_of  # noqa: E402
from faults import Said  # noqa: E402

Record = namedtuple("Record", "sequence link type subject writer command actor")
STREAM = "paris.inventory.events"


def record(sequence, command="", writer="w.0", kind="inventory.v1.ServerOrdered", actor="torture"):
    return Record(sequence, f"link-{sequence}", kind, "s", writer, command, actor)


def operation(command, sequence, invoke=0, complete=1, outcome=OK, again=(), link=None):
    return Operation("c", STREAM, "OrderServer", command, invoke, complete,
                     Answer(outcome, sequence, link or f"link-{sequence}"), list(again))


class Anomalies(unittest.TestCase):
    def setUp(self):
        self.records = [record(0), record(1, "a"), record(2, "b"), record(3, "c")]
        self.operations = [operation("a", 1, 0, 1), operation("b", 2, 2, 3), operation("c", 3, 2, 4)]
        self.reads, self.seen, self.extra = [], [], {}

    def as_of(self, stream, collection, name, sequence):
        return {"state": "NEW"} if sequence >= 1 else None

    def found(self):
        history = History()
        history.operations, history.reads, history.seen = self.operations, self.reads, self.seen
        anomalies = check(history, Log({STREAM: self.records}, "torture"), self.as_of, **self.extra)
        self.assertEqual(tuple(sorted(anomalies)), tuple(sorted(ANOMALIES)))
        return {name for name, found in anomalies.items() if found}

    def read(self, sequence, least=1, resource=(), **changed):
        fields = {"client": "c", "site": "paris", "collection": "servers", "name": "s", "min_stream": STREAM,
                  "min_sequence": least, "invoke": len(self.reads), "complete": len(self.reads), "stream": STREAM,
                  "sequence": sequence, "resource": {"state": "NEW"} if resource == () else resource, **changed}
        self.reads.append(Read(**fields))

    def see(self, sequence, link=None, subscription=1, begin=1):
        self.seen.append(Seen("c", "paris", subscription, STREAM, begin, sequence, link or f"link-{sequence}"))

    def test_none_where_there_is_none(self):
        self.read(1)
        self.read(3, least=2)
        for sequence in (1, 2, 3):
            self.see(sequence)
        self.see(2, subscription=2, begin=2)
        self.operations[0].again.append(Answer(OK, 1, "link-1", repeated=True))
        self.assertEqual(self.found(), set())

    def test_an_answered_command_that_the_log_has_not(self):
        self.operations.append(operation("d", 4, 5, 6))
        self.assertEqual(self.found(), {"lost write"})

    def test_an_answered_command_whose_place_another_took(self):
        self.operations[2].answer.link = "link-of-a-void-record"
        self.assertEqual(self.found(), {"lost write"})

    def test_a_command_in_the_log_twice(self):
        self.records.append(record(4, "a"))
        self.assertEqual(self.found(), {"duplicate"})

    def test_a_second_answer_that_is_another(self):
        self.operations[0].again.append(Answer(REFUSED, 2, "link-2", repeated=True))
        self.assertEqual(self.found(), {"duplicate"})

    def test_a_second_answer_that_claims_to_be_the_first(self):
        self.operations[0].again.append(Answer(OK, 1, "link-1", repeated=False))
        self.assertEqual(self.found(), {"duplicate"})

    def test_a_read_of_what_the_log_does_not_explain(self):
        self.read(2, resource={"state": "OLD"})
        self.assertEqual(self.found(), {"aborted read"})

    def test_a_read_of_the_future(self):
        self.read(0, least=0)
        self.assertEqual(self.found(), {"aborted read"})

    def test_a_subscriber_that_is_told_of_a_void_record(self):
        self.see(1, link="link-of-a-void-record")
        self.assertEqual(self.found(), {"aborted read"})

    def test_a_read_of_less_than_it_asked_for(self):
        self.read(1, least=2)
        self.assertEqual(self.found(), {"stale read"})

    def test_a_read_of_nothing_where_something_was(self):
        self.read(-1, stream="", resource=None)
        self.assertEqual(self.found(), {"stale read"})

    def test_reads_that_go_back(self):
        self.read(3)
        self.read(2)
        self.assertEqual(self.found(), {"non-monotonic read"})

    def test_a_subscription_that_goes_back(self):
        for sequence in (1, 2, 1):
            self.see(sequence)
        self.assertEqual(self.found(), {"non-monotonic read"})

    def test_a_subscription_that_leaves_one_out(self):
        for sequence in (1, 3):
            self.see(sequence)
        self.assertEqual(self.found(), {"non-monotonic read"})

    def test_a_subscription_that_begins_too_late(self):
        self.see(2, begin=1)
        self.assertEqual(self.found(), {"non-monotonic read"})

    def test_a_group_with_another_writers_events_in_it(self):
        self.records = [record(0), record(1, "a", "w.1"), record(2, "b", "v.0"), record(3, "c", "w.1")]
        self.assertEqual(self.found(), {"torn group"})

    def test_two_writers_that_claim_a_stream_tear_no_group(self):
        claim = "concordat.system.v1.WriterStarted"
        self.records[0:0] = [record(0, writer="w.1", kind=claim), record(0, writer="v.1", kind=claim)]
        self.records = [each._replace(sequence=at, link=f"link-{at}", writer=each.writer.replace("w.0", "w.1"))
                        for at, each in enumerate(self.records)]
        self.operations = []
        self.assertEqual(self.found(), set())

    def test_a_later_command_that_stands_before_an_earlier_one(self):
        self.records[1], self.records[2] = record(1, "b"), record(2, "a")
        self.operations[0] = operation("a", 2, 0, 1)
        self.operations[1] = operation("b", 1, 2, 3)
        self.assertEqual(self.found(), {"order regression"})

    def test_commands_at_the_same_time_may_stand_either_way(self):
        self.operations[1], self.operations[2] = operation("b", 2, 2, 4), operation("c", 3, 1, 3)
        self.assertEqual(self.found(), set())

    def test_what_the_reader_found(self):
        self.extra = {"allocations": ["a server twice"]}
        self.assertEqual(self.found(), {"double allocation"})
        self.extra = {"differences": ["a head"]}
        self.assertEqual(self.found(), {"divergence"})


class Unknown(unittest.TestCase):
    def test_the_log_decides_what_became_of_it(self):
        operations = [operation("a", -1, 0, 1, UNKNOWN), operation("b", -1, 0, 1, UNKNOWN),
                      operation("x", -1, 0, 1, UNKNOWN), operation("c", 2, 0, 1)]
        log = Log({STREAM: [record(0, "a"), record(1, "b", kind="inventory.v1.CommandRefused"), record(2, "c")]},
                  "torture")
        self.assertEqual(resolve(operations, log), (2, 1))
        self.assertEqual([each.answer.outcome for each in operations], [OK, REFUSED, UNKNOWN, OK])
        self.assertEqual([each.answer.sequence for each in operations], [0, 1, -1, 2])

    def test_another_actors_command_of_that_id_is_another_command(self):
        operations = [operation("a", -1, 0, 1, UNKNOWN)]
        self.assertEqual(resolve(operations, Log({STREAM: [record(0, "a", actor="somebody")]}, "torture")), (0, 1))


class Verdict(unittest.TestCase):
    FAULTS = {kind: 1 for kind in Nemesis.KINDS}
    NONE = {anomaly: [] for anomaly in ANOMALIES}

    def test_green(self):
        self.assertEqual(verdict_of(60, 1000, self.FAULTS, self.NONE, []), ("green", []))

    def test_an_anomaly_is_red(self):
        self.assertEqual(verdict_of(60, 1000, self.FAULTS, {**self.NONE, "duplicate": ["a"]}, [])[0], "red")

    def test_a_history_that_is_not_linearizable_is_red(self):
        self.assertEqual(verdict_of(60, 1000, self.FAULTS, self.NONE, ["a stream"])[0], "red")

    def test_too_few_operations_are_no_proof(self):
        verdict, why = verdict_of(60, 10, self.FAULTS, self.NONE, [])
        self.assertEqual(verdict, "invalid")
        self.assertIn("10 answered operations", why[0])

    def test_a_fault_that_never_happened_proves_nothing(self):
        for kind in Nemesis.KINDS:
            verdict, why = verdict_of(60, 1000, {**self.FAULTS, kind: 0}, self.NONE, [])
            self.assertEqual((verdict, why), ("invalid", [f"{kind} never happened"]))

    def test_a_long_run_without_a_pause_beyond_every_time_out_proves_nothing(self):
        verdict, why = verdict_of(600, 10_000, self.FAULTS, self.NONE, [], long_run=True)
        self.assertEqual((verdict, why), ("invalid", [f"{LONG_PAUSE} never happened"]))
        self.assertEqual(verdict_of(600, 10_000, {**self.FAULTS, LONG_PAUSE: 1}, self.NONE, [], long_run=True)[0],
                         "green")

    def test_what_nobody_noticed_did_not_happen(self):
        fault = lambda kind, detail: (kind, "paris", 0.0, 1.0, detail)
        counts = happened([fault("service's disk full", "nobody met it"),
                           fault("broker's disk full", "nobody met it, it was killed"),
                           fault("broker's disk full", "met, it ended"), fault("mirror killed", "")])
        self.assertEqual([counts[kind] for kind in ("service's disk full", "broker's disk full", "mirror killed")],
                         [0, 1, 1])

    def test_only_a_stopped_process_counts_as_a_long_pause(self):
        fault = lambda kind, detail: (kind, "paris", 0.0, 70.0, detail)
        counts = happened([fault("service paused", "long"), fault("broker paused", "long"),
                           fault("broker paused", ""), fault("link of mirror cut", "long")])
        self.assertEqual(counts[LONG_PAUSE], 2)

    def test_what_was_said_before_a_fault_is_not_of_the_fault(self):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            early = Said(log)
            log.write_text("the disk is full\n")
            late = Said(log)
            with open(log, "a") as file:
                file.write("all is well\n")
            self.assertEqual((early.now(), late.now()), ("the disk is full\nall is well\n", "all is well\n"))

    def test_an_anomaly_counts_more_than_too_few_operations(self):
        self.assertEqual(verdict_of(60, 10, self.FAULTS, {**self.NONE, "duplicate": ["a"]}, [])[0], "red")


if __name__ == "__main__":
    unittest.main()
