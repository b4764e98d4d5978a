#!/usr/bin/env python3
"""Checks the models of the writer protocol with spin, and that each broken variant is rejected.

    tests/model/model_test.py                                 all, as a test
    tests/model/model_test.py run writer.pml -DTIMEOUTS=1     one, with the counter-example if there is one
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
MEGABYTES = 2000   # of a search
DEPTH = 20000
SECONDS = 900      # for one command, on a busy machine


class Search:
    """One exhaustive search of a model: what the verifier printed, read."""

    def __init__(self, model, defines, folder):
        self.name = ' '.join([model, *defines])
        self.folder = folder
        # A trail is written beside the model, so the model is copied to where it may be.
        for part in glob.glob(os.path.join(HERE, '*.pml')):
            shutil.copy(part, folder)
        self.run(['spin', '-a', *defines, model])
        self.run(['gcc', '-O1', '-w', '-DSAFETY', '-DCOLLAPSE', f'-DMEMLIM={MEGABYTES}', '-o', 'pan', 'pan.c'])
        begun = time.monotonic()
        self.output = self.run(['./pan', f'-m{DEPTH}', '-w22'])
        self.seconds = time.monotonic() - begun
        violated = re.search(r'^pan:\d+: (.*) \(at depth', self.output, re.M)
        # The first error that was found; None where there is none.
        self.error = violated.group(1) if violated else None
        states = re.search(r'(\d+) states, stored', self.output)
        self.states = int(states.group(1)) if states else 0
        # How often each invariant was asked.
        self.asked = {name: int(count) for name, count in re.findall(r'^asked (\w+) (\d+)$', self.output, re.M)}

    def run(self, command):
        done = subprocess.run(command, cwd=self.folder, text=True, timeout=SECONDS, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(f'{" ".join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}')
        return done.stdout

    def truncated(self):
        """Why the search did not see all states; empty where it did."""
        for sign in ['max search depth too small', 'out of memory', 'Search not completed', 'memory bound',
                     'resizing hashtable failed']:
            if sign in self.output:
                return sign
        return '' if 'Full statespace search' in self.output else 'it was no full search'

    def trail(self):
        """The counter-example: what the steps printed, in their order."""
        shown = subprocess.run(['./pan', '-r'], cwd=self.folder, text=True, check=False, timeout=SECONDS,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
        steps = shown.split('spin: trail ends')[0]
        return '\n'.join(line for line in steps.splitlines() if not re.match(r'\s*\d+:\s*proc', line))


def search(model, *defines):
    with tempfile.TemporaryDirectory() as folder:
        return Search(model, defines, folder)


# What may go wrong in each search. Numbers are bounds: the models say what of.
SOUND = [
    ('writer.pml', '-DRECORDS=6', '-DCRASHES=1'),
    ('writer.pml', '-DRECORDS=6', '-DTIMEOUTS=1'),
    ('writer.pml', '-DRECORDS=8', '-DUNKNOWNS=1'),
    ('writer.pml', '-DRECORDS=6', '-DRESENDS=1'),
    ('writer.pml', '-DRECORDS=8', '-DLEADERS=1'),
    ('writer.pml', '-DRECORDS=8', '-DSTALE_ENDS=1'),
    ('writer.pml', '-DRECORDS=5', '-DLOG=4', '-DCRASHES=1', '-DTIMEOUTS=1'),
    ('mirror.pml', '-DRECORDS=5', '-DLOG=5', '-DGAPS=1'),
    ('mirror.pml', '-DRECORDS=8', '-DLOG=8', '-DGAPS=2', '-DONE_WRITER'),
    ('home_check.pml', '-DRECORDS=7', '-DLOG=6'),
    ('home_check.pml', '-DRECORDS=6', '-DLOG=5', '-DOVERRIDES=1'),
    ('home_check.pml', '-DRECORDS=6', '-DLOG=4', '-DMIRROR_HOLDS'),
    ('home_check.pml', '-DRECORDS=5', '-DLOG=4', '-DATTESTED_HEADS'),
    ('reactions.pml', '-DCAUSES=2', '-DRECORDS=8', '-DLOG=7'),
    ('reactions.pml', '-DCAUSES=1', '-DREBUILDS=1'),
]
# A variant that is broken on purpose, and the invariant that must show it.
BROKEN = [
    ('AcknowledgedIsAccepted', 'writer.pml', '-DSPECULATIVE_ANSWERS'),
    ('AcknowledgedIsAccepted', 'writer.pml', '-DSTALE_REPORTS', '-DTIMEOUTS=1'),
    ('AcknowledgedIsAccepted', 'writer.pml', '-DTRUST_ANY_REPORT'),
    ('AcknowledgedIsAccepted', 'writer.pml', '-DACKS_1', '-DLEADERS=1'),
    ('WritersAgree', 'writer.pml', '-DREAD_UNREPLICATED', '-DLEADERS=1'),
    ('NothingAppendedIsTrue', 'writer.pml', '-DNO_CLAIM', '-DTIMEOUTS=1'),
    ('OwnNameIsOwn', 'writer.pml', '-DFORGET_REPORTED', '-DSTALE_ENDS=1'),
    ('ExactlyOnce', 'writer.pml', '-DNO_MEMORY'),
    ('OneAnswer', 'writer.pml', '-DRECORDS=5', '-DLOG=4', '-DANSWER_WITH_LATEST'),
    ('FollowersAgree', 'mirror.pml', '-DRECORDS=5', '-DNO_FIRST_OCCURRENCE'),
    ('FollowersCatchUp', 'mirror.pml', '-DRECORDS=5', '-DLOG=5', '-DONE_WRITER', '-DPOSITION_ALONE'),
    ('GapIsSeen', 'mirror.pml', '-DRECORDS=5', '-DGAPS=1', '-DNO_COMPARISON'),
    ('PeersAreKept', 'home_check.pml', '-DNO_HOME_CHECK'),
    ('PeersAreKept', 'home_check.pml', '-DONE_PEER'),
    ('HomeNeverForks', 'home_check.pml', '-DRECORDS=5', '-DLOG=4', '-DLIVES_ON'),
    ('ForkIsSeen', 'home_check.pml', '-DRECORDS=7', '-DOVERRIDES=1', '-DMIRROR_GOES_ON'),
    ('NoReactionIsLost', 'reactions.pml', '-DCAUSES=1', '-DREACTIONS_IN_MEMORY'),
    ('NoReactionIsLost', 'reactions.pml', '-DCAUSES=1', '-DHEAD_FIRST'),
    ('NoDeadlineIsLost', 'reactions.pml', '-DCAUSES=1', '-DDEADLINES_IN_MEMORY'),
    ('NothingIsDoubled', 'reactions.pml', '-DCAUSES=1', '-DDEADLINES_STAY'),
]


class Models(unittest.TestCase):
    def test_every_model_holds_in_all_its_states(self):
        asked = {}
        for model, *defines in SOUND:
            with self.subTest(model=model, defines=defines):
                found = search(model, *defines)
                print(f'{found.states:>9,} states  {found.seconds:5.1f} s  {found.name}', flush=True)
                self.assertIsNone(found.error, found.output[-2000:])
                self.assertEqual(found.truncated(), '')
                self.assertGreater(found.states, 1000, 'hardly anything was searched')
                for name, count in found.asked.items():
                    asked[model, name] = asked.get((model, name), 0) + count
        self.assertEqual([key for key, count in asked.items() if count == 0], [],
                         'no state asks for these invariants')

    def test_every_broken_variant_is_rejected(self):
        for invariant, model, *defines in BROKEN:
            with self.subTest(model=model, defines=defines):
                found = search(model, *defines)
                print(f'rejected by {invariant}: {found.name}', flush=True)
                self.assertEqual(found.error, f'assertion violated {invariant}', found.output[-2000:])


def run_one(model, *defines):
    with tempfile.TemporaryDirectory() as folder:
        found = Search(model, defines, folder)
        print(f'{found.states:,} states, {found.seconds:.1f} s')
        for name, count in found.asked.items():
            print(f'asked {count:>10,} times: {name}')
        if found.truncated():
            print(f'NOT ALL STATES WERE SEEN: {found.truncated()}')
        if found.error is not None:
            print(f'{found.error}; the steps that lead there:\n{found.trail()}')
        return 1 if found.error or found.truncated() else 0


if __name__ == '__main__':
    if sys.argv[1:2] == ['run']:
        sys.exit(run_one(*sys.argv[2:]))
    unittest.main(verbosity=2)
