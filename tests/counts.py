#!/usr/bin/env python3
"""Counts what the tests consist of, and keeps the counts in docs/testing.md true.

    /usr/bin/python3 tests/counts.py           prints them
    /usr/bin/python3 tests/counts.py --write   puts them into the document, between its two marks
    ./dev sim --mutants | /usr/bin/python3 tests/counts.py --mutants
                                               puts there how many worlds each deliberate error lived for

tests/tidy_test.py, and so ./dev lint, complains about a document that says otherwise. Everything is counted
from the sources; nothing is built or run. What a test does a thousand times counts once.
"""

import re
import sys
from pathlib import Path

DOCUMENT = "docs/testing.md"
BEGIN = "<!-- counted by tests/counts.py: do not edit -->"
END = "<!-- end of what is counted -->"
MUTANTS_BEGIN = "<!-- from ./dev sim --mutants by tests/counts.py: do not edit -->"
MUTANTS_END = "<!-- end of what is counted there -->"

TESTS = ("tests/*", "events/*_test.py", "deploy/*_test.py")
PRODUCT = ("events/*", "storage/*", "services/*")
CODE = (".h", ".cc", ".py", ".proto", ".pml", ".go", ".java")


def texts(tree, patterns, end):
    return [tree.text(path) for path in tree.matching(*patterns) if path.endswith(end)]


def occurrences(tree, patterns, end, regex):
    return sum(len(re.findall(regex, text, re.M)) for text in texts(tree, patterns, end))


def names(tree, patterns, end, regex):
    return {name for text in texts(tree, patterns, end) for name in re.findall(regex, text, re.M)}


def between(text, begin, end):
    """What stands between two words of a text; empty where one is missing."""
    start = text.find(begin)
    return text[start + len(begin):text.find(end, start)] if start >= 0 else ""


def enumerators(tree, path, enum):
    """Those of a C++ enum class that stand for something: neither kNone nor kCount."""
    body = between(tree.text(path), f"enum class {enum} {{", "};")
    return [name for name in re.findall(r"^\s*(k\w+)", body, re.M) if name not in ("kNone", "kCount")]


def thousands(tree, patterns, skip=()):
    """Of lines that are not empty, rounded, so that the document does not change with every line."""
    return round(sum(1 for path in tree.matching(*patterns) if path.endswith(CODE) and path not in skip
                     for line in tree.text(path).splitlines() if line.strip()) / 1000)


def rows(tree):
    """[(what, how many)]."""
    python_tests = occurrences(tree, TESTS, ".py", r"^    def test_\w+\(self")
    variants = between(tree.text("tests/model/model_test.py"), "BROKEN = [", "\n]")
    kinds = between(tree.text("tests/torture/faults.py"), "KINDS = (", ")")
    anomalies = between(tree.text("tests/torture/checker.py"), "ANOMALIES = (", ")")
    tests = set(tree.matching(*TESTS))
    return [
        ("tests in C++", occurrences(tree, TESTS, ".cc", r"^(?:TYPED_)?TEST(?:_F|_P)?\(")),
        ("tests in Python", python_tests),
        ("properties over random histories (RapidCheck)",
         occurrences(tree, TESTS, ".cc", r"RC_GTEST_(?:FIXTURE_)?PROP\(|rc::check\(")),
        ("fuzz targets", len(tree.matching("tests/fuzz/*_fuzz.cc"))),
        ("inputs in their corpus", len(tree.matching("tests/fuzz/corpus/*"))),
        ("models of the protocol", len(tree.matching("tests/model/*.pml"))),
        ("broken variants of them, each rejected", len(re.findall(r"^\s*\('", variants, re.M))),
        ("kinds of faults in simulated worlds", len(enumerators(tree, "tests/simulation/inside.h", "Fault"))),
        ("troubles of a single request there",
         len(names(tree, ("tests/simulation/faults.cc",), ".cc", r'Count\("((?:append|report|offset|group)-[\w-]+)"\)'))),
        ("failpoints", len(names(tree, ("services/*",), ".cc", r'Failpoint\(\w+, "(\w+)"\)'))),
        ("invariants of simulated worlds",
         len(names(tree, ("tests/simulation/*",), ".cc", r'[vV]iolation_?\(\s*"([\w-]+)"'))),
        ("deliberate errors that they have to find", len(enumerators(tree, "events/flaw.h", "Flaw"))),
        ("kinds of faults in the torture", len(re.findall(r'"[^"]+"', kinds))),
        ("anomalies that it looks for", len(re.findall(r'"[^"]+"', anomalies))),
        ("rules over the tree", between(tree.text("tests/tidy_test.py"), "REPOSITORY_RULES = (", ")").count(",")),
        ("thousands of lines of the product", thousands(tree, PRODUCT, skip=tests)),
        ("thousands of lines of tests", thousands(tree, TESTS)),
    ]


def block(tree):
    table = "".join(f"| {what} | {number} |\n" for what, number in rows(tree))
    return f"{BEGIN}\n| what | how many |\n|---|---|\n{table}{END}"


def with_block(document, counted, begin=BEGIN, end=END):
    """The document with the counts in it; as it is where it has no marks."""
    at, until = document.find(begin), document.find(end)
    if at < 0 or until < 0:
        return document
    return document[:at] + counted + document[until + len(end):]


def mutants_block(output, enumerators):
    """What a whole run said; a ValueError where it was not whole, or missed one."""
    found = re.findall(r"^([\w-]+) +found after (\d+) worlds, at seed (\d+): ([\w-]+)", output, re.M)
    if len(found) != enumerators:
        raise ValueError(f"the run found {len(found)} deliberate errors, expected {enumerators}")
    table = "".join(f"| `{name}` | {worlds} | `{invariant}` | {seed} |\n"
                    for name, worlds, seed, invariant in found)
    return (f"{MUTANTS_BEGIN}\n| the error | worlds until it was found | by the invariant | at seed |\n"
            f"|---|---|---|---|\n{table}{MUTANTS_END}")


def main():
    from tidy_test import ROOT, Tree  # it has a rule about this script
    tree = Tree.of_repository(ROOT)
    path = Path(ROOT) / DOCUMENT
    if "--mutants" in sys.argv[1:]:
        output = sys.stdin.read()
        print(output, end="")
        counted = mutants_block(output, len(enumerators(tree, "events/flaw.h", "Flaw")))
        path.write_text(with_block(path.read_text(), counted, MUTANTS_BEGIN, MUTANTS_END))
    elif "--write" in sys.argv[1:]:
        path.write_text(with_block(path.read_text(), block(tree)))
    else:
        print(block(tree))


if __name__ == "__main__":
    main()
