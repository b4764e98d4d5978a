#!/usr/bin/env python3
"""Schedules as services/reservations/recurrence.h expands them, beside dateutil and zoneinfo.

Random schedules by a fixed seed, through 30 years of clock changes in five zones: each is expanded by
expand_schedules and by Python, and compared occurrence by occurrence. dateutil gives the dates of the rule,
zoneinfo, over the same zone files, their instants. What a gap, a fold and a merge mean is written a second time
here, from the header's words. RECURRENCE_SEED and RECURRENCE_CASES choose another run.
"""

import bisect
import collections
import datetime
import itertools
import os
import random
import subprocess
import unittest
import zoneinfo

from dateutil import rrule

UTC = datetime.timezone.utc
DAY = datetime.timedelta(days=1)
ZONES = ("Europe/Paris", "Australia/Lord_Howe", "America/St_Johns", "Africa/Casablanca", "Asia/Kolkata")
FIRST_YEAR, LAST_YEAR = 2005, 2035
CASES = int(os.environ.get("RECURRENCE_CASES", "4000"))
SEED = int(os.environ.get("RECURRENCE_SEED", "20270328"))
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
TIMES = ("000000", "000030", "015959", "020000", "023000", "030000", "080000", "180000", "233000")

Case = collections.namedtuple(
    "Case", "zone rule start seconds length gap fold exceptions additions since until")


def text(moment):
    return moment.strftime("%Y%m%dT%H%M%S")


def instant(naive, zone, fold=0):
    return naive.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def kind(naive, zone):
    """`unique`, `gap` or `fold`."""
    if instant(naive, zone).astimezone(zone).replace(tzinfo=None, fold=0) != naive:
        return "gap"
    return "unique" if instant(naive, zone) == instant(naive, zone, 1) else "fold"


def transitions(zone):
    """The instants, to the minute, at which the zone's offset changes."""
    day = datetime.datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
    found = []
    while day.year < LAST_YEAR:
        before = day.astimezone(zone).utcoffset()
        if before != (day + DAY).astimezone(zone).utcoffset():
            minutes = range(24 * 60)
            found.append(day + datetime.timedelta(minutes=bisect.bisect_right(
                minutes, False,
                key=lambda minute: (day + datetime.timedelta(minutes=minute)).astimezone(zone).utcoffset() != before)))
        day += DAY
    return found


def parts_of(rule):
    return dict(part.split("=") for part in rule.split(";"))


def dates(rule, start, last, most=100_000):
    """The rule's starts on the clock up to `last`, so many at most, by dateutil, without UNTIL."""
    parts = parts_of(rule)
    parts.pop("UNTIL", None)
    days = parts.get("BYDAY", "").split(",")
    plain = [day for day in days if len(day) == 2]
    ordinal = [day for day in days if len(day) > 2]
    wanted = set()
    # dateutil asks of a date that it is both a plain day and an ordinal one; RFC 5545 lists alternatives.
    for some in (plain, ordinal) if plain and ordinal else (days,):
        if "BYDAY" in parts:
            parts["BYDAY"] = ",".join(some)
        one = rrule.rrulestr(";".join(f"{name}={value}" for name, value in parts.items()), dtstart=start)
        for moment in itertools.islice(one, most):
            if moment > last:
                break
            wanted.add(moment)
    return sorted(wanted)[:most]


def may_start(case, start, moment, zone):
    """What UNTIL says."""
    until = parts_of(case.rule).get("UNTIL", "99991231")
    if until.endswith("Z"):
        return moment <= datetime.datetime.strptime(until, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return start.date() <= datetime.datetime.strptime(until, "%Y%m%d").date()


def end_of(case, start, moment, zone):
    elapsed = moment + datetime.timedelta(seconds=case.seconds)
    if case.length == "elapsed":
        return elapsed
    end = start + datetime.timedelta(seconds=case.seconds)
    if kind(end, zone) == "fold":
        return next(at for at in (instant(end, zone, 0), instant(end, zone, 1), elapsed) if at > moment)
    return instant(end, zone) if instant(end, zone) > moment else elapsed


def expand(case, hits):
    zone = zoneinfo.ZoneInfo(case.zone)
    around = datetime.timedelta(seconds=3 * case.seconds, days=3)
    last = case.until.replace(tzinfo=None) + around
    starts = [(start, False) for start in dates(case.rule, case.start, last)]
    starts += [(start, True) for start in case.additions]
    found = []
    for start, added in starts:
        if start in case.exceptions or start < case.since.replace(tzinfo=None) - around:
            continue
        of_kind = kind(start, zone)
        folds = (0,)
        if of_kind == "gap":
            folds = () if case.gap == "skip" else (0,)
        elif of_kind == "fold":
            folds = {"first": (0,), "second": (1,), "both": (0, 1)}[case.fold]
        for fold in folds:
            moment = instant(start, zone, fold)
            if added or may_start(case, start, moment, zone):
                found.append((moment, end_of(case, start, moment, zone)))
        if case.since <= instant(start, zone) < case.until:
            hits[of_kind] += 1
            hits["end in " + kind(start + datetime.timedelta(seconds=case.seconds), zone)] += 1
    merged = []
    for moment, end in sorted(found):
        if merged and moment < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
            hits["merged"] += 1
        else:
            merged.append([moment, end])
    return " ".join(f"{int(moment.timestamp())}/{int(end.timestamp())}"
                    for moment, end in merged if case.since <= moment < case.until)


def some(chance, items, most):
    return sorted(chance.sample(items, chance.randint(1, most)))


def random_rule(chance, start):
    frequency = chance.choice(("DAILY", "DAILY", "WEEKLY", "WEEKLY", "WEEKLY", "MONTHLY", "MONTHLY", "YEARLY"))
    parts = [f"FREQ={frequency}"]
    if chance.random() < 0.4:
        parts.append(f"INTERVAL={chance.randint(1, 5)}")
    if chance.random() < 0.3:
        parts.append(f"WKST={chance.choice(WEEKDAYS)}")
    if chance.random() < 0.5:
        days = some(chance, WEEKDAYS, 5)
        if frequency in ("MONTHLY", "YEARLY") and chance.random() < 0.7:
            days = [f"{chance.choice((-5, -2, -1, 1, 2, 3, 5))}{day}" if chance.random() < 0.8 else day
                    for day in days]
        parts.append("BYDAY=" + ",".join(days))
    if frequency != "WEEKLY" and chance.random() < 0.35:
        numbers = some(chance, [*range(1, 32), *range(-31, 0)], 12)
        parts.append("BYMONTHDAY=" + ",".join(map(str, numbers)))
    if chance.random() < (0.6 if frequency == "YEARLY" else 0.15):
        parts.append("BYMONTH=" + ",".join(map(str, some(chance, range(1, 13), 6))))
    days = parts_of(";".join(parts)).get("BYDAY", "").split(",")
    mixed = len({len(day) > 2 for day in days}) == 2
    end = chance.random()
    if end < 0.2 and not mixed:
        parts.append(f"COUNT={chance.randint(1, 300)}")
    elif end < 0.35:
        parts.append("UNTIL=" + (start + chance.randint(1, 900) * DAY).strftime("%Y%m%d"))
    elif end < 0.5:
        until = start + chance.randint(1, 900) * DAY + datetime.timedelta(minutes=chance.randint(-180, 180))
        parts.append("UNTIL=" + until.strftime("%Y%m%dT%H%M%SZ"))
    chance.shuffle(parts)
    return ";".join(parts)


def random_case(chance, changes):
    """A schedule that runs through clock changes, mostly; nothing where the rule has no start."""
    name = chance.choice(ZONES)
    zone = zoneinfo.ZoneInfo(name)
    if changes[name] and chance.random() < 0.8:
        change = chance.choice(changes[name])
        near = change.astimezone(zone).replace(tzinfo=None)
        time = (near + datetime.timedelta(minutes=chance.randint(-90, 90))).time()
    else:
        near = datetime.datetime(chance.randint(FIRST_YEAR, LAST_YEAR - 1), chance.randint(1, 12), chance.randint(1, 28))
        time = datetime.datetime.strptime(chance.choice(TIMES), "%H%M%S").time()
    start = datetime.datetime.combine((near - chance.choice((0, 1, 2, 7, 14, 40, 400)) * DAY).date(), time)
    rule = random_rule(chance, start)
    since = (near - chance.randint(0, 60) * DAY).replace(tzinfo=UTC)
    until = since + chance.choice((3, 30, 200, 400, 800)) * DAY
    starts = dates(rule, start, start + 3000 * DAY, 600)
    within = [moment for moment in starts if may_start(
        Case(name, rule, *[None] * 9), moment, instant(moment, zone), zone)]
    if not within:
        return None
    exceptions = chance.sample(within[1:], min(len(within) - 1, chance.choice((0, 0, 1, 3))))
    additions = {start + chance.randint(0, 500) * DAY + datetime.timedelta(minutes=chance.randint(0, 1439))
                 for _ in range(chance.choice((0, 0, 0, 1, 3)))} - set(starts)
    left = sorted((set(starts) | additions) - set(exceptions))
    steps = [after - before for before, after in zip(left, left[1:])]
    most = int(min(steps, default=7 * DAY).total_seconds())
    # Only simple rules repeat within what was looked at; others may come closer to themselves later.
    simple = "DAILY" in rule and "BY" not in rule or "WEEKLY" in rule and "BYMONTH" not in rule
    most = min(most, 30 * 86400 if simple else 86400)
    seconds = chance.choice((1, 60, 1800, 3599, 3600, 5400, 7200, 10 * 3600, 23 * 3600, 86400, most, most))
    return Case(name, rule, start, min(seconds, most), chance.choice(("elapsed", "clock")),
                chance.choice(("skip", "shift")), chance.choice(("first", "second", "both")),
                sorted(exceptions), sorted(additions), since, until)


def line_of(case):
    return "\t".join((
        case.zone, case.rule, text(case.start), str(case.seconds), case.length, case.gap, case.fold,
        ",".join(map(text, case.exceptions)), ",".join(map(text, case.additions)),
        str(int(case.since.timestamp())), str(int(case.until.timestamp()))))


def run(cases):
    done = subprocess.run([os.environ["EXPAND_SCHEDULES"]], input="".join(line_of(case) + "\n" for case in cases),
                          stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(cases), f"found {len(lines)} answers, expected {len(cases)}"
    return lines


class Recurrence(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        # The files that the C++ side reads, and no others.
        zoneinfo.reset_tzpath([os.environ.get("TZDIR", "/usr/share/zoneinfo")])
        zoneinfo.ZoneInfo.clear_cache()

    def test_random_schedules_give_the_same_occurrences(self):
        chance = random.Random(SEED)
        changes = {name: transitions(zoneinfo.ZoneInfo(name)) for name in ZONES}
        cases = []
        while len(cases) < CASES:
            case = random_case(chance, changes)
            if case:
                cases.append(case)
        hits = collections.Counter()
        occurrences = 0
        for case, found in zip(cases, run(cases)):
            expected = expand(case, hits)
            self.assertEqual(found.split(), expected.split(), line_of(case))
            occurrences += len(expected.split())
        print(f"{len(cases)} schedules, {occurrences} occurrences, seed {SEED}; starts and ends by kind: {dict(hits)}")
        for what in ("gap", "fold", "end in gap", "end in fold", "merged"):
            self.assertGreater(hits[what], CASES // 200, f"the cases hardly meet: {what}")

    def test_the_parts_of_a_span_give_together_what_the_whole_gives(self):
        chance = random.Random(SEED + 1)
        changes = {name: transitions(zoneinfo.ZoneInfo(name)) for name in ZONES}
        wholes = [case for case in (random_case(chance, changes) for _ in range(CASES // 5)) if case]
        parts = []
        for case, found in zip(wholes, run(wholes)):
            edges = [int(edge) for pair in found.split() for edge in pair.split("/")] or [int(case.since.timestamp())]
            cut = datetime.datetime.fromtimestamp(chance.choice(edges) + chance.choice((-1, 0, 1)), UTC)
            cut = min(max(cut, case.since), case.until)
            parts += [case._replace(until=cut), case._replace(since=cut)]
        halves = run(parts)
        for index, (case, found) in enumerate(zip(wholes, run(wholes))):
            self.assertEqual((halves[2 * index] + " " + halves[2 * index + 1]).split(), found.split(), line_of(case))

    def test_thirty_years_of_every_night_in_every_zone(self):
        """Each time of the clock that a change may touch, every day, with every policy."""
        cases = [
            Case(name, "FREQ=DAILY", datetime.datetime.strptime(f"{FIRST_YEAR}0101T{time}", "%Y%m%dT%H%M%S"),
                 seconds, length, gap, fold, [], [], datetime.datetime(FIRST_YEAR, 1, 2, tzinfo=UTC),
                 datetime.datetime(LAST_YEAR, 1, 1, tzinfo=UTC))
            for name in ZONES
            for time, seconds, length, gap, fold in (
                ("000030", 7200, "clock", "shift", "first"), ("013000", 3600, "elapsed", "skip", "both"),
                ("021500", 86400, "clock", "shift", "second"), ("023000", 86400, "elapsed", "skip", "second"))]
        for case, found in zip(cases, run(cases)):
            hits = collections.Counter()
            expected = expand(case, hits)
            self.assertEqual(found.split(), expected.split(), line_of(case))
            self.assertGreater(len(expected.split()), 10_900)


if __name__ == "__main__":
    unittest.main(verbosity=2)
