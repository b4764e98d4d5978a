#!/usr/bin/env python3
"""The independent reader over the vectors and over a recorded log, and over histories that break its invariants.

testdata/ holds Paris's own streams at the end of a story on real brokers, and what `concordat` answered then; record.py
tells the story and records both. Needs nothing built; run by itself: /usr/bin/python3 tests/reader/reader_test.py
"""
import base64
import copy
import json
import re
import sys
import unittest
from pathlib import Path

from google.protobuf import json_format

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import chain  # noqa: E402
import reader  # noqa: E402
from state import COLLECTIONS, NOT_FOLDED, OF_SERVICE, Allocations, Stream, level, retry_pause, see  # noqa: E402

REPOSITORY = HERE.parents[1]
VECTORS = REPOSITORY / "events" / "testdata" / "vectors.json"
PROTOS = reader.Protos()
LINES = (HERE / "testdata" / "paris.jsonl").read_text().splitlines()
ANSWERS = json.loads((HERE / "testdata" / "answers.json").read_text())


def of_vector(record):
    headers = [(name.partition("\0")[0], None if value is None else value.encode()) for name, value in record["headers"]]
    data = record["data_base64"]
    return headers, None if data is None else base64.b64decode(data)


class MaintenanceWindows(unittest.TestCase):
    def setUp(self):
        self.stream = Stream("paris", "inventory")
        self.add("window_proposed", servers=["s"], window_class="WINDOW_CLASS_PLANNED", overrun="OVERRUN_POLICY_FINISH",
                 work=[{"number": 1, "text": "look"}])

    def add(self, case, **fields):
        event = PROTOS.event("inventory")()
        message = getattr(event, case)
        message.SetInParent()
        json_format.ParseDict({"name": "w", **fields}, message)
        self.stream.fold(event, self.stream.sequence + 1, "2027-01-01T00:00:00Z", "", "alice")
        return self.stream.get("windows", "w")

    def test_consent_is_to_one_work_list(self):
        self.assertEqual(self.add("window_announced")["state"], "WINDOW_STATE_ANNOUNCED")
        affected = [{"customer": name, "needs_consent": name != "c"} for name in "bac"]
        self.assertEqual(self.add("window_affected_recorded", affected=affected)["missingConsents"], ["a", "b"])
        self.add("window_consent_given", customer="a", revision=1)
        refused = self.add("window_consent_refused", customer="b", revision=1, reason="late")
        self.assertEqual(refused["missingConsents"], ["b"])
        given = self.add("window_consent_given", customer="b", revision=1, consented=True)
        self.assertEqual(given["state"], "WINDOW_STATE_CONSENTED")
        self.assertEqual(given["consents"][1], {"customer": "b", "given": True, "revision": 1, "actor": "alice",
                                                "recordedTime": "2027-01-01T00:00:00Z"})
        added = self.add("window_work_added", item={"number": 2, "text": "more"}, revision=2)
        self.assertEqual((added["state"], added["missingConsents"]), ("WINDOW_STATE_ANNOUNCED", ["a", "b"]))
        self.assertEqual(len(added["plan"]["work"]), 2)

    def test_a_window_that_opens_misses_nobody_and_keeps_what_was_done(self):
        self.add("window_announced")
        self.add("window_affected_recorded", consented=True)
        self.assertNotIn("missingConsents", self.add("window_opened"))
        self.assertTrue(self.add("window_drained")["drained"])
        self.assertEqual(self.add("window_overrunning")["state"], "WINDOW_STATE_OVERRUNNING")
        self.stream.put("servers", "s", {"name": "s", "state": "SERVER_STATE_IN_SERVICE", "evidence": {"plan": "p"}})
        over = self.add("window_aborted", done=[1], reason="no part", servers=["s"], retest=True)
        self.assertEqual(self.stream.get("servers", "s")["evidence"]["stale"], "STALE_CAUSE_WORK")
        self.assertEqual((over["state"], over["done"], over["detail"]), ("WINDOW_STATE_ABORTED", [1], "no part"))


class Capacity(unittest.TestCase):
    def setUp(self):
        self.stream = Stream("paris", "inventory")

    def add(self, case, time="2027-01-01T00:00:00Z", **fields):
        event = PROTOS.event("inventory")()
        message = getattr(event, case)
        message.SetInParent()
        json_format.ParseDict(fields, message)
        self.stream.fold(event, self.stream.sequence + 1, time, "", "alice")

    def steps(self, begin, watts, **more):
        self.add("envelope_set", site="sites/paris", effective_from=f"2027-01-{begin:02}T00:00:00Z",
                 it_power_watts=watts, **more)
        return [(step["effectiveFrom"][8:10], int(step.get("itPowerWatts", 0)))
                for step in self.stream.get("sites", "sites/paris")["envelope"]]

    def test_a_derating_gives_way_to_what_had_held(self):
        self.assertEqual(self.steps(3, 30), [("03", 30)])
        self.assertEqual(self.steps(7, 70), [("03", 30), ("07", 70)])
        derated = self.steps(5, 10, until="2027-01-09T00:00:00Z", cause="ENVELOPE_CAUSE_WEATHER")
        self.assertEqual(derated, [("03", 30), ("05", 10), ("09", 70)])
        self.assertEqual(self.steps(6, 20), [("03", 30), ("05", 10), ("06", 20), ("09", 70)])
        # Before its first step there is nothing.
        self.assertEqual(self.steps(1, 5, until="2027-01-02T00:00:00Z")[:3], [("01", 5), ("02", 0), ("03", 30)])

    def test_a_feeds_first_step_has_no_time(self):
        self.add("feed_defined", name="sites/paris/feeds/a", it_power_watts=9, redundancy="REDUNDANCY_N")
        self.add("feed_envelope_set", feed="sites/paris/feeds/a", envelope={
            "site": "sites/paris", "effective_from": "2027-01-05T00:00:00Z", "it_power_watts": 4})
        self.assertEqual([(step.get("effectiveFrom"), step["itPowerWatts"]) for step in
                          self.stream.get("feeds", "sites/paris/feeds/a")["envelope"]],
                         [(None, "9"), ("2027-01-05T00:00:00Z", "4")])

    def test_stages_and_service_of_a_server(self):
        self.add("server_ordered", name="s", promised_time="2027-02-01T00:00:00Z")
        self.add("delivery_slipped", name="s", promised_time="2027-02-02T00:00:00Z", cause="SLIP_CAUSE_CUSTOMS")
        self.add("server_entered_service", "2027-01-01T00:01:00Z", name="s")
        self.add("server_left_service", "2027-01-01T01:01:00Z", name="s")
        server = self.stream.get("servers", "s")
        self.assertEqual(server["stages"], [{"state": "SERVER_STATE_ORDERED", "seconds": "60"},
                                            {"state": "SERVER_STATE_IN_SERVICE", "seconds": "3600"}])
        self.assertEqual(server["service"], [{"startTime": "2027-01-01T00:01:00Z", "endTime": "2027-01-01T01:01:00Z"}])
        self.assertEqual((server["firstPromisedTime"], server["slipList"][0]["cause"]),
                         ("2027-02-01T00:00:00Z", "SLIP_CAUSE_CUSTOMS"))

    def test_the_latest_limit_of_a_stage_holds(self):
        for state, most in (("UNDER_TEST", "7200s"), ("ORDERED", "60s"), ("UNDER_TEST", "3600s")):
            self.add("stage_limit_set", site="sites/paris", state=f"SERVER_STATE_{state}", most=most)
        limits = self.stream.get("sites", "sites/paris")["stageLimits"]
        self.assertEqual([(limit["state"], limit["most"]) for limit in limits],
                         [("SERVER_STATE_ORDERED", "60s"), ("SERVER_STATE_UNDER_TEST", "3600s")])
        self.add("stage_limit_set", site="sites/paris", state="SERVER_STATE_ORDERED")
        self.assertEqual(len(self.stream.get("sites", "sites/paris")["stageLimits"]), 1)


class TheRule(unittest.TestCase):
    vectors = json.loads(VECTORS.read_text())

    def test_every_link_is_as_published(self):
        for case in self.vectors["links"]:
            with self.subTest(case["name"]):
                self.assertEqual(chain.link_of(*of_vector(case)), case["link"])

    def test_every_log_is_accepted_as_published(self):
        for case in [*self.vectors["logs"], *self.vectors["settled"]]:
            with self.subTest(case["name"]):
                found = chain.Chain(case["source"], case["mirrored"], case.get("limit", chain.LIMIT))
                outcomes = [found.add(*of_vector(record), at) for at, record in enumerate(case["records"])]
                self.assertEqual(outcomes, case["expect"])
                self.assertEqual((found.state, found.head, found.sequence),
                                 (case["state"], case["head"]["link"], case["head"]["sequence"]))


# A promise lasts from one event to the next, so a story that is over has none.
RECORDED = [name for name in COLLECTIONS if name != "promises"]


class TheRecordedLog(unittest.TestCase):
    def setUp(self):
        self.followed = reader.follow_recorded(PROTOS, LINES)

    def differences(self, answers):
        answer_of = lambda collection: answers["resources"].get(collection, [])
        return [*reader.compare_resources("paris", self.followed, answer_of),
                *reader.compare_heads("paris", self.followed,
                                      [(name, tuple(head)) for name, head in answers["heads"].items()])]

    def test_it_folds_to_what_the_site_answered(self):
        self.assertEqual(self.differences(ANSWERS), [])
        self.assertEqual([each.problems() for each in self.followed.values()], [[]] * 4)
        # Something of every kind is in it, so that equality says something.
        self.assertEqual([name for name in RECORDED if not ANSWERS["resources"][name]], [])

    def test_every_answer_that_is_changed_is_found(self):
        for collection in RECORDED:
            for field in ANSWERS["resources"][collection][0]:
                answers = copy.deepcopy(ANSWERS)
                answers["resources"][collection][0][field] = "changed"
                with self.subTest(f"{collection}.{field}"):
                    self.assertEqual(len(self.differences(answers)), 2)
            answers = copy.deepcopy(ANSWERS)
            del answers["resources"][collection][-1]
            self.assertEqual(len(self.differences(answers)), 1, collection)

    def test_a_head_that_is_another_is_found(self):
        answers = copy.deepcopy(ANSWERS)
        answers["heads"]["paris.compliance.events"][1] = chain.ZEROS
        self.assertIn("paris.compliance.events: the head is", self.differences(answers)[0])
        del answers["heads"]["paris.compliance.events"]
        self.assertIn("paris.compliance.events: the head is None", self.differences(answers)[0])

    def test_a_record_twice_changes_nothing_and_one_missing_is_found(self):
        self.followed = reader.follow_recorded(PROTOS, LINES + LINES)
        self.assertEqual(self.differences(ANSWERS), [])
        self.followed = reader.follow_recorded(PROTOS, LINES[:-1])
        self.assertNotEqual(self.differences(ANSWERS), [])

    def test_a_changed_byte_is_corrupt(self):
        entry = json.loads(LINES[5])
        entry["data"] = base64.b64encode(base64.b64decode(entry["data"]) + b"\0").decode()
        followed = reader.follow_recorded(PROTOS, [*LINES[:5], json.dumps(entry)])
        self.assertIn("void:corrupt", " ".join(found for each in followed.values() for found in each.problems()))

    def test_two_sites_that_hold_different_histories_are_told_apart(self):
        shorter = reader.follow_recorded(PROTOS, LINES[:-1])
        self.assertEqual(list(reader.compare_replicas({"paris": self.followed, "borlange": self.followed})), [])
        self.assertEqual(len(list(reader.compare_replicas({"paris": self.followed, "borlange": shorter}))), 1)

    def test_a_resource_is_told_as_of_any_sequence(self):
        state = self.followed["paris.inventory.events"].state
        name = ANSWERS["resources"]["servers"][0]["name"]
        states = [(state.as_of("servers", name, at) or {}).get("state") for at in range(state.sequence + 1)]
        self.assertEqual(list(dict.fromkeys(states))[:5], [
            None, "SERVER_STATE_ORDERED", "SERVER_STATE_DELIVERED", "SERVER_STATE_INSTALLED", "SERVER_STATE_QUALIFIED"])


class Allocating(unittest.TestCase):
    """Histories that no site may write, each found."""

    SERVERS = [f"sites/paris/servers/{letter}" for letter in "abc"]

    def setUp(self):
        self.stream = Stream("paris", "reservations")
        self.watch = Allocations(self.stream)
        self.event_of = PROTOS.event("reservations")
        self.add("site_recorded", name="sites/paris", country="FR")
        self.envelope(30)
        for server in self.SERVERS:
            self.add("server_recorded", name=server, model="models/m", it_power_watts=10, cooling_watts=10, bookable=True)
        self.add("contract_signed", name="c", customer="customers/x", sites=["sites/paris"], max_servers_per_site=3)

    def test_separations_are_folded_with_their_end(self):
        self.add("parties_separated", name="x", parties=["customers/a", "customers/b"], reason="why")
        self.assertEqual(self.stream.get("separations", "x"),
                         {"name": "x", "parties": ["customers/a", "customers/b"], "reason": "why"})
        self.add("separation_ended", name="x", reason="lifted")
        self.assertTrue(self.stream.get("separations", "x")["ended"])

    def test_a_bundle_is_folded_at_its_coordinator_and_at_its_parts(self):
        terms = {"contract": "c", "model": "models/m", "count": 1, "startTime": "2027-01-01T00:00:00Z",
                 "endTime": "2027-01-02T00:00:00Z"}
        self.add("bundle_requested", name="b", parts=[{"site": "sites/paris", "reservation": "r1", "terms": terms},
                                                      {"site": "sites/x", "reservation": "r2", "terms": terms}])
        self.add("part_recorded", bundle="b", reservation="r2", state="PART_STATE_DECLINED", detail="full")
        self.assertEqual([(part["reservation"], part["state"]) for part in self.stream.get("bundles", "b")["parts"]],
                         [("r1", "PART_STATE_PENDING"), ("r2", "PART_STATE_DECLINED")])
        self.add("bundle_aborted", name="b", reason="REASON_NO_CAPACITY", detail="r2 is full", parts=["r1"])
        self.assertEqual(self.stream.get("bundles", "b")["state"], "BUNDLE_STATE_ABORTED")
        self.add("reservation_declined", name="never-held", bundle="b2", detail="full")
        self.assertEqual(self.stream.get("reservations", "never-held")["state"], "RESERVATION_STATE_DECLINED")
        self.add("reservation_held", name="r", bundle="b", terms=terms, servers=self.SERVERS[:1])
        self.add("part_held", name="r", bundle="b")
        self.add("part_promised", name="r", bundle="b")
        self.assertEqual(self.stream.get("promises", "r")["bundle"], "b")
        self.assertEqual(self.stream.get("reservations", "r")["partState"], "PART_STATE_PROMISED")
        self.add("promise_broken", name="r", bundle="b", reason="why")
        self.assertIsNone(self.stream.get("promises", "r"))
        self.assertEqual(self.stream.get("reservations", "r")["partState"], "PART_STATE_BROKEN")

    def test_a_server_promised_within_a_maintenance_window(self):
        self.add("window_affects", window="w", servers=self.SERVERS[:1], start_time="2027-01-02T00:00:00Z",
                 end_time="2027-01-03T00:00:00Z")
        self.hold("r1", self.SERVERS[:1], 3, 4)
        self.assertEqual(self.found(), "")
        self.hold("r2", self.SERVERS[:1], 1, 3)
        self.assertIn("is promised to r2 within the window w", self.found())
        self.add("window_released", window="w")
        self.assertEqual(self.stream.tables["window_records"], {})

    def test_servers_that_are_reassigned_are_free_and_lost_no_more(self):
        self.hold("r1", self.SERVERS[:2], 2, 4)
        self.add("server_recorded", name=self.SERVERS[0], model="models/m", lost=True)
        self.add("servers_reassigned", reservation="r1", window="w", servers=self.SERVERS[1:],
                 removed=self.SERVERS[:1], added=self.SERVERS[2:], it_power_watts=20, cooling_watts=20)
        self.assertEqual(self.stream.get("reservations", "r1")["servers"], self.SERVERS[1:])
        self.assertNotIn("lostServers", self.stream.get("reservations", "r1"))
        self.assertEqual(self.found(), "")

    def test_servers_that_are_left_in_use_are_cleaned_and_tested(self):
        self.hold("r1", self.SERVERS[:2], 2, 4)
        self.add("server_recorded", name=self.SERVERS[0], model="models/m")
        self.add("servers_reassigned", time="2027-01-02T00:00:00Z", reservation="r1", window="w", in_use=True,
                 servers=self.SERVERS[1:], removed=self.SERVERS[:1], added=self.SERVERS[2:], it_power_watts=20,
                 cooling_watts=20, retest_servers=self.SERVERS[:1], cleaning_until="2027-01-02T01:00:00Z")
        self.assertEqual(self.stream.get("reservations", "r1")["leftServers"],
                         [{"server": self.SERVERS[0], "startTime": "2027-01-02T00:00:00Z",
                           "endTime": "2027-01-02T01:00:00Z"}])
        self.assertTrue(self.stream.get("server_records", self.SERVERS[0])["server"]["untested"])

    def test_a_feed_that_gives_more_than_it_has(self):
        self.add("feed_recorded", feed="a", step={"site": "sites/paris", "it_power_watts": 10})
        for server in self.SERVERS:
            self.add("server_recorded", name=server, model="models/m", bookable=True, it_power_watts=10,
                     power_feed="a" if server in self.SERVERS[:2] else "b")
        self.hold("r1", [self.SERVERS[0], self.SERVERS[2]], 2, 4)
        self.assertEqual(self.found(), "")
        self.hold("r2", self.SERVERS[1:2], 3, 5)
        self.assertIn("feed a gives 20 with r2", self.found())

    def test_a_shortfall_is_said_again_and_cleared(self):
        self.add("shortfall_found", name="s", missing_it_power_watts=7)
        self.add("shortfall_found", "2027-01-01T01:00:00Z", name="s", missing_it_power_watts=3)
        self.assertEqual(self.stream.get("shortfalls", "s"),
                         {"name": "s", "foundTime": "2027-01-01T00:00:00Z",
                          "found": {"name": "s", "missingItPowerWatts": "3"}})
        self.add("shortfall_cleared", name="s")
        self.assertIsNone(self.stream.get("shortfalls", "s"))

    def envelope(self, watts):
        self.add("envelope_recorded", site="sites/paris", effective_from="2027-01-01T00:00:00Z", it_power_watts=watts,
                 cooling_watts=watts)

    def add(self, case, time="2027-01-01T00:00:00Z", **fields):
        event = self.event_of()
        message = getattr(event, case)
        message.SetInParent()
        json_format.ParseDict(fields, message)
        self.stream.fold(event, self.stream.sequence + 1, time, "")
        self.watch.after(event)

    def hold(self, name, servers, begin, end):
        self.add("reservation_held", name=name, servers=servers, it_power_watts=10 * len(servers),
                 cooling_watts=10 * len(servers), terms={
                     "contract": "c", "model": "models/m", "count": len(servers),
                     "start_time": f"2027-01-{begin:02}T00:00:00Z", "end_time": f"2027-01-{end:02}T00:00:00Z"})

    def found(self):
        return " ".join(self.watch.findings)

    def test_what_fits_is_not_found(self):
        self.hold("r1", self.SERVERS[:2], 2, 4)
        self.hold("r2", self.SERVERS[2:], 2, 4)
        self.hold("r3", self.SERVERS, 4, 5)
        self.add("reservation_cancelled", name="r3")
        self.hold("r4", self.SERVERS, 4, 5)
        self.assertEqual(self.found(), "")

    def test_a_server_promised_twice_at_an_instant(self):
        self.hold("r1", self.SERVERS[:1], 2, 4)
        self.hold("r2", self.SERVERS[:1], 3, 5)
        self.assertIn("is promised to r2 and to r1 at one instant", self.found())

    def test_a_server_promised_while_its_reservation_runs_late(self):
        self.hold("r1", self.SERVERS[:1], 2, 4)
        self.add("reservation_started", name="r1", servers=self.SERVERS[:1])
        self.add("reservation_ending", name="r1")
        self.hold("r2", self.SERVERS[:1], 5, 6)
        self.assertIn("is promised to r2 and to r1", self.found())

    def test_a_server_in_use_twice(self):
        self.hold("r1", self.SERVERS[:1], 2, 4)
        self.hold("r2", self.SERVERS[:1], 4, 5)
        self.add("reservation_started", time="2027-01-02T00:00:00Z", name="r1")
        self.add("reservation_started", time="2027-01-04T00:00:00Z", name="r2")
        self.assertIn("is in use by r2 and by r1", self.found())

    def test_power_above_the_envelope_when_promised(self):
        self.envelope(19)
        self.hold("r1", self.SERVERS[:1], 2, 4)
        self.assertEqual(self.found(), "")
        self.hold("r2", self.SERVERS[1:2], 3, 5)
        self.assertIn("itPowerWatts is 20 with r2 and the envelope 19", self.found())

    def test_power_above_the_envelope_when_started(self):
        self.hold("r1", self.SERVERS[:2], 2, 4)
        self.envelope(19)
        self.add("reservation_started", time="2027-01-02T00:00:00Z", name="r1")
        self.assertIn("coolingWatts is 20 in use when r1 starts and the envelope 19", self.found())

    def test_a_contract_that_has_more_than_it_allows(self):
        self.add("contract_signed", name="c", sites=["sites/paris"], max_servers_per_site=1)
        self.hold("r1", self.SERVERS[:2], 2, 4)
        self.assertIn("c has 2 servers with r1, allowed 1", self.found())

    def test_a_server_that_is_not_bookable(self):
        self.add("server_recorded", name=self.SERVERS[0], model="models/m", bookable=False)
        self.hold("r1", self.SERVERS[:1], 2, 4)
        self.assertIn("expected 1 bookable servers", self.found())


class Quotas(unittest.TestCase):
    """A quota of 33 accelerators and 101 hours over two sites, and what moves of it."""

    TIME = "2027-01-01T09:00:00Z"
    NAME = "customers/hsbc/contracts/frame"

    def stream(self, site):
        stream = Stream(site, "reservations")
        sites = ["sites/paris", "sites/borlange"]
        contract = {"name": self.NAME, "customer": "customers/hsbc", "sites": sites, "quota": {
            "accelerators": 33, "accelerator_hours": 101, "allotments": [
                {"site": "sites/paris", "accelerators": 17, "accelerator_hours": 51},
                {"site": "sites/borlange", "accelerators": 16, "accelerator_hours": 50}]}}
        if site == "paris":
            self.add(stream, "contract_signed", **contract)
        else:
            self.add(stream, "contract_recorded", contract=contract, home_site="sites/paris")
        return stream

    def add(self, stream, case, time=TIME, **fields):
        event = PROTOS.event("reservations")()
        json_format.ParseDict(fields, getattr(event, case))
        stream.fold(event, stream.sequence + 1, time, "")

    def quota(self, stream):
        return stream.get("quotas", f"sites/{stream.site}/quotas/hsbc/frame")

    def test_each_site_begins_with_its_part_and_the_home_keeps_the_rest(self):
        paris, borlange = self.quota(self.stream("paris")), self.quota(self.stream("borlange"))
        self.assertEqual((paris["acceleratorSeconds"], paris["levels"]), ("183600", [{"accelerators": "17"}]))
        self.assertEqual(paris["shares"], [{"site": "sites/borlange", "granted": {
            "accelerators": "16", "acceleratorSeconds": "180000"}}])
        self.assertEqual((borlange["acceleratorSeconds"], borlange["levels"]), ("180000", [{"accelerators": "16"}]))

    def test_a_grant_leaves_one_site_and_reaches_the_other(self):
        paris, borlange = self.stream("paris"), self.stream("borlange")
        amount = {"accelerators": "8", "accelerator_seconds": "3600"}
        self.add(borlange, "quota_requested", contract=self.NAME, site="sites/borlange", number=1, amount=amount)
        self.assertEqual(self.quota(borlange)["openRequest"], "1")
        self.add(paris, "quota_granted", contract=self.NAME, site="sites/borlange", number=1, request=1, amount=amount,
                 effective_from=self.TIME)
        self.assertEqual(self.quota(paris)["levels"], [
            {"accelerators": "17"}, {"effectiveFrom": self.TIME, "accelerators": "9"}])
        self.add(borlange, "quota_answered", contract=self.NAME, grant=1, request=1, amount=amount,
                 effective_from=self.TIME)
        self.assertEqual(self.quota(borlange)["acceleratorSeconds"], "183600")
        self.assertNotIn("openRequest", self.quota(borlange))
        self.add(borlange, "quota_returned", time="2027-01-01T12:00:00Z", contract=self.NAME, number=1, amount=amount,
                 effective_from="2027-01-01T12:00:00Z")
        self.assertEqual(self.quota(borlange)["levels"], [
            {"accelerators": "24"}, {"effectiveFrom": "2027-01-01T12:00:00Z", "accelerators": "16"}])
        self.add(paris, "quota_reclaimed", contract=self.NAME, site="sites/borlange", number=1, amount=amount,
                 effective_from=self.TIME)
        self.assertEqual(self.quota(paris)["shares"][0]["granted"], {"accelerators": "16", "acceleratorSeconds": "180000"})

    def test_a_reservation_takes_its_hours_and_gives_back_what_it_did_not_have(self):
        paris = self.stream("paris")
        used = lambda: self.quota(paris).get("usedAcceleratorSeconds", "0")
        for name, last in (("r1", "reservation_cancelled"), ("r2", "reservation_started")):
            self.add(paris, "reservation_held", name=name, accelerators=8, terms={
                "contract": self.NAME, "start_time": "2027-01-01T10:00:00Z", "end_time": "2027-01-01T12:00:00Z"})
            self.assertEqual(used(), "57600")
            self.add(paris, last, time="2027-01-01T10:30:00Z", name=name,
                     **({"accelerators": 8} if last == "reservation_started" else {}))
        self.assertEqual(used(), "43200")

    def test_numbers_are_seen_in_any_order(self):
        self.assertEqual(see(see({}, 2), 3), {"beyond": ["2", "3"]})
        self.assertEqual(see({"beyond": ["2", "3"]}, 1), {"through": "3"})


class Notices(unittest.TestCase):
    def test_a_notice_is_given_and_then_proved(self):
        stream = Stream("paris", "reservations")

        def add(case, **fields):
            event = PROTOS.event("reservations")()
            json_format.ParseDict(fields, getattr(event, case))
            stream.fold(event, stream.sequence + 1, "2027-01-02T10:00:00Z", "")
        step, end = "3600s", "2027-01-02T11:00:00Z"
        add("contract_signed", name="customers/hsbc/contracts/told", notices=[step])
        add("reservation_held", name="r", terms={"contract": "customers/hsbc/contracts/told",
                                                 "start_time": "2027-01-02T09:00:00Z", "end_time": end})
        self.assertEqual(stream.get("reservations", "r")["notices"], [step])
        add("notice_given", name="r", before_end=step, end_time=end)
        add("notice_delivered", name="r", before_end=step, end_time=end, delivered_time=end, evidence="m-1")
        self.assertEqual(stream.get("reservations", "r")["givenNotices"], [{
            "beforeEnd": step, "endTime": end, "givenTime": "2027-01-02T10:00:00Z", "deliveredTime": end,
            "evidence": "m-1"}])

    def test_a_wave_planned_anew_is_the_later_one(self):
        stream = Stream("paris", "reservations")
        for percent in (20, 40):
            event = PROTOS.event("reservations")()
            json_format.ParseDict({"name": "w", "model": "m", "share_percent": percent}, event.wave_planned)
            stream.fold(event, stream.sequence + 1, "2027-01-01T00:00:00Z", "")
        self.assertEqual(stream.get("waves", "w")["plan"]["sharePercent"], 40)


def day(number, hour=0):
    return f"2027-01-{number:02}T{hour:02}:00:00Z"


class Schedules(unittest.TestCase):
    """A contract with access hours, and a series of three nights under it."""

    CONTRACT = "customers/hsbc/contracts/frame"
    ACCESS = {"rule": "FREQ=DAILY", "time_zone": "Europe/Paris", "start": "2027-01-02T01:00:00", "duration": "7200s"}
    SERVERS = ["sites/paris/servers/a", "sites/paris/servers/b"]

    def setUp(self):
        self.stream = Stream("paris", "reservations")
        self.watch = Allocations(self.stream)
        self.add("site_recorded", name="sites/paris", country="FR")
        self.add("envelope_recorded", site="sites/paris", effective_from=day(1), it_power_watts=30, cooling_watts=30)
        for server in self.SERVERS:
            self.add("server_recorded", name=server, model="models/m", it_power_watts=10, cooling_watts=10,
                     bookable=True)
        self.add("contract_signed", name=self.CONTRACT, customer="customers/hsbc", sites=["sites/paris"],
                 start_time=day(1), end_time="2029-01-01T00:00:00Z", access=self.ACCESS, notices=["3600s"],
                 occurrences=[{"start_time": day(2), "end_time": day(2, 2)}], occurrences_until=day(20),
                 zone_data_version="2025b", quota={"accelerator_hours": 100})

    def add(self, case, time=day(1), **fields):
        event = PROTOS.event("reservations")()
        message = getattr(event, case)
        message.SetInParent()
        json_format.ParseDict(fields, message)
        self.stream.fold(event, self.stream.sequence + 1, time, "the story")
        self.watch.after(event)

    def terms(self, **more):
        return {"contract": self.CONTRACT, "model": "models/m", "count": 1, "start_time": day(1), "end_time": day(30),
                **more}

    def night(self, number, on, server=0, **more):
        return {"name": f"r-{number}", "start_time": day(on), "end_time": day(on, 2), "it_power_watts": 10,
                "servers": [self.SERVERS[server]], "cooling_watts": 10, "accelerators": 8, **more}

    def series(self):
        self.add("reservation_held", name="r", terms=self.terms(access=self.ACCESS), it_power_watts=10,
                 cooling_watts=10, accelerators=8, hold_expires_at=day(1, 1), occurrences_until=day(20),
                 zone_data_version="2025b", occurrences=[self.night(1, 2), self.night(2, 3), self.night(3, 4)])

    def schedule(self, name="r"):
        return self.stream.get("schedules", name)

    def starts(self, name="r"):
        return [(one.get("name"), one["startTime"]) for one in self.schedule(name)["occurrences"]]

    def states(self):
        found = (self.stream.get("reservations", name) for name in ("r", "r-1", "r-2", "r-3"))
        return [one["state"].removeprefix("RESERVATION_STATE_") for one in found]

    def used_hours(self):
        quota = self.stream.get("quotas", "sites/paris/quotas/hsbc/frame")
        return int(quota.get("usedAcceleratorSeconds", 0)) / 3600

    def test_access_hours_are_a_schedule_of_the_contract(self):
        self.assertEqual(self.schedule(self.CONTRACT), {
            "name": self.CONTRACT, "startTime": day(1), "endTime": "2029-01-01T00:00:00Z", "occurrencesUntil": day(20),
            "zoneDataVersion": "2025b", "occurrences": [{"startTime": day(2), "endTime": day(2, 2)}],
            "access": {"rule": "FREQ=DAILY", "timeZone": "Europe/Paris", "start": "2027-01-02T01:00:00",
                       "duration": "7200s"}})
        borlange = Stream("borlange", "reservations")
        event = PROTOS.event("reservations")()
        json_format.ParseDict({"home_site": "sites/paris", "contract": {
            "name": self.CONTRACT, "access": self.ACCESS}}, event.contract_recorded)
        borlange.fold(event, 0, day(1), "")
        self.assertEqual(borlange.get("schedules", self.CONTRACT)["access"]["rule"], "FREQ=DAILY")

    def test_each_occurrence_is_a_reservation_of_its_own(self):
        self.series()
        self.assertEqual(self.starts(), [("r-1", day(2)), ("r-2", day(3)), ("r-3", day(4))])
        self.assertNotIn("servers", self.schedule()["occurrences"][0])
        self.assertEqual(self.stream.get("reservations", "r")["occurrences"], 3)
        self.assertEqual(self.stream.get("reservations", "r-2"), {
            "name": "r-2", "state": "RESERVATION_STATE_HELD", "series": "r", "servers": self.SERVERS[:1],
            "itPowerWatts": "10", "coolingWatts": "10", "accelerators": "8", "notices": ["3600s"],
            "correlationId": "the story", "terms": {
                "contract": self.CONTRACT, "model": "models/m", "count": 1, "startTime": day(3),
                "endTime": day(3, 2)}})
        # The occurrences take of the quota, the series nothing.
        self.assertEqual(self.used_hours(), 3 * 2 * 8)

    def test_what_has_not_begun_shares_the_fate_of_its_series(self):
        self.series()
        self.add("reservation_confirmed", name="r")
        self.assertEqual(self.states(), ["CONFIRMED"] * 4)
        self.add("reservation_started", day(2), name="r-1", accelerators=8)
        self.assertIsNotNone(self.schedule())
        self.add("reservation_cancelled", day(2), name="r", reason="enough")
        self.assertEqual(self.states(), ["CANCELLED", "ACTIVE", "CANCELLED", "CANCELLED"])
        self.assertEqual(self.stream.get("reservations", "r-3")["detail"], "enough")
        self.assertIsNone(self.schedule())
        self.assertEqual(self.used_hours(), 2 * 8)

    def test_a_series_that_is_not_granted_leaves_nothing(self):
        for case, state, detail in (("reservation_declined", "DECLINED", {"detail": "why"}),
                                    ("hold_lapsed", "LAPSED", {}),
                                    ("reservation_revoked", "REVOKED", {"cause": "why"})):
            with self.subTest(case):
                self.setUp()
                self.series()
                self.add(case, name="r", **detail)
                self.assertEqual(self.states(), [state] * 4)
                self.assertEqual(self.stream.get("reservations", "r-1").get("detail"), "why" if detail else None)
                self.assertIsNone(self.schedule())

    def test_a_series_that_is_over_leaves_its_occurrences_as_they_are(self):
        self.series()
        self.add("reservation_confirmed", name="r")
        self.add("reservation_ended", day(30), name="r")
        self.assertEqual(self.states(), ["ENDED", "CONFIRMED", "CONFIRMED", "CONFIRMED"])
        self.assertIsNone(self.schedule())

    def test_a_horizon_moves_on_and_forgets_what_is_over(self):
        self.series()
        self.add("reservation_confirmed", name="r")
        self.add("schedule_extended", day(3, 2), name="r", occurrences_until=day(28), zone_data_version="2026a",
                 occurrences=[self.night(4, 21, server=1),
                              {"name": "r-5", "start_time": day(22), "end_time": day(22, 2),
                               "reason": "REASON_NO_CAPACITY", "detail": "none is free"}])
        # The one that ends now is over; the one without servers is known, and is no reservation.
        self.assertEqual(self.starts(), [("r-3", day(4)), ("r-4", day(21)), ("r-5", day(22))])
        self.assertEqual((self.schedule()["occurrencesUntil"], self.schedule()["zoneDataVersion"]), (day(28), "2025b"))
        self.assertEqual(self.stream.get("reservations", "r")["occurrences"], 5)
        self.assertEqual(self.stream.get("reservations", "r-4")["state"], "RESERVATION_STATE_CONFIRMED")
        self.assertIsNone(self.stream.get("reservations", "r-5"))
        self.add("schedule_extended", day(3, 2), name=self.CONTRACT, occurrences_until=day(28),
                 occurrences=[{"start_time": day(21), "end_time": day(21, 2)}])
        self.assertEqual(self.starts(self.CONTRACT), [(None, day(21))])

    def test_new_data_of_the_zones_move_what_has_not_begun(self):
        self.series()
        self.add("reservation_started", day(2), name="r-1", accelerators=8)
        shift = lambda number, on, hour, **more: {
            "before": {"name": f"r-{number}", "start_time": day(on), "end_time": day(on, 2)},
            "after": {"name": f"r-{number}", "start_time": day(on, hour), "end_time": day(on, hour + 2)}, **more}
        self.add("occurrences_shifted", day(2), name="r", zone_data_version_before="2025b", zone_data_version="2026a",
                 shifts=[shift(1, 2, 1), shift(2, 3, 1), shift(3, 4, 1, kept=True, detail="it is taken"),
                         {"after": {"start_time": day(2, 20), "end_time": day(2, 22)}, "kept": True}])
        self.assertEqual(self.starts(), [("r-1", day(2, 1)), ("r-2", day(3, 1)), ("r-3", day(4))])
        self.assertEqual(self.schedule()["zoneDataVersion"], "2026a")
        begins = [self.stream.get("reservations", f"r-{n}")["terms"]["startTime"] for n in (1, 2, 3)]
        self.assertEqual(begins, [day(2), day(3, 1), day(4)])

    def test_access_hours_follow_new_data_of_the_zones(self):
        before, after = ({"start_time": day(2, hour), "end_time": day(2, hour + 2)} for hour in (0, 1))
        new = {"start_time": day(1, 5), "end_time": day(1, 7)}
        self.add("occurrences_shifted", name=self.CONTRACT, zone_data_version="2026a",
                 shifts=[{"before": before, "after": after}, {"after": new}])
        self.assertEqual(self.starts(self.CONTRACT), [(None, day(1, 5)), (None, day(2, 1))])
        self.add("occurrences_shifted", name=self.CONTRACT, zone_data_version="2026b", shifts=[{"before": new}])
        self.assertEqual(self.starts(self.CONTRACT), [(None, day(2, 1))])
        self.add("occurrences_kept", name=self.CONTRACT, zone_data_version="2026c")
        self.assertEqual(self.schedule(self.CONTRACT)["zoneDataVersion"], "2026c")

    def test_what_has_no_schedule_gets_none(self):
        for case in ("schedule_extended", "occurrences_shifted", "occurrences_kept"):
            self.add(case, name="unknown", zone_data_version="2026a")
        self.assertIsNone(self.schedule("unknown"))
        self.assertEqual(self.stream.not_folded, [])

    # --- what no site may write ------------------------------------------------------------------

    def hold(self, server, begin, end):
        self.add("reservation_held", name="other", servers=[self.SERVERS[server]], it_power_watts=10, cooling_watts=10,
                 terms=self.terms(start_time=begin, end_time=end))

    def found(self):
        return " ".join(self.watch.findings)

    def test_between_its_occurrences_servers_are_others(self):
        self.series()
        self.hold(0, day(2, 2), day(3))
        self.assertEqual(self.found(), "")

    def test_a_server_of_an_occurrence_promised_again(self):
        self.series()
        self.hold(0, day(3, 1), day(3, 5))
        self.assertIn("sites/paris/servers/a is promised to other and to r-2 at one instant", self.found())

    def test_a_series_over_what_is_promised(self):
        self.hold(0, day(4), day(5))
        self.series()
        self.assertIn("sites/paris/servers/a is promised to r-3 and to other at one instant", self.found())

    def test_an_occurrence_of_a_later_horizon_over_what_is_promised(self):
        self.series()
        self.hold(1, day(21), day(22))
        self.add("schedule_extended", name="r", occurrences_until=day(28), occurrences=[self.night(4, 21, server=1)])
        self.assertIn("sites/paris/servers/b is promised to r-4 and to other", self.found())

    def test_an_occurrence_that_is_moved_into_what_is_promised(self):
        self.series()
        self.hold(0, day(3, 2), day(3, 5))
        self.add("occurrences_shifted", name="r", zone_data_version="2026a", shifts=[{
            "before": self.night(2, 3), "after": {"start_time": day(3, 1), "end_time": day(3, 3)}}])
        self.assertIn("['sites/paris/servers/a'] are promised to r-2 and to other", self.found())

    def test_occurrences_that_draw_more_than_there_is(self):
        self.add("envelope_recorded", site="sites/paris", effective_from=day(3), it_power_watts=10, cooling_watts=30)
        self.hold(1, day(2), day(4))
        self.series()
        self.assertIn("itPowerWatts is 20 with r-2 and the envelope 10", self.found())

    def test_occurrences_beyond_the_quota(self):
        self.add("contract_signed", name=self.CONTRACT, customer="customers/hsbc", sites=["sites/paris"],
                 quota={"accelerator_hours": 40})
        self.series()
        self.assertIn("has booked 172800 accelerator-seconds, allotted 144000", self.found())


class NotFolded(unittest.TestCase):
    def test_an_event_that_this_reader_does_not_fold_is_said(self):
        stream = Stream("paris", "reservations")
        event = PROTOS.event("inventory")()
        event.rack_defined.SetInParent()
        stream.fold(event, 0, "2027-01-01T00:00:00Z", "")
        self.assertEqual(stream.not_folded, ["rack_defined at 0"])


def served(service):
    """The collections that a service answers queries about, as its source says."""
    text = (REPOSITORY / "services" / service / "service.h").read_text()
    return re.findall(r'\{"(\w+)", &v1::', text[text.index("Tables()"):])


class Completeness(unittest.TestCase):
    def test_every_collection_that_a_service_serves_is_folded_or_left_out_for_a_reason(self):
        for service, folded in OF_SERVICE.items():
            with self.subTest(service):
                self.assertGreater(len(served(service)), 2)
                left_out = [name for name, reason in NOT_FOLDED.items() if reason and name in served(service)]
                self.assertEqual(sorted(served(service)), sorted([*folded, *left_out]))

    def test_every_service_that_serves_something_is_read(self):
        services = {path.parent.name for path in (REPOSITORY / "services").glob("*/service.h")
                    if "Tables()" in path.read_text()}
        self.assertEqual(services - {"runtime"}, set(OF_SERVICE))

    def test_every_event_of_every_service_is_folded(self):
        for service in OF_SERVICE:
            cases = [field.name for field in PROTOS.event(service).DESCRIPTOR.oneofs_by_name["event"].fields]
            missing = [case for case in cases if case != "command_refused"
                       and not hasattr(Stream, f"{service}_{case}")]
            self.assertEqual(missing, [], service)


class Details(unittest.TestCase):
    def test_the_envelope_is_nothing_before_its_first_step(self):
        steps = [{"effectiveFrom": "1970-01-01T00:00:01Z", "itPowerWatts": "5"}]
        self.assertEqual([level(steps, "itPowerWatts", at) for at in (0, 10**9)], [0, 5])

    def test_attempts_pause_for_longer_and_longer(self):
        self.assertEqual([retry_pause(attempt) for attempt in (1, 2, 3, 6, 7, 20)], [1, 2, 4, 32, 60, 60])


if __name__ == "__main__":
    unittest.main()
