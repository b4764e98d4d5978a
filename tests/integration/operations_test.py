"""What docs/operations says of capacity and maintenance, typed word by word at two sites of one process."""
import json
import re
import shlex
import textwrap
import unittest

import story
from cluster import REPOSITORY, Cluster, Shell, eventually

SITES = ("paris", "borlange")
POD = "vera-rubin-pod"  # 32 racks that are given out together
TITLES = "name,model,supplier,promised_time,serial,room,rack,position,nvlink_domain,power_feed"


def short(name):
    return name.rpartition("/")[2]


class Page:
    """The commands of a page, as they stand in its indented blocks."""

    def __init__(self, name):
        self.text = (REPOSITORY / "docs" / "operations" / f"{name}.md").read_text()
        whole = re.sub(r"\s*\\\n\s*", " ", self.text)
        self.commands = [shlex.split(line)[1:] for line in re.findall(r"^ {4,}(concordat .*)$", whole, re.M)]

    def command(self, begin):
        """The words of the only command that is so, or of the only one that begins so."""
        exact = [words for words in self.commands if words == shlex.split(begin)]
        found = exact or [words for words in self.commands if words[:len(shlex.split(begin))] == shlex.split(begin)]
        if len(found) != 1:
            raise AssertionError(f"expected one command that begins with {begin!r}, found {found}")
        return found[0]

    def block(self, begin):
        """The lines of a block that is no command, from the one that begins so to the next empty one."""
        return re.search(rf"^ +{begin}.*?(?=\n\n)", self.text, re.M | re.S).group()


class Operations(unittest.TestCase):
    """A process with two sites for the tests of a class, and the page that they type."""
    PAGE = ""

    @classmethod
    def setUpClass(cls):
        cls.page = Page(cls.PAGE)
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.close)
        config, addresses = story.embedded(cls.cluster)
        cls.cluster.node("node", config).start()
        cls.shell = Shell(cls.cluster, {site: {"address": address} for site, address in addresses.items()})
        for site in SITES:
            story.open_site(cls.shell, site)
        story.sign_contract(cls.shell)

    @classmethod
    def type(cls, begin, name="NAME", instead=None):
        """Types the page's command that begins so, with other words for those that stand for something."""
        other = {"NAME": name, **(instead or {})}
        return cls.shell(*[other.get(word, word) for word in cls.page.command(begin)])

    def reserve(self, start, end, *options, count=1, contract=story.CONTRACT, model=story.MODEL, code=0):
        """Asks Paris for servers: the reservation, once it is decided; or the answer that refuses it."""
        words = ["--contract", contract, "--model", model, "--count", count, "--start-time", start, "--end-time", end,
                 "--purpose", "inference", "--data-classes", "PUBLIC", "--project", "risk", *options]
        answer = self.shell("reserve", *words, *(() if code else ("--wait",)), "-o", "json", code=code)
        return answer if code else answer.json["subject"]

    def exactly(self, *servers):
        return "--placement", "exact", "--servers", ",".join(servers)

    def servers(self, reservation, site="paris"):
        """The short names of the servers that a reservation has."""
        found = self.shell.get("reservation", reservation, site=site)
        return [short(name) for name in found.get("servers", [])]

    def state(self, kind, name, expected, site="paris"):
        return self.shell.wait_state(kind, name, f"{kind.upper()}_STATE_{expected}", site)


class Maintenance(Operations):
    """In the order of their names: each test goes on where the clock stands."""
    PAGE = "maintenance"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for number in range(1, 6):
            story.commission(cls.shell, "paris", f"a01-0{number}", number)
        story.wait_bookable(cls.shell, "paris", 5)
        cls.shell("register", "artefact", "open-70b", "--digest", "ab" * 32, "--licence", "Apache-2.0", "--trained-in",
                  "FR", "--provenance", "published by the lab")

    def window(self, name="w-2027-07"):
        return self.shell.get("window", name)

    def is_untested(self, server):
        return self.shell.get("server_record", server)["server"].get("untested", False)

    def deploy(self, reservation):
        """Puts a model on what has just started; the deployment's name."""
        self.state("reservation", reservation, "ACTIVE")
        eventually(lambda: self.shell.run("get", "deployment_reservation", reservation).code == 0,
                   what="deployment knows it")
        deployment = self.shell.json("deploy", "open-70b", reservation, "--wait")["subject"]
        self.state("deployment", deployment, "RUNNING")
        return deployment

    def wait_runs_on(self, reservation, servers):
        """Until what was put on the reservation runs, on these servers and nowhere else."""
        def running():
            return [[short(name) for name in each["servers"]] for each in self.shell.get("deployments")["resources"]
                    if (each["reservation"], each["state"]) == (reservation, "DEPLOYMENT_STATE_RUNNING")]
        eventually(lambda: running() == [servers], what=f"a deployment of {reservation} runs on {servers}")

    def test_a_window_goes_from_its_proposal_to_its_end_with_its_customers_word(self):
        self.shell("clock", "set", "2027-06-01T00:00:00Z")
        used, planned = self.reserve("2027-06-02", "2027-08-01"), self.reserve("2027-07-01", "2027-07-10")
        self.assertEqual((self.servers(used), self.servers(planned)), (["a01-01"], ["a01-02"]))
        self.shell("clock", "set", "2027-06-02T00:00:00Z")
        deployment = self.deploy(used)

        self.propose_and_announce(used, planned)
        self.ask_the_customer(used)
        elsewhere = self.open_at_its_start(used, deployment)
        self.close_and_test_again(used, elsewhere)

    def propose_and_announce(self, used, planned):
        self.type("propose window w-2027-07")
        self.assertEqual(self.window()["state"], "WINDOW_STATE_PROPOSED")
        self.type("announce window w-2027-07")
        eventually(lambda: self.window().get("affectedKnown"), what="whom it affects")
        # What has not started goes elsewhere, what is in use stays; and nobody new comes.
        eventually(lambda: not {"a01-01", "a01-02"} & set(self.servers(planned)), what=f"{planned} has another server")
        eventually(lambda: [each["reservation"] for each in self.window()["affected"]] == [used], what="one is left")
        self.assertEqual(self.servers(used), ["a01-01"])
        refused = self.reserve("2027-07-01T23:00:00Z", "2027-07-02T01:00:00Z", *self.exactly("a01-02"), code=4)
        self.assertEqual(refused.json["reason"], "REASON_NO_CAPACITY")

    def ask_the_customer(self, used):
        described = self.type("describe window").out
        self.assertIn(used, described)
        self.assertRegex(described, r"missing consents: +customers/hsbc")
        self.assertRegex(described, r"consent by: +2027-07-01T22:00:00Z")
        self.assertRegex(described, r"free servers: +sites/paris/servers/a01-0[34]")

        self.type("refuse window")
        self.assertEqual(self.window()["consents"][0]["reason"], "quarter end")
        self.assertEqual(self.shell.json("open", "window", "w-2027-07", code=4)["reason"], "REASON_CONSENT_REFUSED")
        self.type("consent window w-2027-07 --customer hsbc")
        self.assertEqual(self.window()["state"], "WINDOW_STATE_CONSENTED")
        self.type("add work")
        window = self.window()
        self.assertEqual((window["state"], window["missingConsents"]), ("WINDOW_STATE_ANNOUNCED", ["customers/hsbc"]))
        self.type("consent window w-2027-07 --customer hsbc --relocation true")
        self.assertEqual(self.window()["state"], "WINDOW_STATE_CONSENTED")
        kept = eventually(lambda: [each for each in self.window()["affected"] if each.get("moves")],
                          what="servers are kept for whom it affects")
        self.assertEqual(kept[0]["reservation"], used)
        self.assertEqual(self.servers(used), ["a01-01"], "nothing is moved before nothing runs on it")

    def open_at_its_start(self, used, deployment):
        """The window opens by itself; where what it affects was moved to."""
        self.shell("clock", "set", "2027-07-01T22:00:00Z")
        self.state("window", "w-2027-07", "OPEN")
        eventually(lambda: self.window().get("drained"), what="nothing runs on its servers")
        eventually(lambda: self.servers(used) != ["a01-01"], what=f"{used} was moved")
        elsewhere = self.servers(used)
        self.assertFalse({"a01-01", "a01-02"} & set(elsewhere))
        self.state("deployment", deployment, "REMOVED")
        self.wait_runs_on(used, elsewhere)
        return elsewhere

    def close_and_test_again(self, used, elsewhere):
        self.type("close window")
        window = self.window()
        self.assertEqual((window["state"], window["done"]), ("WINDOW_STATE_CLOSED", [1, 2, 3]))
        self.wait_runs_on(used, elsewhere)
        self.assertEqual(self.servers(used), elsewhere)
        later = ("2027-09-01", "2027-09-02", *self.exactly("a01-01"))
        eventually(lambda: self.is_untested("a01-01"), what="it has to be tested")
        self.assertEqual(self.reserve(*later, code=4).json["reason"], "REASON_NO_CAPACITY")
        self.type("test server")
        eventually(lambda: not self.is_untested("a01-01"), what="it was tested")
        self.assertEqual(self.servers(self.reserve(*later)), ["a01-01"])

    def test_a_window_without_consent_is_cancelled_and_says_whose_word_was_missing(self):
        used = self.reserve("+1h", "+60d", *self.exactly("a01-05"))
        self.shell("clock", "advance", "1h")
        self.state("reservation", used, "ACTIVE")
        self.shell("propose", "window", "w-alone", "--servers", "a01-05", "--start-time", "+20d", "--end-time", "+21d",
                   "--window-class", "planned", "--notice-days", "14", "--overrun", "finish", "--work", "new pumps")
        self.shell("announce", "window", "w-alone")
        eventually(lambda: self.window("w-alone").get("affectedKnown"), what="whom it affects")
        self.shell("clock", "advance", "20d")
        self.assertIn("customers/hsbc", self.state("window", "w-alone", "CANCELLED")["detail"])
        self.assertEqual(self.servers(used), ["a01-05"])

    def test_an_emergency_opens_without_consent_and_is_broken_off_after_its_end(self):
        used = self.reserve("+1h", "+20d", *self.exactly("a01-01"))
        self.shell("clock", "advance", "1h")
        deployment = self.deploy(used)
        self.type("propose window w-leak")
        self.type("announce window w-leak")
        self.shell("clock", "advance", "2m")
        self.state("window", "w-leak", "OPEN")
        eventually(lambda: self.window("w-leak").get("drained"), what="nothing runs on its servers")
        self.assertEqual(self.window("w-leak")["plan"]["basis"], "coolant leak in rack 01")
        self.state("deployment", deployment, "REMOVED")
        self.shell("clock", "advance", "5h")
        self.state("window", "w-leak", "OVERRUNNING")
        self.assertRegex(self.type("get windows").out, r"w-leak +overrunning +emergency")
        self.type("abort window", instead={"w-2027-07": "w-leak"})
        window = self.window("w-leak")
        self.assertEqual((window["state"], window["detail"], window["done"]),
                         ("WINDOW_STATE_ABORTED", "the part does not fit", [1]))
        self.wait_runs_on(used, ["a01-01"])


class Capacity(Operations):
    PAGE = "capacity"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        shell = cls.shell
        cls.type("set envelope paris --effective-from 2027-04-01")
        cls.type("define feed a")
        cls.type("define feed", instead={"a": "b"})
        cls.type("set feed a --effective-from 2027-06-01")
        shell("register", "model", POD, "--vendor", "nvidia", "--accelerators", "4608", "--it-power-watts", "6MW",
              "--cooling-watts", "6MW", "--criteria", "gpu_gemm_tflops=2400..:tflops")
        shell("register", "customer", "sap", "--display-name", "SAP", "--country", "DE", "--sector", "INDUSTRY")
        shell("sign", "contract", "sap/frame", "--sites", "paris", "--max-servers-per-site", "4", "--start-time",
              "2027-01-01", "--end-time", "2030-01-01", "--data-classes", "PUBLIC")
        # Two racks of two servers, and five pods of which one is spare.
        rows = [f"a0{rack}-0{place},{story.MODEL},nvidia,2027-02-01,S-a0{rack}-0{place},a,0{rack},{place},a0{rack},a"
                for rack in (1, 2) for place in (1, 2)]
        rows += [f"p0{pod},{POD},nvidia,2027-02-01,S-p0{pod},p,p0{pod},1,p0{pod},{'a' if pod < 3 else 'b'}"
                 for pod in range(1, 6)]
        cls.type("import servers fleet.csv", instead={"fleet.csv": cls.fleet(rows)})
        names = [row.partition(",")[0] for row in rows]
        passed = [{"name": "gpu_gemm_tflops", "value": 2510, "unit": "tflops"},
                  {"name": "ecc_errors", "value": 0, "unit": "count"}]
        for verb, documents in (("test", [{"name": name, "figures": passed} for name in names]),
                                ("commission", [{"name": name} for name in names])):
            shell(verb, "server", "-f", "-", stdin="\n---\n".join(map(json.dumps, documents)))
        story.commission(shell, "borlange", "a01-01", 1)
        story.wait_bookable(shell, "paris", len(rows))
        story.wait_bookable(shell, "borlange", 1)
        story.wait_contract(shell, "borlange")

    @classmethod
    def fleet(cls, rows, name="fleet"):
        path = cls.cluster.folder / f"{name}.csv"
        path.write_text("\n".join([TITLES, *rows]) + "\n")
        return str(path)

    def test_a_file_of_servers_is_tried_mended_and_sent_as_often_as_one_likes(self):
        good = f"c01-01,{story.MODEL},nvidia,2027-02-01,S-c01-01,c,01,1,c01,a"
        bad = good.replace(story.MODEL, "unheard-of").replace("c01-01", "c01-02")
        fleet = {"fleet.csv": self.fleet([good, bad], "new")}
        words = self.page.command("import servers fleet.csv --dry-run")
        tried = self.shell.run(*[fleet.get(word, word) for word in words])
        self.assertNotEqual(tried.code, 0)
        self.assertIn("line 3", tried.out + tried.err)
        self.assertIn("unheard-of", tried.out + tried.err)
        fleet = {"fleet.csv": self.fleet([good], "new")}
        self.type("import servers fleet.csv --dry-run", instead=fleet)
        self.assertEqual(self.shell.run("get", "server", "c01-01").code, 3, "a file was only tried")
        self.type("import servers fleet.csv", instead=fleet)
        installed = self.shell.get("server", "c01-01")
        self.assertEqual(installed["state"], "SERVER_STATE_INSTALLED")
        ends = self.shell.heads("paris")["paris.inventory.events"]
        self.type("import servers fleet.csv", instead=fleet)
        self.assertEqual(self.shell.heads("paris")["paris.inventory.events"], ends)

    def test_months_and_stages_say_what_came_of_the_plan(self):
        months = self.shell.json(*self.page.command("get months"))["months"]
        # In service a month before they were promised: 4 racks and 5 pods.
        january = next(month for month in months if month["month"] == "2027-01")
        self.assertEqual(january["actual"], {"servers": 9, "itPowerWatts": 4 * 190_000 + 5 * 6_000_000, "racks": 7,
                                             "accelerators": 4 * 144 + 5 * 4608})
        self.assertEqual(int(january["planned"]["servers"]), 0)
        self.type("get months")
        self.type("set stage-limit")
        story.order_server(self.shell, "paris", "z01")
        self.shell("deliver", "server", "z01", "--serial", "S-z01")
        self.assertRegex(self.type("get stages").out, r"delivered +1 +14\.0 d +0 ")

    def test_a_derating_leaves_a_shortfall_and_says_what_could_be_done(self):
        pods = [self.reserve("+1h", "+20d", count=count, model=POD) for count in (1, 1, 2)]
        self.assertEqual([self.servers(each) for each in pods], [["p01"], ["p02"], ["p03", "p04"]])
        self.type("set envelope paris --effective-from now")
        found = self.shortfall(feed="")
        self.assertEqual((found["missingCoolingWatts"], found["cause"]), ("4000000", "equipment: chiller 2 failed"))
        self.assertCountEqual([each["reservation"] for each in found["reservations"]], pods)
        self.assertTrue(all(each["revocable"] for each in found["reservations"]))
        self.assertIn("chiller 2 failed", self.type("describe shortfall", name=found["name"]).out)

        self.type("set feed a --effective-from +7d")
        found = self.shortfall(feed="a")
        self.assertEqual((found["missingItPowerWatts"], found["cause"]), ("2000000", "planned work: busbar 3"))
        options = {each["reservation"]: each for each in found["reservations"]}
        self.assertCountEqual(options, pods[:2])
        self.assertEqual(options[pods[0]]["moveTo"], ["sites/paris/servers/p05"])
        self.assertEqual(options[pods[0]]["shortenTo"], found["startTime"])
        self.assertRegex(self.type("get shortfalls").out, r" a +2027-")

        # One of them is what its customer agrees to.
        self.shell("amend", "reservation", pods[0], "--end-time", options[pods[0]]["shortenTo"])
        self.wait_cleared(feed="a")
        self.shell("clock", "advance", "6h")
        self.wait_cleared(feed="")
        self.assertEqual(self.shell.get("reservation", pods[0])["terms"]["endTime"], options[pods[0]]["shortenTo"])

    def shortfall(self, feed):
        def known():
            return [each["found"] for each in self.shell.get("shortfalls").get("resources", [])
                    if each["found"].get("feed", "") == feed]
        return eventually(known, what=f"a shortfall of {feed or 'the site'}")[0]

    def wait_cleared(self, feed):
        eventually(lambda: feed not in [each["found"].get("feed", "")
                                        for each in self.shell.get("shortfalls").get("resources", [])],
                   what=f"no shortfall of {feed or 'the site'}")

    def test_waves_open_a_share_to_the_first_customer_and_later_all_to_all(self):
        self.type("plan wave 2027-first")
        self.type("plan wave 2027-general")
        listed = self.type("get waves").out
        self.assertRegex(listed, r"2027-first +vera-rubin-nvl144 +hsbc +2027-05-01T00:00:00Z +50")
        self.assertIn("2027-general", listed)
        early, later = ("2027-05-02", "2027-05-03"), ("2027-06-01", "2027-06-02")
        refused = self.reserve(*early, contract="sap/frame", code=4)
        self.assertEqual(refused.json["reason"], "REASON_WAVE")
        self.assertIn("2027-06-01T00:00:00Z", refused.json["detail"])
        self.assertEqual(self.reserve(*early, count=3, code=4).json["reason"], "REASON_WAVE")
        self.assertEqual(self.servers(self.reserve(*early, count=2)), ["a01-01", "a01-02"])
        self.assertEqual(len(self.servers(self.reserve(*later, count=4, contract="sap/frame"))), 4)

    def test_access_hours_and_what_recurs_follow_the_clock_of_their_zone(self):
        self.type("sign contract")
        series = self.type("reserve --contract hsbc/2027-days").out.split()[0]
        occurrences = self.shell.get("schedule", series)["occurrences"]
        # Nine o'clock in Paris, before and after the end of summer time.
        self.assertEqual([each["startTime"] for each in occurrences],
                         [f"2027-{day}:00:00Z" for day in ("10-25T07", "10-27T07", "11-01T08", "11-03T08")])
        self.assertIn("2027-11-01T08:00:00Z", self.type("describe schedule", name=series).out)
        refused = self.reserve("2027-10-25T20:00:00Z", "2027-10-25T22:00:00Z", contract="hsbc/2027-days", code=4)
        self.assertEqual(refused.json["reason"], "REASON_ACCESS_HOURS")

    def test_a_reservation_is_amended_and_extended_as_far_as_it_can_be(self):
        held = self.reserve("2027-07-01", "2027-07-05", *self.exactly("a01-01"))
        self.reserve("2027-07-12", "2027-07-15", count=4)

        def terms():
            return self.shell.get("reservation", held)["terms"]

        self.assertIn("AmendmentHeld", self.type("amend reservation", name=held).out)
        eventually(lambda: terms()["count"] == 2, what="two servers")
        self.assertEqual(len(self.servers(held)), 2)
        self.type("extend reservation NAME --end-time 2027-07-10T00:00:00Z", name=held)
        eventually(lambda: terms()["endTime"] == "2027-07-10T00:00:00Z", what="its new end")
        too_long = self.shell.run("extend", "reservation", held, "--end-time", "2027-07-20T00:00:00Z")
        self.assertEqual(too_long.code, 4)
        self.assertIn("2027-07-12T00:00:00Z", too_long.err)
        self.assertEqual(terms()["endTime"], "2027-07-10T00:00:00Z", "what is confirmed stays")
        self.type("extend reservation NAME --end-time 2027-07-20T00:00:00Z --longest-feasible true", name=held)
        eventually(lambda: terms()["endTime"] == "2027-07-12T00:00:00Z", what="the longest end")
        self.assertIn("AmendmentConfirmed", self.type("describe reservation", name=held).out)

    def test_two_customers_are_kept_apart_until_that_ends(self):
        self.type("separate parties")
        self.addCleanup(self.shell.run, "end", "separation", "hsbc-sap", "--reason", "the test is over")
        self.reserve("2027-08-01", "2027-08-10", *self.exactly("a01-01"))
        span = ("2027-08-02", "2027-08-03")
        beside = self.reserve(*span, *self.exactly("a01-02"), contract="sap/frame", code=4)
        self.assertIn("kept apart", beside.json["detail"])
        self.assertRegex(self.servers(self.reserve(*span, contract="sap/frame"))[0], "a02-0[12]")
        self.type("end separation")
        self.assertEqual(self.servers(self.reserve(*span, *self.exactly("a01-02"), contract="sap/frame")), ["a01-02"])

    def bundle_file(self):
        path = self.cluster.folder / "both.yaml"
        path.write_text(textwrap.dedent(self.page.block("parts:")))
        return {"both.yaml": str(path)}

    def test_a_bundle_takes_place_at_both_sites(self):
        bundle = self.type("bundle", instead=self.bundle_file()).out.split()[0]
        for part in self.state("bundle", bundle, "COMMITTED")["parts"]:
            site = short(part["site"])
            self.state("reservation", part["reservation"], "CONFIRMED", site)
            self.shell("cancel", "reservation", part["reservation"], "--site", site, "--reason", "the test is over")

    def cut(self, origin, at):
        self.shell("link", "cut", origin, "--site", at)

    def heal(self, origin, at):
        self.shell("link", "heal", origin, "--site", at)

    def promised_behind_a_cut_link(self):
        """A bundle of Paris, and its part that Borlänge has promised without anybody else knowing it.

        What Borlänge says is held back while it holds its part, and what Paris says while Paris asks for the promise,
        so that the promise is given when nothing goes to Paris any more."""
        self.shell("verify", "--wait", "30s")
        self.addCleanup(self.shell, "link", "heal", "borlange")
        self.cut("borlange", at="paris")
        words = [self.bundle_file().get(word, word) for word in self.page.command("bundle") if word != "--wait"]
        bundle = self.shell.json(*words)["subject"]
        part = self.shell.get("bundle", bundle)["parts"][1]["reservation"]
        # Compliance has cleared it where it says PART_STATE_HELD.
        eventually(lambda: "PART_STATE_HELD" in self.shell.run("get", "reservation", part, "--site", "borlange", "-o",
                                                               "json").out, what=f"{part} waits for the other")
        self.cut("paris", at="borlange")
        self.heal("borlange", at="paris")
        self.state("bundle", bundle, "PREPARED")
        self.cut("borlange", at="paris")
        self.heal("paris", at="borlange")
        eventually(lambda: self.promises(), what=f"{part} is promised")
        return bundle, part

    def promises(self):
        return [each["name"] for each in self.shell.get("promises", site="borlange").get("resources", [])]

    def assert_shown(self, bundle, part):
        self.assertRegex(self.type("status").out,
                         rf"(?m)^{part} is promised since 2027-\S+ and waits for paris to decide on {bundle}$")
        self.assertRegex(self.type("get promises").out, rf"{short(part)} +\S*{short(bundle)} +2027-")

    def test_a_promise_outlives_its_bundle_and_ends_by_what_its_coordinator_decided(self):
        bundle, part = self.promised_behind_a_cut_link()
        self.assert_shown(bundle, part)
        self.cut("paris", at="borlange")
        self.shell("clock", "advance", "2h")
        self.state("bundle", bundle, "ABORTED")
        self.assert_shown(bundle, part)
        self.shell("link", "heal", "borlange")
        self.assertIn("does not take place", self.state("reservation", part, "DECLINED", "borlange")["detail"])
        self.assertEqual(self.promises(), [])
        self.assertNotIn("is promised since", self.type("status").out)

    def test_a_promise_that_waits_is_broken_by_an_operator_and_both_sites_know_it(self):
        bundle, part = self.promised_behind_a_cut_link()
        # Paris hears of the promise and commits, which Borlänge does not hear.
        self.cut("paris", at="borlange")
        self.heal("borlange", at="paris")
        decided = self.state("bundle", bundle, "COMMITTED")
        self.shell("clock", "advance", "20m")  # longer than a hold
        self.assert_shown(bundle, part)
        self.assertIn("PromiseBroken", self.type("break promise", name=part).out)
        self.assertEqual(self.promises(), [])
        history = self.shell("history", part, "--site", "borlange", "-o", "text").out
        self.assertIn('reason: "paris is lost"', history)
        self.shell("link", "heal", "borlange")
        eventually(lambda: [each["state"] for each in self.shell.get("bundle", bundle)["parts"]] ==
                   ["PART_STATE_CONFIRMED", "PART_STATE_BROKEN"], what="Paris knows it")
        # Its own part goes on; it is for people to say what becomes of it.
        own = decided["parts"][0]["reservation"]
        self.state("reservation", own, "CONFIRMED")
        self.shell("cancel", "reservation", own, "--reason", "the other half was broken")
        self.assertIn("heads equal, digests equal", self.shell("verify", "--wait", "30s").out)


class Facility(Operations):
    PAGE = "capacity"

    def levels(self):
        site = self.shell.get("site", "paris")
        return [int(step["coolingWatts"]) for step in site["envelope"]]

    def test_the_envelope_follows_what_is_reported_and_comes_back(self):
        self.assertEqual(self.levels(), [40_000_000])
        self.type("report facility paris")
        eventually(lambda: self.levels() == [30_000_000, 40_000_000], what="the envelope follows")
        step = self.shell.get("site", "paris")["envelope"][0]
        self.assertEqual((step["cause"], step["detail"], step["plan"]["coolingWatts"]),
                         ("ENVELOPE_CAUSE_EQUIPMENT", "chiller 2 failed", "40000000"))
        # Reservations keep to it, and say from when to when.
        eventually(lambda: len(self.shell.get("site_record", "paris")["envelope"]) == 2, what="reservations know it")

    def test_readings_are_the_report_of_the_years_energy(self):
        self.type("record reading 2026-12")
        again = self.shell(*self.page.command("record reading 2026-12"), code=5)
        self.assertIn("REASON_ALREADY_EXISTS", again.err)
        months, year = self.shell.json(*self.page.command("get energy"))["energy"]
        self.assertEqual((months["period"], year["period"]), ("2026-12", "2026"))
        self.assertAlmostEqual(months["pue"], 12.1 / 10.4)
        self.assertAlmostEqual(months["covered"], 1)


class Pages(unittest.TestCase):
    def test_every_command_of_the_pages_is_typed_here(self):
        source = (REPOSITORY / "tests" / "integration" / "operations_test.py").read_text()
        begins = re.findall(r'\b(?:type|command)\(\s*"([^"]+)"', source)
        for name in (Maintenance.PAGE, Capacity.PAGE):
            page = Page(name)
            self.assertGreater(len(page.commands), 10)
            typed = []
            for begin in begins:
                try:
                    typed.append(page.command(begin))
                except AssertionError:
                    pass  # the other page's
            self.assertEqual([shlex.join(words) for words in page.commands if words not in typed], [], f"in {name}.md")


if __name__ == "__main__":
    unittest.main()
