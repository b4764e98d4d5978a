#!/usr/bin/env python3
"""The linearizability checker: its own tests in Go, and the program as torture.py runs it."""
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from torture import HERE, porcupine  # noqa: E402

LEGAL = [{"model": "create", "object": "a", "call": 0, "return": 1, "outcome": "ok"},
         {"model": "create", "object": "a", "call": 2, "return": 3, "outcome": "refused",
          "reason": "REASON_ALREADY_EXISTS"}]
FORGED = {"model": "create", "object": "a", "call": 4, "return": 5, "outcome": "ok"}


class Porcupine(unittest.TestCase):
    def test_its_own_tests_pass(self):
        done = subprocess.run(["go", "test", "./..."], cwd=HERE / "porcupine", stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env={**os.environ, "GOTOOLCHAIN": "local"})
        self.assertEqual(done.returncode, 0, done.stdout)

    def check(self, operations):
        done = subprocess.run([str(porcupine())], input="".join(json.dumps(each) + "\n" for each in operations),
                              stdout=subprocess.PIPE, text=True)
        return done.returncode, json.loads(done.stdout)

    def test_a_history_is_accepted_and_a_forged_one_is_not(self):
        self.assertEqual(self.check(LEGAL), (0, {"objects": 1, "operations": 2, "illegal": [], "undecided": []}))
        self.assertEqual(self.check([*LEGAL, FORGED]),
                         (1, {"objects": 1, "operations": 3, "illegal": ["create a"], "undecided": []}))


if __name__ == "__main__":
    unittest.main()
