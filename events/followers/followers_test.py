#!/usr/bin/env python3
"""The followers against the test vectors, against each other, and the vectors against mistakes.

    python3 events/followers/followers_test.py
"""
import base64
import collections
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import types
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TESTDATA = HERE.parent / "testdata"
VECTORS = TESTDATA / "vectors.json"
FOLLOW = HERE / "python" / "follow.py"
sys.dont_write_bytecode = True
sys.path.insert(0, str(TESTDATA))
import make_vectors  # noqa: E402
from make_vectors import Record  # noqa: E402


def java():
    jar = subprocess.run([HERE / "java" / "build.sh"], check=True, stdout=subprocess.PIPE, text=True)
    return ["java", "-XX:TieredStopAtLevel=1", "-jar", jar.stdout.strip()]


def followers():
    return {"python": [sys.executable, str(FOLLOW)], "java": java()}


def random_log(seed):
    """A log by a few confused writers, delivered by a worse mirror."""
    rng = random.Random(seed)
    links = []          # every well-formed record made so far, in whatever order it reached the log
    log = []
    writers = {name: None for name in "abc"[:rng.randint(1, 3)]}

    def pick():
        return rng.choice(links[-6:]) if links else None

    def grow(writer):
        parent = writers[writer]
        step = 1 if rng.random() < 0.95 else rng.choice([0, 2, 3])
        more = rng.choice([[], [], [("ce_actor", None)], [("ce_foo", "é")], [("foo", "x"), ("foo", "y")], [("x\ufffd", "")]])
        record = Record(parent, max(0, (parent.sequence if parent else -1) + step), writer,
                        rng.choice([b"", None, bytes([rng.randrange(256)])]), more=more)
        writers[writer] = record
        links.append(record)
        return record

    def spoil(record):
        other = pick() or record
        return rng.choice([
            lambda: record.but(data=b"spoilt"),
            lambda: record.but(ce_id=other.link),
            lambda: record.but(ce_id=record.link.upper()),
            lambda: record.but(ce_parent=other.link),
            lambda: record.but(ce_source="/sites/lyon/reservations"),
            lambda: record.but(drop=rng.choice(record.headers)[0]),
            lambda: record.but(twice=rng.choice(record.headers)[0]),
            lambda: Record(other, rng.randrange(12), more=[("ce_" + rng.choice(["X", "", "é", "a\0b"]), "x")]),
            lambda: Record(other, rng.randrange(12), change={"ce_sequence": rng.choice(["01", "+1", "", "1 "])}),
        ])()

    for _ in range(rng.randint(1, 40)):
        writer = rng.choice(sorted(writers))
        dice = rng.random()
        if dice < 0.6:
            log.append(grow(writer))
        elif dice < 0.7:
            writers[writer] = pick()
        elif dice < 0.78 and log:
            start = rng.randrange(len(log))
            log += log[start:start + rng.randint(1, 5)]
        elif dice < 0.86 and len(log) > 1:
            at = rng.randrange(len(log) - 1)
            log[at], log[at + 1] = log[at + 1], log[at]
        elif dice < 0.92 and log:
            del log[rng.randrange(len(log))]
        elif dice < 0.96 and links:
            log.append(spoil(pick()))
            if rng.random() < 0.5:
                log.append(rng.choice(links))
        else:
            log.append(Record(pick(), rng.randrange(12), "e"))
    case = {"name": "seed %d" % seed, "stream": make_vectors.STREAM, "source": make_vectors.SOURCE,
            "mirrored": rng.random() < 0.5, "records": [record.json() for record in log]}
    if rng.random() < 0.1:
        case["limit"] = rng.randint(1, 4)
    return case


class VectorsTest(unittest.TestCase):
    def test_the_generator_writes_the_same_bytes_again(self):
        subprocess.run([sys.executable, TESTDATA / "make_vectors.py", "--check"], check=True)

    def test_every_follower_passes_the_vectors(self):
        for name, command in followers().items():
            with self.subTest(name):
                run = subprocess.run(command + ["--vectors", str(VECTORS)], stdout=subprocess.PIPE, text=True)
                self.assertEqual((run.returncode, json.loads(run.stdout.splitlines()[-1])["failures"]),
                                 (0, 0), run.stdout)

    def test_a_wrong_expectation_fails_in_every_follower(self):
        vectors = json.loads(VECTORS.read_text())
        vectors["logs"][1]["expect"][3] = "void:stale"
        vectors["links"][0]["link"] = "0" * 64
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(vectors, file)
            file.flush()
            for name, command in followers().items():
                with self.subTest(name):
                    run = subprocess.run(command + ["--vectors", file.name], stdout=subprocess.PIPE, text=True)
                    self.assertEqual(run.returncode, 1)
                    self.assertEqual(json.loads(run.stdout.splitlines()[-1])["failures"], 2)

    def test_bad_input_is_an_error_and_not_a_verdict(self):
        cases = [["--vectors", "no-such-file"], ["--vectors", str(FOLLOW)], ["--topic", "a.b.events"],
                 ["--frobnicate"], ["--bootstrap", "localhost:1", "--topic", "nonsense"]]
        for name, command in followers().items():
            for case in cases:
                with self.subTest(name, case=case):
                    run = subprocess.run(command + case, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                    self.assertEqual(run.returncode, 1)
                    self.assertTrue(run.stderr.strip())
                    self.assertNotIn("Traceback", run.stderr)
                    self.assertNotIn("Exception in", run.stderr)


    def test_the_example_in_the_documentation_is_a_vector(self):
        page = (HERE.parent.parent / "docs" / "subscribing.md").read_text()
        vector = json.loads(VECTORS.read_text())["links"][0]
        hashed = b""
        for line in page.split("```link-example\n")[1].split("```")[0].splitlines():
            for number, word in enumerate(line.split(" ")):
                hashed += word.encode() if number % 2 else bytes.fromhex(word)
        self.assertEqual(base64.b64encode(hashed).decode(), vector["canonical_base64"])
        self.assertIn("`%s`" % vector["link"], page)
        self.assertIn("These %d bytes" % len(hashed), page)


class AgreementTest(unittest.TestCase):
    def test_the_followers_agree_on_random_logs(self):
        logs = [random_log(seed) for seed in range(500)]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"format": 1, "logs": logs}, file)
            file.flush()
            lines = {name: subprocess.run(command + ["--vectors", file.name, "--all"], check=True,
                                          stdout=subprocess.PIPE, text=True).stdout.splitlines()
                     for name, command in followers().items()}
        self.assertEqual(len(lines["python"]), len(logs) + 1)
        for seed, (one, two) in enumerate(zip(lines["python"], lines["java"])):
            self.assertEqual(one, two, "seed %d" % seed)
        self.assertEqual(len(lines["python"]), len(lines["java"]))
        # The logs are worth something only when everything that can happen does happen in them.
        seen = collections.Counter()
        for line in map(json.loads, lines["python"][:-1]):
            seen.update(line["expect"])
            seen[line["state"]] += 1
        for outcome in ("accepted", "void:stale", "void:repeated", "void:stranger", "void:corrupt",
                        "damaged", "ok", "suspect"):
            self.assertGreater(seen[outcome], 20, seen)


class MutationTest(unittest.TestCase):
    """Each mistake a reader's author could make must fail some vector."""

    MISTAKES = {
        "first occurrence forgotten": ('if link in self.ahead:', 'if False:'),
        "sequence not checked": (' and sequence == self.head["sequence"] + 1:', ':'),
        "parent not checked": ('if parent == self.head["link"] and sequence ==', 'if sequence =='),
        "stale not told apart": ('if sequence <= self.head["sequence"]:', 'if False:'),
        "stale at equal sequence": ('if sequence <= self.head', 'if sequence < self.head'),
        "link not recomputed": (' or fields["ce_id"] != link.encode():', ':'),
        "damage ignored": ('if parent in self.corrupt:', 'if False:'),
        "damage asked before stale": (
            '        if sequence <= self.head["sequence"]:\n',
            '        if parent in self.corrupt:\n            self.damaged = True\n            return "damaged"\n'
            '        if sequence <= self.head["sequence"]:\n'),
        "corrupt off the head remembered": (
            '            if parent == self.head["link"]:\n                # The damage',
            '            if True:\n                # The damage'),
        "corrupt kept after an acceptance": ('self.corrupt.clear()', 'pass'),
        "head can be corrupt": ('self.corrupt.discard(self.head["link"])', 'pass'),
        "only the claimed link is corrupt": ('([link.encode()] if has_link else [])', '[]'),
        "only the recomputed link is corrupt": ('[fields.get("ce_id", b"")] + (', '('),
        "a link for a doubled header": ('[link.encode()] if has_link else []', '[link.encode()]'),
        "strangers forgotten": ('        self.ahead[link] = sequence\n        return "void:stranger"',
                                '        return "void:stranger"'),
        "rivals forgotten": ('if at >= sequence}', 'if at > sequence}'),
        "stale rivals forgotten": ('                self.ahead[link] = sequence\n', '                pass\n'),
        "passed strangers kept": ('if at >= sequence}', 'if True}'),
        "suspicion ends with any acceptance": ('if sequence >= self.suspect:', 'if True:'),
        "suspicion never ends": ('if sequence >= self.suspect:', 'if False:'),
        "suspicion on every log": ('if self.mirrored and parent', 'if parent'),
        "suspicion never": ('if self.mirrored and parent', 'if False and parent'),
        "suspicion of known strangers": (' and parent not in self.ahead:', ':'),
        "suspicion of children of the head": (' and parent != self.head["link"] and parent not in', ' and parent not in'),
        "no limit": ('len(self.corrupt) > self.limit', 'len(self.corrupt) > 10 ** 9'),
        "limit one early": ('len(self.corrupt) > self.limit', 'len(self.corrupt) >= self.limit'),
        "source not checked": ('and fields["ce_source"] == self.source)', ')'),
        "sequence parsed loosely": ('rb"0|[1-9][0-9]{0,18}"', 'rb"[0-9]{1,19}"'),
        "sequence unbounded": ('                and int(fields["ce_sequence"]) < 2 ** 63\n', ''),
        "upper-case hex allowed": ('rb"[0-9a-f]{64}"', 'rb"[0-9a-fA-F]{64}"'),
        "matching up to a line end": ('HEX64.fullmatch(fields["ce_parent"])', 're.match(rb"[0-9a-f]{64}$", fields["ce_parent"])'),
        "doubled header allowed": ('not any(covered(name) for name in twice)', 'True'),
        "doubled other header refused": ('not any(covered(name) for name in twice)', 'not twice'),
        "unreadable names allowed": ('if any(UNREADABLE in name for name, _ in headers):\n            return "void',
                                     'if False:\n            return "void'),
        "odd names allowed": ('COVERED_NAME.fullmatch(name) for name in names', 'True for name in names'),
        "missing header allowed": ('all(name in fields for name in REQUIRED)', 'True'),
        "ce_id covered": (' and name != "ce_id")', ')'),
        "content-type not covered": ('return name == "content-type" or (', 'return ('),
        "unknown extensions not covered": ('name.startswith("ce_") and name !=', 'name in REQUIRED and name !='),
        "headers unsorted": ('pairs = sorted((', 'pairs = list(('),
        "values without lengths": ('b"".join(struct.pack(">I", len(part)) + part for part in parts)', 'b"".join(parts)'),
        "data without its length": ('for part in parts)\n', 'for part in parts[:-1]) + parts[-1]\n'),
        "lengths in characters": ('(name.encode(), value or b"")', '(name.encode(), (value or b"").decode().encode("ascii", "ignore"))'),
    }

    def test_the_vectors_catch_every_mistake(self):
        source = FOLLOW.read_text()
        vectors = json.loads(VECTORS.read_text())
        for name, (right, wrong) in self.MISTAKES.items():
            with self.subTest(name):
                self.assertEqual(source.count(right), 1, "The mistake no longer fits follow.py: " + right)
                self.assertTrue(self.caught(source.replace(right, wrong), vectors), "No vector catches it.")
        self.assertFalse(self.caught(source, vectors))

    @staticmethod
    def caught(source, vectors):
        follow = types.ModuleType("mutant")
        exec(compile(source, "mutant", "exec"), follow.__dict__)
        follow.print_json = lambda value: None
        try:
            passed = [follow.link_case(case, False) for case in vectors["links"]]
            passed += [follow.log_case(case, False) for part in ("logs", "settled") for case in vectors[part]]
        except (KeyError, AttributeError, ValueError):
            return True
        return not all(passed)


if __name__ == "__main__":
    unittest.main()
