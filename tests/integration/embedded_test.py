"""One process, two sites, the embedded log: the story, the cut link, restarts, and what is refused."""
import json
import shutil
import subprocess
import unittest

import story
from cluster import Cluster, Shell, binary, digests, eventually, rpc

SITES = ("paris", "borlange")


class Embedded(unittest.TestCase):
    """A process with two furnished sites for the tests of a class."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.close)
        config, cls.addresses = story.embedded(cls.cluster)
        cls.node = cls.cluster.node("node", config).start()
        cls.shell = Shell(cls.cluster, {site: {"address": address} for site, address in cls.addresses.items()})
        story.furnish(cls.shell, SITES)

    def link_at(self, site, stream, sequence):
        return rpc(self.addresses[site], "concordat.node.v1.NodeService/GetLink",
                   {"stream": stream, "sequence": sequence})["link"]

    def settled(self):
        """Heads and digests at both sites, once nobody is behind."""
        self.shell("verify", "--wait", "30s")
        return ({site: self.shell.heads(site) for site in SITES},
                {site: digests(self.addresses[site]) for site in SITES})

    def assert_history_kept(self, heads):
        """What was the head of a stream still stands at its sequence."""
        for site in SITES:
            for stream, (sequence, link) in heads[site].items():
                self.assertEqual(self.link_at(site, stream, sequence), link, f"{stream} at {sequence} in {site}")

    def commands(self, stream):
        """The command ids of a stream's events; a writer's own system events left out."""
        answer = rpc(self.addresses["paris"], "concordat.node.v1.NodeService/ListEvents",
                     {"stream": stream, "limit": 1000})
        self.assertFalse(answer["truncated"])
        return [event["command_id"] for event in answer["events"] if not event["type"].startswith("concordat.system.")]


class TwoSites(Embedded):
    def test_a_server_that_misses_its_burn_in_stays_out_of_service(self):
        story.install_server(self.shell, "paris", "b01", 40)
        refused = self.shell.json("commission", "server", "b01", code=4)
        self.assertEqual(refused["eventType"], "concordat.inventory.v1.CommandRefused")
        story.run_burn_in(self.shell, "paris", "b01", tflops=2000)
        found = self.shell.get("server", "b01")
        self.assertEqual(found["state"], "SERVER_STATE_TEST_FAILED")
        self.assertIn("gpu_gemm_tflops", str(found["shortfalls"]))
        self.shell("commission", "server", "b01", code=4)
        story.run_burn_in(self.shell, "paris", "b01")
        self.shell("commission", "server", "b01")
        self.assertEqual(self.shell.get("server", "b01")["state"], "SERVER_STATE_IN_SERVICE")

    def test_a_rule_prohibits_training_in_sweden_and_clears_it_in_france(self):
        for site in SITES:
            story.adopt_rule(self.shell, site, "placement-training")
        held = story.reserve(self.shell, "paris", "+100d", "+110d", purpose="training")
        self.shell.wait_state("reservation", held["subject"], "RESERVATION_STATE_CONFIRMED", "paris")
        held = story.reserve(self.shell, "borlange", "+100d", "+110d", purpose="training")
        declined = self.shell.wait_state("reservation", held["subject"], "RESERVATION_STATE_DECLINED", "borlange")
        self.assertIn("rules/placement-training", declined["detail"])
        judged = self.shell.get("judgement", held["subject"], site="borlange")
        self.assertIn("rules/placement-training", [finding["rule"] for finding in judged["findings"]])
        explained = self.shell("explain", held["subject"], "--site", "borlange").out
        self.assertIn("Placement policy of the company", explained)
        # What runs is inference again.
        held = story.reserve(self.shell, "borlange", "+100d", "+110d")
        self.shell.wait_state("reservation", held["subject"], "RESERVATION_STATE_CONFIRMED", "borlange")

    def test_a_derating_below_what_is_reserved_is_told_and_cleared(self):
        held = story.reserve(self.shell, "paris", "+300d", "+310d")["subject"]
        self.shell.wait_state("reservation", held, "RESERVATION_STATE_CONFIRMED", "paris")
        self.shell("set", "envelope", "paris", "--effective-from", "+301d", "--until", "+302d", "--it-power-watts", "1W",
                   "--cooling-watts", "1W", "--cause", "equipment", "--detail", "chiller 2")
        known = lambda: self.shell.json("get", "shortfalls").get("resources", [])
        found = eventually(known, what="a shortfall")[0]["found"]
        self.assertEqual([each["reservation"] for each in found["reservations"]], [held])
        self.assertEqual(found["cause"], "equipment: chiller 2")
        self.assertIn("chiller 2", self.shell("describe", "shortfall", found["name"]).out)
        self.shell("cancel", "reservation", held, "--reason", "less power")
        eventually(lambda: not known(), what="no shortfall")

    def test_an_order_of_paris_comes_back_from_borlange_decided(self):
        ordered = story.reserve(self.shell, "paris", "+200d", "+210d", at="borlange", options=("--wait",))
        self.assertEqual(ordered["eventType"], "concordat.reservations.v1.ReservationOrdered")
        order = self.shell.wait_state("order", ordered["subject"], "ORDER_STATE_CONFIRMED", "paris")
        there = self.shell.wait_state("reservation", order["reservation"], "RESERVATION_STATE_CONFIRMED", "borlange")
        self.assertEqual(there["order"], ordered["subject"])
        self.assertTrue(all(name.startswith("sites/borlange/") for name in there["servers"]))

    def test_a_reservation_begins_and_ends_by_the_clock_and_takes_what_runs_with_it(self):
        self.shell("register", "artefact", "open-70b", "--digest", "ab" * 32, "--licence", "Apache-2.0", "--trained-in",
                   "FR", "--provenance", "published by the lab")
        held = story.reserve(self.shell, "paris", "+1d", "+3d", options=("--wait",))
        name = held["subject"]
        self.shell("deploy", "open-70b", name, code=3)  # deployment has not heard of it before its start
        self.shell("clock", "advance", "25h")
        self.shell.wait_state("reservation", name, "RESERVATION_STATE_ACTIVE", "paris")
        eventually(lambda: self.shell.run("get", "deployment_reservation", name).code == 0, what="deployment knows it")
        deployed = self.shell.json("deploy", "open-70b", name, "--wait")
        self.shell.wait_state("deployment", deployed["subject"], "DEPLOYMENT_STATE_RUNNING", "paris")
        self.shell("clock", "advance", "3d")
        self.shell.wait_state("reservation", name, "RESERVATION_STATE_ENDED", "paris")
        self.shell.wait_state("deployment", deployed["subject"], "DEPLOYMENT_STATE_REMOVED", "paris")
        self.shell("clock", "set", "2027-01-01T00:00:00Z", code=4)

    def bundle(self, start, end, count=1):
        """Asks Paris for servers at both sites or none; the bundle's name."""
        part = {"contract": story.CONTRACT, "model": story.MODEL, "count": count, "startTime": start, "endTime": end,
                "purpose": "PURPOSE_INFERENCE", "dataClasses": ["PUBLIC"], "project": "risk"}
        parts = [{"site": f"sites/{site}", **part} for site in SITES]
        outcome = self.shell.json("bundle", "-f", "-", "--site", "paris", stdin=json.dumps({"parts": parts}))
        self.assertEqual(outcome["eventType"], "concordat.reservations.v1.BundleRequested")
        return outcome["subject"]

    def parts(self, name, state):
        """The reservations of a settled bundle, each as its own site has it."""
        bundle = self.shell.wait_state("bundle", name, state, "paris")
        return {part["site"].split("/")[1]: part["reservation"] for part in bundle["parts"]}

    def test_a_bundle_takes_place_at_both_sites_or_at_none(self):
        parts = self.parts(self.bundle("2028-03-01T08:00:00Z", "2028-03-02T08:00:00Z"), "BUNDLE_STATE_COMMITTED")
        for site in SITES:
            self.shell.wait_state("reservation", parts[site], "RESERVATION_STATE_CONFIRMED", site)
        self.assertEqual(self.shell.get("promises", site="borlange").get("resources", []), [])
        # Neither site has so many servers.
        name = self.bundle("2028-04-01T08:00:00Z", "2028-04-02T08:00:00Z", count=8)
        parts = self.parts(name, "BUNDLE_STATE_ABORTED")
        for site in SITES:
            self.shell.wait_state("reservation", parts[site], "RESERVATION_STATE_DECLINED", site)
        self.assertIn("REASON_", self.shell.get("bundle", name, site="paris")["reason"])
        self.settled()

    def test_a_bundle_waits_for_a_cut_link_and_takes_place_once_it_is_healed(self):
        self.shell("verify", "--wait", "30s")
        self.shell("link", "cut", "borlange")
        self.addCleanup(self.shell, "link", "heal", "borlange")
        name = self.bundle("2028-05-01T08:00:00Z", "2028-05-02T08:00:00Z")
        eventually(lambda: any(part.get("state") == "PART_STATE_HELD"
                               for part in self.shell.get("bundle", name, site="paris")["parts"]),
                   what="Paris holds its own part")
        self.assertEqual(self.shell.get("bundle", name, site="paris")["state"], "BUNDLE_STATE_REQUESTED")
        self.shell("link", "heal", "borlange")
        parts = self.parts(name, "BUNDLE_STATE_COMMITTED")
        for site in SITES:
            self.shell.wait_state("reservation", parts[site], "RESERVATION_STATE_CONFIRMED", site)
        self.settled()

    def test_a_bundle_whose_part_lapses_behind_a_cut_link_takes_place_nowhere(self):
        self.shell("verify", "--wait", "30s")
        self.shell("link", "cut", "borlange")
        self.addCleanup(self.shell, "link", "heal", "borlange")
        name = self.bundle("2028-06-01T08:00:00Z", "2028-06-02T08:00:00Z")
        eventually(lambda: any(part.get("state") == "PART_STATE_HELD"
                               for part in self.shell.get("bundle", name, site="paris")["parts"]),
                   what="Paris holds its own part")
        self.shell("clock", "advance", "16m")
        parts = self.parts(name, "BUNDLE_STATE_ABORTED")
        self.shell.wait_state("reservation", parts["paris"], "RESERVATION_STATE_LAPSED", "paris")
        self.shell("link", "heal", "borlange")
        self.shell.wait_state("reservation", parts["borlange"], "RESERVATION_STATE_DECLINED", "borlange")
        self.settled()

    def test_a_refusal_tells_of_each_server_what_was_in_its_way_then(self):
        story.reserve(self.shell, "paris", "2028-08-01", "2028-08-02", options=("--wait",))
        refused = self.shell.run("reserve", "--site", "paris", "--contract", story.CONTRACT, "--model", story.MODEL,
                                 "--count", "8", "--start-time", "2028-08-01", "--end-time", "2028-08-02", "--purpose",
                                 "inference", "--data-classes", "PUBLIC", "--request-id", "too-many")
        self.assertNotEqual(refused.code, 0)
        self.assertIn("1 taken (a01-01)", refused.err)
        explained = self.shell("explain", "--request", "too-many", "--full").out
        self.assertRegex(explained, "a01-01 +taken")
        self.assertRegex(explained, "a01-02 +could be given")
        self.shell("cordon", "server", "a01-02", "--reason", "fan")
        self.addCleanup(self.shell, "uncordon", "server", "a01-02")
        self.assertEqual(self.shell("explain", "--request", "too-many", "--full").out, explained)

    def test_a_cut_link_delays_the_decision_of_an_order_and_nothing_else(self):
        self.shell("verify", "--wait", "30s")
        self.shell("link", "cut", "borlange")
        self.addCleanup(self.shell, "link", "heal", "borlange")
        ordered = story.reserve(self.shell, "paris", "+300d", "+310d", at="borlange")
        self.assertEqual(ordered["eventType"], "concordat.reservations.v1.ReservationOrdered")
        # Both sites go on alone, through a whole course of four streams each.
        for site in SITES:
            held = story.reserve(self.shell, site, "+400d", "+410d")
            self.shell.wait_state("reservation", held["subject"], "RESERVATION_STATE_CONFIRMED", site)
        self.assertEqual(self.shell.get("order", ordered["subject"])["state"], "ORDER_STATE_PENDING")
        self.assertEqual(self.shell.run("get", "order", ordered["subject"], "--site", "borlange").code, 3)
        behind = self.shell("verify", "-o", "json", code=6)
        self.assertEqual({entry["kind"] for entry in behind.json["disagreements"]}, {"behind"})
        self.assertIn("paris.reservations.events", {entry["stream"] for entry in behind.json["disagreements"]})

        self.shell("link", "heal", "borlange")
        self.shell.wait_state("order", ordered["subject"], "ORDER_STATE_CONFIRMED", "paris")
        self.assertIn("heads equal, digests equal", self.shell("verify", "--wait", "30s").out)


class Restarts(Embedded):
    def test_a_second_process_on_the_same_store_is_refused(self):
        config = dict(self.node.config, sites=[{"name": site} for site in SITES])
        second = self.cluster.node("second", config).launch()
        self.assertEqual(second.ends(), 1)
        self.assertIn("another process holds this store", second.said())
        self.shell("verify", "--wait", "30s")

    def test_after_kill_9_everything_that_was_answered_is_there(self):
        order = ("order", "server", "c01", "--model", story.MODEL, "--supplier", "nvidia", "--promised-time",
                 "2027-06-01", "--request-id", "order-c01")
        first = self.shell.json(*order)
        refused = self.shell.json("order", "server", "c02", "--model", "unheard-of", "--supplier", "nvidia",
                                  "--promised-time", "2027-06-01", "--request-id", "order-c02", code=3)
        heads, before = self.settled()
        self.node.kill()
        self.node.start()
        _, after = self.settled()
        self.assertEqual(after, before)
        self.assert_history_kept(heads)
        self.assertEqual(self.shell.json(*order), {**first, "repeated": True})
        again = self.shell.json("order", "server", "c02", "--model", "unheard-of", "--supplier", "nvidia",
                                "--promised-time", "2027-06-01", "--request-id", "order-c02", code=3)
        self.assertEqual(again, {**refused, "repeated": True})
        other = self.shell(*["supermicro" if word == "nvidia" else word for word in order], code=5)
        self.assertIn("another content", other.err)
        self.assertEqual(digests(self.addresses["paris"]), before["paris"])

    def test_deleted_projections_are_folded_anew_to_the_same_digest(self):
        heads, before = self.settled()
        commands = {stream: self.commands(stream) for stream in story.all_streams()}
        self.node.stop()
        for site, stream in (("paris", "paris.reservations.events"), ("borlange", "paris.inventory.events")):
            shutil.rmtree(self.node.data / site / stream)
        self.node.start()
        _, after = self.settled()
        self.assertEqual(after, before)
        self.assert_history_kept(heads)
        self.assertEqual({stream: self.commands(stream) for stream in story.all_streams()}, commands)

    def test_a_row_changed_by_hand_is_found_and_named(self):
        self.shell("verify", "--wait", "30s")
        self.node.stop()
        replica = self.node.data / "borlange" / "paris.inventory.events"
        subprocess.run([binary("TAMPER_ROW"), replica, "servers", "nvidia", "nvidiA"], check=True,
                       stdout=subprocess.PIPE)
        self.node.start()
        try:
            self.shell.run("verify", "--wait", "10s")  # until the heads are equal again
            found = self.shell("verify", code=7)
            self.assertIn("paris.inventory.events table servers at borlange", found.out)
            entries = self.shell("verify", "-o", "json", code=7).json["disagreements"]
            self.assertEqual({(entry["stream"], entry["table"]) for entry in entries},
                             {("paris.inventory.events", "servers")})
        finally:
            self.node.stop()
            shutil.rmtree(replica)
            self.node.start()
        self.shell("verify", "--wait", "30s")


class BadInput(Embedded):
    LONG = "x" * 64

    # What the bytes alone tell: exit code 2, and what stands in the message.
    MALFORMED = [
        ("an empty name", "name", ["order", "server", "", "--model", "m"]),
        ("an over-long name", "name", ["order", "server", LONG, "--model", "m"]),
        ("a name with capitals", "name", ["order", "server", "A01", "--model", "m"]),
        ("a name that climbs", "name", ["order", "server", "../../a", "--model", "m"]),
        ("an over-long text", "supplier", ["order", "server", "a99", "--model", "m", "--supplier", "x" * 5000,
                                           "--promised-time", "+1d"]),
        ("no time", "promised_time", ["order", "server", "a99", "--model", "m", "--supplier", "s"]),
        ("no such date", "promised-time", ["order", "server", "a99", "--model", "m", "--supplier", "s",
                                           "--promised-time", "2027-02-30"]),
        ("an unknown flag", "colour", ["order", "server", "a99", "--colour", "red"]),
        ("an unknown command", "melt", ["melt", "server", "a99"]),
        ("no accelerators", "accelerators", ["register", "model", "m9", "--vendor", "v", "--accelerators", "0",
                                             "--it-power-watts", "1kW", "--cooling-watts", "1kW", "--criteria",
                                             "f=0..1:u"]),
        ("negative power", "it[-_]power", ["register", "model", "m9", "--vendor", "v", "--accelerators", "1",
                                           "--it-power-watts=-5", "--cooling-watts", "1kW", "--criteria", "f=0..1:u"]),
        ("a criterion upside down", "criteri", ["register", "model", "m9", "--vendor", "v", "--accelerators", "1",
                                                "--it-power-watts", "1kW", "--cooling-watts", "1kW", "--criteria",
                                                "f=9..1:u"]),
        ("position zero", "position", ["install", "server", "a01-01", "--room", "a", "--rack", "1", "--position", "0"]),
        ("a country that is none", "country", ["register", "customer", "c9", "--display-name", "C", "--country",
                                               "France", "--sector", "PUBLIC"]),
        ("count zero", "count", ["reserve", "--count", "0"]),
        ("a negative count", "count", ["reserve", "--count=-1"]),
        ("a count beyond all integers", "count", ["reserve", "--count", "99999999999999999999"]),
        ("an end before its begin", "end_time", ["reserve", "--start-time", "+9d", "--end-time", "+8d"]),
        ("an end at its begin", "end_time", ["reserve", "--start-time", "+9d", "--end-time", "+9d"]),
        ("an unknown purpose", "purpose", ["reserve", "--purpose", "world-domination"]),
        ("no data class", "data_classes", ["reserve", "--data-classes", ""]),
        ("a rule without a citation", "citation", ["adopt", "rule", "-f", "-"],
         {"name": "rules/r9", "version": 1, "title": "t", "subjectKind": "SUBJECT_KIND_RESERVATION",
          "effect": "EFFECT_DENY"}),
        ("a rule with an unknown field", "colour", ["adopt", "rule", "-f", "-"], {"name": "rules/r9", "colour": "red"}),
        ("a rule with an unknown effect", "EFFECT_SHRUG", ["adopt", "rule", "-f", "-"],
         {"name": "rules/r9", "effect": "EFFECT_SHRUG"}),
        ("a rule that is no document", "", ["adopt", "rule", "-f", "-"], "{]"),
        ("a digest that is none", "digest", ["register", "artefact", "a9", "--digest", "abc", "--licence", "MIT",
                                             "--trained-in", "FR"]),
        ("an over-long request id", "request_id", ["uncordon", "server", "a01-01", "--request-id", "i" * 300]),
        ("an unknown site to ask", "atlantis", ["get", "servers", "--site", "atlantis"]),
        ("an unknown output", "output", ["get", "servers", "-o", "xml"]),
    ]
    RESERVE = {"--contract": story.CONTRACT, "--model": story.MODEL, "--count": "1", "--start-time": "+9d",
               "--end-time": "+10d", "--purpose": "inference", "--data-classes": "PUBLIC"}

    # What needs state or time: one refusal in the log, a reason, an exit code.
    REFUSED = [
        ("an unknown server", 3, ["commission", "server", "nowhere"]),
        ("a delivery of nothing", 3, ["deliver", "server", "nowhere", "--serial", "S"]),
        ("a promise in the past", 4, ["order", "server", "a98", "--model", story.MODEL, "--supplier", "s",
                                      "--promised-time", "2020-01-01"]),
        ("a server twice", 5, ["order", "server", "a01-01", "--model", story.MODEL, "--supplier", "s",
                               "--promised-time", "+1d"]),
        ("a contract of an unknown customer", 3,
         ["sign", "contract", "nobody/c", "--sites", "paris", "--max-servers-per-site", "1", "--start-time", "+1d",
          "--end-time", "+2d", "--data-classes", "PUBLIC"]),
        ("a begin in the past", 4, ["reserve", "--start-time", "2020-01-01", "--end-time", "+1d"]),
        ("an unknown contract", 3, ["reserve", "--contract", "hsbc/none"]),
        ("a site outside of the contract", (3, 4), ["reserve", "--at", "atlantis"]),
        ("more than the contract grants", (4, 5, 6), ["reserve", "--count", "9"]),
        ("an unknown rule", 3, ["repeal", "rule", "none", "--reason", "r"]),
        ("an unknown artefact", 3, ["deploy", "none", "r-0000000000"]),
        ("an unknown reservation", 3, ["cancel", "reservation", "r-0000000000", "--reason", "r"]),
    ]

    def words(self, command):
        """A reserve command has all its flags but for those that are wrong."""
        if command[0] != "reserve":
            return command
        given = {word.partition("=")[0] for word in command}
        return command + [word for flag, value in self.RESERVE.items() if flag not in given for word in (flag, value)]

    def ends(self):
        return {stream: head[0] for stream, head in self.shell.heads("paris").items()}

    def test_malformed_input_is_refused_with_a_reason_and_leaves_nothing(self):
        for what, expected, command, *document in self.MALFORMED:
            with self.subTest(what):
                text = document[0] if document else ""
                stdin = text if isinstance(text, str) else json.dumps(text)
                before = self.ends()
                answer = self.shell(*self.words(command), code=2, stdin=stdin)
                self.assertRegex(answer.err, f"(?s)error: .*{expected}.*\ntry: concordat ")
                self.assertEqual(self.ends(), before, "something was appended")

    def test_what_cannot_be_is_refused_by_one_event_that_says_why(self):
        for what, codes, command in self.REFUSED:
            with self.subTest(what):
                before = sum(self.ends().values())
                answer = self.shell.run(*self.words(command), "-o", "json")
                self.assertIn(answer.code, codes if isinstance(codes, tuple) else (codes,), answer)
                outcome = answer.json
                self.assertRegex(outcome["reason"], "^REASON_[A-Z_]+$")
                self.assertTrue(outcome["detail"])
                self.assertRegex(answer.err, "refused, REASON_.*\ntry: concordat ")
                self.assertEqual(sum(self.ends().values()), before + 1)

    def test_a_dry_run_decides_and_leaves_nothing(self):
        before = self.ends()
        dry = self.shell.json("order", "server", "d01", "--model", story.MODEL, "--supplier", "s", "--promised-time",
                              "+1d", "--validate-only")
        self.assertTrue(dry["validatedOnly"])
        self.shell("order", "server", "a01-01", "--model", story.MODEL, "--supplier", "s", "--promised-time", "+1d",
                   "--validate-only", code=5)
        self.assertEqual(self.ends(), before)

    # They change something at once, and by no command of a service.
    AT_ONCE = [["link", "cut", "borlange"], ["link", "heal", "borlange"], ["clock", "set", "2028-01-01T00:00:00Z"],
               ["clock", "advance", "1h"], ["snapshot"],
               ["home", "allow", "paris.inventory.events", "0", "--reason", "borlange is down"]]

    def test_a_flag_that_a_command_does_not_heed_is_refused_and_nothing_happens(self):
        def found():
            states = self.shell.json("status")["sites"]
            return (self.ends(), {state["site"]: (state["now"], state["links"]) for state in states},
                    [path for site in SITES for path in (self.node.data / site).glob("snapshots/*")])

        before = found()
        self.assertEqual([link.get("cut", False) for _, links in before[1].values() for link in links], [False] * 2)
        for command in self.AT_ONCE:
            for flag in (["--validate-only"], ["--request-id", "r-1"]):
                with self.subTest(" ".join(command + flag)):
                    answer = self.shell(*command, *flag, code=2)
                    self.assertRegex(answer.err, f"(?s)error: .*{flag[0]}.*\ntry: concordat ")
                    self.assertEqual(found(), before)

    def test_a_configuration_with_a_mistake_does_not_start_and_names_it(self):
        good = self.node.config
        for what, expected, config in [
            ("an unknown key", "colour", {**good, "colour": "red"}),
            ("an unknown key of a site", "colour", {**good, "sites": [{"name": "paris", "colour": "red"}]}),
            ("an unknown profile", "profile", {**good, "profile": "staging"}),
            ("an unknown log", "log is", {**good, "log": "paper"}),
            ("no data_dir", "data_dir", {**good, "data_dir": ""}),
            ("no sites", "sites", {**good, "sites": []}),
            ("a site twice", "paris twice", {**good, "sites": [{"name": "paris"}, {"name": "paris"}]}),
            ("a site's name in capitals", "sites.name", {**good, "sites": [{"name": "Paris"}]}),
            ("a clock to set in production", "manual_clock_start", {**good, "profile": "production"}),
            ("a clock that is none", "manual_clock_start", {**good, "manual_clock_start": "noon"}),
            ("an unknown service", "services", {**good, "services": ["catering"]}),
            ("one service on the embedded log", "services", {**good, "services": ["inventory"]}),
            ("one site on the embedded log", "here", {**good, "here": ["paris"]}),
            ("a site of nobody", "here", {**good, "here": ["atlantis"]}),
            ("Kafka without brokers", "kafka", {**good, "log": "kafka"}),
            ("a replication that is no number", "replication is many, expected a whole number from 1 to 1000",
             {**good, "replication": "many"}),
            ("no replica", "replication is 0, expected a whole number from 1 to 1000", {**good, "replication": 0}),
            ("more replicas in sync than there are", "min_insync_replicas is 2, expected a whole number from 1 to 1",
             {**good, "replication": 1, "min_insync_replicas": 2}),
            ("fewer events than none", "attest_every_events is -1, expected a whole number from 0 to ",
             {**good, "attest_every_events": -1}),
            ("services that are no list", "services is inventory, expected a list of names",
             {**good, "services": "inventory"}),
            ("sites here that are none", "here is an empty list, expected at least one", {**good, "here": []}),
            ("a data_dir that is a list", "data_dir is a list, expected a text", {**good, "data_dir": ["/tmp"]}),
            ("a port beyond all ports", "sites.paris.grpc is 127.0.0.1:99999, expected HOST:PORT",
             {**good, "sites": [{"name": "paris", "grpc": "127.0.0.1:99999"}]}),
            ("a port without a host", "sites.paris.grpc is 28150, expected HOST:PORT",
             {**good, "sites": [{"name": "paris", "grpc": "28150"}]}),
        ]:
            with self.subTest(what):
                node = self.cluster.node("bad", good)
                node.config = config
                node.launch()
                self.assertEqual(node.ends(), 2)
                self.assertRegex(node.said(), f"concordatd: configuration: .*{expected}")

    def test_a_configuration_with_a_key_twice_does_not_start_and_names_it(self):
        path = self.cluster.folder / "twice.yaml"
        path.write_text(json.dumps(self.node.config).replace("{", '{"log": "embedded", ', 1))
        done = subprocess.run([binary("CONCORDATD"), "--config", str(path)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("concordatd: configuration: log is there twice, expected it once", done.stderr)


if __name__ == "__main__":
    unittest.main()
