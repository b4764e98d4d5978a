"""The README's first command tells its whole story and ends as it promises."""

import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Demo(unittest.TestCase):
    def test_the_demo_ends_with_equal_heads_and_digests(self):
        run = subprocess.run(
            [sys.executable, os.path.join(ROOT, "deploy/demo/demo.py"), "--concordatd", os.environ["CONCORDATD"],
             "--concordat", os.environ["CONCORDAT"]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=570)
        self.assertEqual(run.returncode, 0, run.stdout[-4000:])
        self.assertRegex(run.stdout.rstrip().splitlines()[-1],
                         re.compile(r"^demo: [1-9][0-9]* events at 2 sites, heads equal, digests equal$"))


if __name__ == "__main__":
    unittest.main()
