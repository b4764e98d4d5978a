#!/usr/bin/env python3
"""Holds the architecture invariants of docs/ARCHITECTURE.md and keeps the documents true.

A rule is a function that takes a Tree and yields findings: `file:line: found …; expected …`. Every rule
is run over the repository, and over small fake trees that break it, so that no rule can sleep.
Needs nothing built and no package:  /usr/bin/python3 tests/tidy_test.py
"""

import ast
import collections
import fnmatch
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import counts

ROOT = Path(__file__).resolve().parent.parent

Finding = collections.namedtuple("Finding", "path line found expected")


def text_of(finding):
    return f"{finding.path}:{finding.line}: found {finding.found}; expected {finding.expected}"


class Tree:
    """The files of a repository: those that git tracks or would track, or all of a fake tree."""

    def __init__(self, root, paths=None):
        self.root = Path(root)
        self.paths = sorted(paths if paths is not None else self._walk())
        self._texts = {}

    @classmethod
    def of_repository(cls, root):
        listed = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if listed.returncode != 0:  # an unpacked archive
            return cls(root)
        paths = {path for path in listed.stdout.decode().split("\0") if path}
        return cls(root, [path for path in paths if (root / path).is_file()])

    def _walk(self):
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name not in (".git", "build", "__pycache__", "target")]
            for name in files:
                yield str((Path(folder) / name).relative_to(self.root))

    def matching(self, *patterns):
        return [path for path in self.paths if self.is_any(path, patterns)]

    def text(self, path):
        """The text of a file; empty where it is no text."""
        if path not in self._texts:
            try:
                self._texts[path] = (self.root / path).read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                self._texts[path] = ""
        return self._texts[path]

    def lines(self, path):
        return enumerate(self.text(path).splitlines(), 1)

    @staticmethod
    def is_any(path, patterns):
        return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)

    def has(self, path):
        return path in self._texts or path in self.paths

    def folders(self):
        return {str(parent) for path in self.paths for parent in Path(path).parents if str(parent) != "."}

    def rooms(self):
        """The services: the folders of services/ that are neither the runtime nor a door."""
        names = {path.split("/")[1] for path in self.paths if path.startswith("services/") and path.count("/") >= 2}
        return sorted(names - {"runtime", "node", "cli", "console"})

    def cpp(self, *under):
        patterns = [f"{folder}/*{end}" for folder in under for end in (".h", ".cc")]
        return self.matching(*patterns) if under else self.matching("*.h", "*.cc")


# ---------------------------------------------------------------------------------------------------
# Code
# ---------------------------------------------------------------------------------------------------

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')

# A service's planner touches the world through these; everything else in a room is its core.
EXECUTORS = ("executor*", "*target*")

FORBIDDEN_IN_CORE = (
    (re.compile(r"^(librdkafka|kafka)/|storage/log/"), "Kafka"),
    (re.compile(r"^rocksdb/|^storage/rocksdb\.h$"), "RocksDB"),
    (re.compile(r"^grpc"), "gRPC"),
    (re.compile(r"^prometheus/"), "Prometheus"),
    (re.compile(r"^(thread|mutex|shared_mutex|condition_variable|future|atomic|semaphore|stop_token)$"
                r"|^absl/synchronization/|^pthread\.h$"), "threads"),
    (re.compile(r"^(chrono|ctime|time\.h|sys/time\.h)$|^absl/time/clock\.h$"), "a clock"),
    (re.compile(r"^(iostream|fstream|sstream|ostream|istream|iomanip|syncstream|filesystem)$|^spdlog/"
                r"|^(unistd|fcntl)\.h$"), "streams or files"),
    (re.compile(r"^(random)$|^absl/random/"), "randomness"),
)


def is_core(path):
    return not any(fnmatch.fnmatch(path.rsplit("/", 1)[1], pattern) for pattern in EXECUTORS)


def core_files(tree):
    return [path for room in tree.rooms() for path in tree.cpp(f"services/{room}") if is_core(path)]


def core_is_pure(tree):
    """Decider, state, react and what they use read no clock, file, network or thread."""
    for path in core_files(tree):
        for number, line in tree.lines(path):
            include = INCLUDE.match(line)
            for pattern, what in FORBIDDEN_IN_CORE:
                if include and pattern.search(include.group(2)):
                    yield Finding(path, number, f"an include of {include.group(2)}",
                                  f"a core part of a service without {what}; such work belongs to services/runtime "
                                  "or to the room's executor")
            if re.search(r"\babsl::Now\(|\bstd::time\(|\bgettimeofday\(", line):
                yield Finding(path, number, "a look at a clock", "time from Facts alone")


def may_include(path, header):
    """What a file of the code may include with quotes; None where it may, else what it may."""
    generated = header.endswith(".pb.h")
    domain = re.match(r"concordat/(inventory|reservations|compliance|deployment|node)/", header)
    if path.startswith("events/"):
        allowed = header.startswith("events/") or (
            generated and header.startswith(("concordat/type/", "concordat/system/")))
        return None if allowed else "events/ and its own generated messages, for every other part stands on it"
    if path.startswith("storage/"):
        allowed = header.startswith(("events/", "storage/")) or (generated and not domain)
        return None if allowed else "storage/ and events/ only, and no service's messages"
    if path.startswith("services/runtime/"):
        allowed = header.startswith(("events/", "storage/", "services/runtime/")) or (generated and not domain)
        return None if allowed else "services/runtime/, storage/ and events/: the runtime has no domain words"
    if path.startswith("services/node/"):
        return None if not header.startswith("services/cli/") else "anything but services/cli/"
    if path.startswith("services/cli/"):
        allowed = header.startswith(("events/", "concordat/", "services/cli/", "services/runtime/yaml.h",
                                     "services/runtime/check.h"))
        return None if allowed else "services/cli/, events/, generated messages and services/runtime/{check,yaml}.h: " \
                                    "the command line knows the services by their doors alone"
    room = path.split("/")[1]
    allowed = header.startswith(("events/", "concordat/", f"services/{room}/")) or header in (
        "services/runtime/service.h", "services/runtime/check.h", "services/runtime/yaml.h", "services/runtime/zones.h",
        "storage/projection/rows.h", "storage/projection/table.h")
    return None if allowed else f"services/{room}/, events/, generated messages, services/runtime/" \
                                "{service,check,yaml,zones}.h and storage/projection/{rows,table}.h; services talk by events"


def includes_follow_the_layers(tree):
    for path in tree.cpp("events", "storage", "services"):
        if path.startswith("services/") and path.count("/") < 2:
            continue
        for number, line in tree.lines(path):
            include = INCLUDE.match(line)
            if not include or include.group(1) != '"':
                continue
            expected = may_include(path, include.group(2))
            if expected:
                yield Finding(path, number, f"an include of {include.group(2)}", expected)


ROOM = ("README.md", "decider.h", "decider.cc", "state.h", "state.cc", "react.h", "react.cc", "service.h")


def rooms_have_one_shape(tree):
    for room in tree.rooms():
        for name in ROOM:
            if not tree.has(f"services/{room}/{name}"):
                yield Finding(f"services/{room}/{name}", 1, "no such file",
                              f"one: every service's room has {', '.join(ROOM)}")


def no_default_in_deciders(tree):
    """A new event or command must be a compile error where nobody thought of it."""
    for path in core_files(tree):
        for number, line in tree.lines(path):
            if re.match(r"\s*default\s*:", line):
                yield Finding(path, number, "`default:`",
                              "every case named, so that the compiler finds the missing one")


# What a service of the node answers is neither stored nor linked.
NOT_STORED = ("events/concordat/node/*",)
INEXACT = re.compile(r"^\s*(?:optional |repeated )?(map\s*<|float\b|double\b)")


def stored_messages_are_exact(tree):
    """Bytes that are linked or digested are the same whoever writes them, and events say what happened."""
    for path in tree.matching("events/*.proto", "services/*.proto"):
        for number, line in tree.lines(path):
            inexact = None if tree.is_any(path, NOT_STORED) else INEXACT.match(line)
            if inexact:
                yield Finding(path, number, f"a field of type {inexact.group(1).rstrip('< ')}",
                              "repeated messages for a map, integers with units for other numbers")
            updated = re.match(r"\s*message (\w*Updated)\b", line)
            if updated:
                yield Finding(path, number, f"an event {updated.group(1)}", "a name that says what happened")


OURS_IN_FOLLOWERS = re.compile(r"\b(?:services|storage)[./]\w"
                               r"|^\s*(?:import|from) (?:static )?concordat\b(?!\.follower\b)")


def followers_stand_alone(tree):
    """What reads by the specification alone shares the vectors with the services, and nothing else."""
    for path in tree.matching(*(f"events/followers/*.{end}" for end in ("py", "java", "sh", "xml"))):
        for number, line in tree.lines(path):
            if OURS_IN_FOLLOWERS.search(line):
                yield Finding(path, number, f"`{line.strip()}`",
                              "nothing of services/ or storage/, and no generated code")


# What takes time or threads beside storage::Machine, and why it may. A simulated world runs none of them, or
# nothing that it does depends on it.
BESIDE_THE_MACHINE = {
    "storage/machine.cc": "it is the machine",
    "storage/log/group_appender.cc": "it writes to logs that wait for a disk; the simulated log has its own appender",
    "storage/log/embedded.cc": "it waits for appends of its own process; the simulated log stands in its place",
    "storage/projection/rocksdb_store.cc": "it waits for RocksDB's threads; the store in memory stands in its place",
    "storage/archive/archive.cc": "callers of the node's door wait there, and no simulated world has one",
    "services/runtime/command_api.cc": "it measures how long calls take, for a metric alone",
    "services/runtime/server.cc": "it is gRPC's, which has clocks and threads of its own",
}
TIME_AND_THREADS = re.compile(
    r"\babsl::(?:Now|SleepFor)\(|\b\w+_clock::now\(|\b(?:Await|Wait)WithTimeout\(|\bmutex_?\.Await\("
    r"|\bstd::(?:jthread|thread|async|this_thread|random_device|mt19937\w*)\b|\babsl::(?:Insecure)?BitGen\b")


def time_comes_from_the_machine(tree):
    """Storage and the runtime take time, waiting, threads and chance from storage::Machine."""
    excused = set()
    for path in tree.cpp("storage", "services/runtime"):
        for number, line in tree.lines(path):
            match = TIME_AND_THREADS.search(line.split("//")[0])
            if match and path in BESIDE_THE_MACHINE:
                excused.add(path)
            elif match:
                yield Finding(path, number, f"`{match.group(0).rstrip('(')}`",
                              "time, waiting, threads and chance from storage::Machine")
    for path in sorted(set(BESIDE_THE_MACHINE) & set(tree.paths) - excused):
        yield Finding(path, 1, "nothing beside the machine", "no exception for it in tests/tidy_test.py")


BAD_FOLDERS = {"common", "util", "utils", "helpers", "misc", "handlers", "interfaces", "dto", "mappers"}


def no_nameless_folders(tree):
    for folder in sorted(tree.folders()):
        if Path(folder).name in BAD_FOLDERS and not folder.startswith("events/followers/java"):
            yield Finding(folder, 1, f"a folder named {Path(folder).name}", "a folder named by what it is about")


MAX_COLUMNS = 120


def lines_are_short(tree):
    for path in tree.cpp():
        for number, line in tree.lines(path):
            if len(line) > MAX_COLUMNS:
                yield Finding(path, number, f"a line of {len(line)} characters", f"at most {MAX_COLUMNS}")


def headers_say_what_they_are(tree):
    for path in tree.matching("*.h"):
        lines = [line for _, line in tree.lines(path)]
        if not lines or not lines[0].startswith("//"):
            yield Finding(path, 1, "no comment", "a header that begins with what the thing is and its one law")
        elif "#pragma once" not in lines:
            yield Finding(path, 1, "no `#pragma once`", "it after the header's comment")


# Functions by these names may wait: each states what for, and how long at most.
WAIT_NAME = r"_?(?:wait|await|until|eventually|pause)\w*"


def python_sleeps(text):
    """The lines with a sleep outside of a function that is named for waiting."""
    found = []

    def visit(node, waits):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waits = waits or re.fullmatch(WAIT_NAME, node.name) is not None
        if isinstance(node, ast.Call) and not waits:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("sleep", "usleep"):
                found.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, waits)

    visit(ast.parse(text), False)
    return found


CPP_SLEEP = re.compile(r"\b(SleepFor|sleep_for|sleep_until|usleep|nanosleep|sleep)\s*\(")
CPP_WAIT = re.compile(r"\b(?:Wait|Await|Until|Eventually|Pause)\w*\s*\([^;]*$", re.S)
CPP_FUNCTION = re.compile(r"^\s*(?:[\w:<>&*,\s]+\s)?~?[\w:]+\([^;]*\)\s*(?:const\s*)?(?:override\s*)?\{?\s*$")


def cpp_sleeps(text):
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        if not CPP_SLEEP.search(line.split("//")[0]):
            continue
        for above in reversed(lines[:number]):
            if re.match(r"\s*(?:if|for|while|switch|return|else|case)\b", above):
                continue
            if CPP_WAIT.search(above) and "{" in above:
                break
            if re.match(r"\s*TEST\w*\(|\s*RC_GTEST_PROP\(", above) or (CPP_FUNCTION.match(above) and "{" in above):
                found.append(number)
                break
        else:
            found.append(number)
    return found


def tests_do_not_sleep(tree):
    expected = "a wait for something, in a function named Wait…, Await… or Until… with a bound"
    for path in tree.matching("tests/*.py", "*_test.py"):
        for number in python_sleeps(tree.text(path)):
            yield Finding(path, number, "a sleep", expected)
    for path in tree.matching("tests/*.cc", "tests/*.h", "*_test.cc"):
        for number in cpp_sleeps(tree.text(path)):
            yield Finding(path, number, "a sleep", expected)


# In two halves, so that this file does not break its own rule.
MACHINE_PATH = re.compile(r"(?<![\w./$}{~-])/(?:" + "wo" + r"rk|" + "ro" + r"ot)(?![\w-])"
                          r"|(?<![\w./$}{~-])/" + "tm" + r"p/[\w.-]" + r"|(?<![\w./$}{~-])/" + "ho" + r"me/\w")


def no_machine_paths(tree):
    for path in tree.paths:
        for number, line in tree.lines(path):
            match = MACHINE_PATH.search(line)
            if match:
                shown = line[match.start():match.start() + 24].split()[0]
                yield Finding(path, number, f"a path of one machine, `{shown}`",
                              "a relative path, a variable such as $CONCORDAT_CACHE, or a folder made by mktemp")


# ---------------------------------------------------------------------------------------------------
# Documents
# ---------------------------------------------------------------------------------------------------

RULES = "deploy/prometheus/rules.yaml"
RUNBOOK_PARTS = ("## Meaning", "## Impact", "## Diagnosis", "## Mitigation")
ADR_PARTS = ("## Status", "## Context", "## Decision", "## Consequences", "## Evidence")


def alerts_of(tree):
    """Alert → line of the rules file."""
    found = {}
    for number, line in tree.lines(RULES) if tree.has(RULES) else ():
        match = re.match(r"\s*-\s*alert:\s*(\w+)\s*$", line)
        if match:
            found[match.group(1)] = number
    return found


def alerts_have_runbooks(tree):
    alerts = alerts_of(tree)
    runbooks = {Path(path).stem: path for path in tree.matching("docs/runbooks/*.md")}
    if not alerts:
        yield Finding(RULES, 1, "no alert", "at least one `- alert: Name`")
    for alert, number in alerts.items():
        if alert not in runbooks:
            yield Finding(RULES, number, f"the alert {alert} without a runbook", f"docs/runbooks/{alert}.md")
        elif f"docs/runbooks/{alert}.md" not in tree.text(RULES):
            yield Finding(RULES, number, f"the alert {alert} without a link to its runbook",
                          f"an annotation with docs/runbooks/{alert}.md")
    for name, path in runbooks.items():
        if name not in alerts:
            yield Finding(path, 1, "a runbook for no alert", f"an alert {name} in {RULES}")
        for part in RUNBOOK_PARTS:
            if part not in tree.text(path):
                yield Finding(path, 1, f"no section `{part}`", f"the sections {', '.join(RUNBOOK_PARTS)}")


def decisions_have_their_parts(tree):
    for path in tree.matching("docs/adr/*.md"):
        if not re.match(r"docs/adr/\d{4}-[a-z0-9-]+\.md$", path):
            yield Finding(path, 1, "an odd name", "docs/adr/0001-some-words.md")
        for part in ADR_PARTS:
            if part not in tree.text(path):
                yield Finding(path, 1, f"no section `{part}`", f"the sections {', '.join(ADR_PARTS)}")


def section_rows(tree, path):
    """Heading (`## reservations`) → the names in the first column of its tables."""
    rows = collections.defaultdict(set)
    heading = ""
    for _, line in tree.lines(path) if tree.has(path) else ():
        if line.startswith("## "):
            heading = line[3:].strip().strip("`").lower()
        match = re.match(r"\|\s*`(\w+)`\s*\|", line)
        if match:
            rows[heading].add(match.group(1))
    return rows


def published(tree):
    """Service → path of its events.proto."""
    return {path.split("/")[2]: path for path in tree.matching("events/concordat/*/v1/events.proto")}


def events_of(tree, path):
    """The events of a proto: the cases of its `oneof event`; where there is none, all of its messages."""
    lines = list(tree.lines(path))
    has_oneof = any(re.match(r"\s*oneof event\s*\{", line) for _, line in lines)
    pattern = r"\s{4}(\w+) \w+ = \d+;" if has_oneof else r"message (\w+)"
    inside = not has_oneof
    for number, line in lines:
        if re.match(r"\s*oneof event\s*\{", line):
            inside = True
        elif has_oneof and inside and re.match(r"\s{0,2}\}", line):
            inside = False
        match = re.match(pattern, line) if inside else None
        if match:
            yield number, match.group(1)


def reasons_of(tree, path):
    inside = False
    for number, line in tree.lines(path):
        if line.startswith("enum "):
            inside = line.startswith("enum Reason ")
        match = re.match(r"\s+(REASON_\w+) = (\d+);", line)
        if inside and match and match.group(2) != "0":
            yield number, match.group(1)


def rows_match(tree, document, names_of, what):
    rows = section_rows(tree, document)
    for service, path in published(tree).items():
        names = list(names_of(tree, path))
        for number, name in names:
            if name not in rows[service]:
                yield Finding(path, number, f"{what} {name} without a row",
                              f"a row `| `{name}` | …` under `## {service}` in {document}")
        for name in sorted(rows[service] - {name for _, name in names}):
            yield Finding(document, 1, f"a row for {name} under `## {service}`", f"only what {path} declares")


def events_are_in_the_catalogue(tree):
    yield from rows_match(tree, "docs/catalogue.md", events_of, "the event")


def reasons_are_explained(tree):
    yield from rows_match(tree, "docs/reasons.md", reasons_of, "the reason")


METRIC = re.compile(r"\bconcordat_[a-z0-9_]+\b")
TELEMETRY = "services/node/telemetry.cc"


def metrics_exist(tree):
    exported = set(re.findall(r'"(concordat_[a-z0-9_]+)"', tree.text(TELEMETRY))) if tree.has(TELEMETRY) else set()
    histograms = {name for name in exported if name.endswith(("_seconds", "_bytes"))}
    exported |= {name + end for name in histograms for end in ("_bucket", "_sum", "_count")}
    for path in tree.matching("docs/operations/*.md", "docs/runbooks/*.md", RULES):
        for number, line in tree.lines(path):
            for name in METRIC.findall(line):
                if name not in exported:
                    yield Finding(path, number, f"the metric {name}", f"one that {TELEMETRY} exports")


def prose(tree, path):
    """Lines outside of fenced code, with their numbers."""
    fenced = False
    for number, line in tree.lines(path):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield number, line


def expand(pattern):
    """`a/{b,c}.h` → `a/b.h`, `a/c.h`."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    return [whole for part in match.group(1).split(",")
            for whole in expand(pattern[:match.start()] + part.strip() + pattern[match.end():])]


TOP = ("events", "storage", "services", "deploy", "tests", "docs")
ROOT_FILE = re.compile(r"^(README|CHANGELOG|CONTRIBUTING|LICENSE|CMakeLists|CMakePresets)(\.\w+)?$")


def exists(tree, path):
    path = path.rstrip("/")
    if path in ("", "."):
        return True
    return bool(fnmatch.filter(tree.paths, path) or fnmatch.filter(tree.folders(), path))


def paths_in_documents_exist(tree):
    for path in tree.matching("*.md"):
        base = Path(path).parent
        for number, line in prose(tree, path):
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                if re.match(r"[a-z]+:|#", target):
                    continue
                resolved = os.path.normpath(str(base / target.split("#")[0]))
                if not exists(tree, resolved):
                    yield Finding(path, number, f"a link to {target}", "a file that exists")
            for token in re.findall(r"`([^`\s]+)`", line):
                token = token.rstrip(".,;:")
                looks = (token.split("/")[0] in TOP and "/" in token) or ROOT_FILE.match(token)
                if not looks or re.search(r"[<>$…:()|]", token):
                    continue
                for one in expand(token):
                    if not exists(tree, one) and not exists(tree, os.path.normpath(str(base / one))):
                        yield Finding(path, number, f"the path `{one}`", "a file or folder of the repository")


def tests_in_documents_exist(tree):
    """`Suite.Name` in a document is a test in C++: whoever looks for what holds a claim finds it."""
    known = {f"{suite}.{name}" for path in tree.matching("tests/*.cc")
             for suite, name in re.findall(r"^(?:TEST|TEST_F|TEST_P|RC_GTEST_PROP)\(\s*(\w+),\s*(\w+)", tree.text(path), re.M)}
    for path in tree.matching("*.md"):
        for number, line in prose(tree, path):
            for name in re.findall(r"`([A-Z]\w+\.[A-Z]\w+)`", line):
                if name not in known:
                    yield Finding(path, number, f"the test `{name}`", "one that `tests/` has")


def dev_commands(tree):
    text = tree.text("dev")
    cases = text[text.rindex('case "$command"'):] if 'case "$command"' in text else text
    return {word for names in re.findall(r"^\s*([a-z|\-]+)\)", cases, re.M) for word in names.split("|")}


def dev_commands_exist(tree):
    if not tree.has("dev"):
        return
    known = dev_commands(tree)
    for path in tree.matching("*.md", "*.cc", "*.h", "*.py"):
        for number, line in tree.lines(path):
            if path == "tests/tidy_test.py":
                continue
            for word in re.findall(r"\./dev ([a-z][a-z-]*)", line):
                if word not in known:
                    yield Finding(path, number, f"`./dev {word}`", f"one of {', '.join(sorted(known))}")


def cli_commands(tree):
    """The first words after `concordat`."""
    words = set(re.findall(r'\{\s*"([a-z]+)",\s*"[a-z_]*",\s*"[a-z]+",\s*"[A-Z]',
                           tree.text("services/cli/catalogue.cc")))
    adding = r'\b(?:AddCommand\(\s*line\.app,|by_name\(|with_word\(|AddVerb\(\s*line\.app,)\s*"([a-z]+)"'
    words |= set(re.findall(adding, tree.text("services/cli/cli.cc")))
    return words


def cli_commands_exist(tree):
    if not tree.has("services/cli/catalogue.cc") or not tree.has("services/cli/cli.cc"):
        return
    known = cli_commands(tree)
    for path in tree.matching("*.md", RULES):
        for number, line in tree.lines(path):
            for command in re.findall(r"(?:`|^\s*(?:\$ )?)concordat ((?:--?[a-z-]+[ =]\S+ )*[a-z]+)\b", line):
                word = command.split()[-1]
                if word not in known:
                    yield Finding(path, number, f"`concordat {command}`", f"one of {', '.join(sorted(known))}")


ARCHITECTURE = "docs/ARCHITECTURE.md"
MODEL_HEADING = "### What the model checks"


def invariants_of_the_model_are_named(tree):
    """What the models check is what the table of ARCHITECTURE names, and nothing is declared and not checked."""
    checked = {}  # name → where
    for path in tree.matching("tests/model/*.pml"):
        asked = set(re.findall(r"\bCHECK\((\w+),", tree.text(path)))
        for number, line in tree.lines(path):
            declared = re.match(r"INVARIANT\((\w+)\)", line)
            if declared:
                checked[declared.group(1)] = (path, number)
                if declared.group(1) not in asked:
                    yield Finding(path, number, f"{declared.group(1)}, which is never checked", "a CHECK of it")
    section = tree.text(ARCHITECTURE).partition(MODEL_HEADING)[2].partition("\n#")[0]
    named = {name for row in re.findall(r"^\|([^|]*)\|", section, re.M) for name in re.findall(r"`(\w+)`", row)}
    for name in sorted(set(checked) - named):
        yield Finding(*checked[name], f"the invariant {name}",
                      f"a row for it under `{MODEL_HEADING}` in {ARCHITECTURE}")
    for name in sorted(named - set(checked)):
        yield Finding(ARCHITECTURE, 1, f"the invariant {name}", "one that a model in tests/model declares")


def counts_are_counted(tree):
    """docs/testing.md says how many tests there are as tests/counts.py counts them."""
    document = tree.text(counts.DOCUMENT)
    if counts.BEGIN not in document or counts.END not in document:
        yield Finding(counts.DOCUMENT, 1, "no place for what is counted", "the marks of tests/counts.py")
        return
    for what, number in counts.rows(tree):
        if number == 0:
            yield Finding("tests/counts.py", 1, f"no {what}", "a way to count them that still finds some")
    if counts.with_block(document, counts.block(tree)) != document:
        line = document[:document.find(counts.BEGIN)].count("\n") + 1
        yield Finding(counts.DOCUMENT, line, "other counts than there are", "what `tests/counts.py --write` writes")


REPOSITORY_RULES = (
    core_is_pure, includes_follow_the_layers, rooms_have_one_shape, no_default_in_deciders, stored_messages_are_exact,
    followers_stand_alone, time_comes_from_the_machine, no_nameless_folders, lines_are_short,
    headers_say_what_they_are, tests_do_not_sleep, no_machine_paths, alerts_have_runbooks, decisions_have_their_parts,
    events_are_in_the_catalogue, reasons_are_explained, metrics_exist, paths_in_documents_exist,
    tests_in_documents_exist, dev_commands_exist, cli_commands_exist, invariants_of_the_model_are_named,
    counts_are_counted,
)


class TheRepository(unittest.TestCase):
    """One test a rule, made below."""

    tree = None

    def hold(self, rule):
        cls = type(self)
        if cls.tree is None:
            cls.tree = Tree.of_repository(ROOT)
        findings = list(rule(cls.tree))
        if findings:
            self.fail(f"{len(findings)} findings\n" + "\n".join(text_of(finding) for finding in findings))


for _rule in REPOSITORY_RULES:
    setattr(TheRepository, f"test_{_rule.__name__}", lambda self, rule=_rule: self.hold(rule))


# ---------------------------------------------------------------------------------------------------
# Every rule can fail: each is run over a tree that keeps it, and over one that breaks it.
# ---------------------------------------------------------------------------------------------------

PROTO = """message Held {
  string name = 1;
}
enum Reason {
  REASON_UNSPECIFIED = 0;
  REASON_NO_CAPACITY = 4;
}
enum Purpose {
  PURPOSE_RENTAL = 1;
}
message Event {
  oneof event {
    // See Held.
    Held held = 1;
  }
}
"""
RUNBOOK = "# ConcordatDown\n## Meaning\n## Impact\n## Diagnosis\n## Mitigation\n"
ADR = "# One\n## Status\n## Context\n## Decision\n## Consequences\n## Evidence\n"
DEV = 'command=${1:-help}\ncase "$command" in\n  demo) run_demo ;;\n  help|-h) usage ;;\nesac\n'
CATALOGUE = '{"open",\n "site", "inventory", "OpenSite", {"name"}},\n'
PROTO_PATH = "events/concordat/leases/v1/events.proto"
ALERT = "- alert: ConcordatDown\n  expr: concordat_up == 0\n  x: docs/runbooks/ConcordatDown.md\n"


class EveryRuleCanFail(unittest.TestCase):
    def findings(self, rule, files):
        with tempfile.TemporaryDirectory() as folder:
            for path, text in files.items():
                file = Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            return [text_of(finding) for finding in rule(Tree(folder))]

    def expect(self, rule, good, bad, *wanted):
        """`bad` is laid over `good`; a file that is None there is left out."""
        self.assertEqual(self.findings(rule, good), [], "the rule complains about a tree that keeps it")
        files = {path: text for path, text in {**good, **bad}.items() if text is not None}
        found = self.findings(rule, files)
        self.assertEqual(len(found), len(wanted), found)
        for text, want in zip(found, wanted):
            self.assertTrue(text.startswith(want[0] + ": found "), text)
            self.assertIn(want[1], text)
            self.assertIn("; expected ", text)

    def test_core_is_pure(self):
        good = {"services/leases/decider.cc": "#include <string>\n#include <absl/time/time.h>\n",
                "services/leases/executor.cc": "#include <thread>\n", "services/node/main.cc": "#include <thread>\n"}
        for header in ("librdkafka/rdkafka.h", "rocksdb/db.h", "grpcpp/grpcpp.h", "prometheus/registry.h", "thread",
                       "absl/time/clock.h", "chrono", "fstream", "absl/synchronization/mutex.h", "random"):
            self.expect(core_is_pure, good, {"services/leases/react.cc": f"\n#include <{header}>\n"},
                        ("services/leases/react.cc:2", header))
        self.expect(core_is_pure, good, {"services/leases/state.cc": "auto now = absl::Now();\n"},
                    ("services/leases/state.cc:1", "clock"))

    def test_includes_follow_the_layers(self):
        good = {"events/link.cc": '#include "events/link.h"\n#include "concordat/system/v1/events.pb.h"\n',
                "storage/log/log.h": '#include "events/record.h"\n',
                "services/runtime/writer.cc": '#include "storage/log/log.h"\n'
                                              '#include "concordat/type/v1/command.pb.h"\n',
                "services/leases/state.h": '#include "services/runtime/service.h"\n'
                                           '#include "storage/projection/table.h"\n'
                                           '#include "concordat/leases/v1/api.pb.h"\n',
                "services/cli/main.cc": '#include "services/runtime/yaml.h"\n',
                "services/node/site.cc": '#include "services/leases/service.h"\n'}
        for path, header in (("events/link.cc", "storage/log/log.h"), ("storage/log/log.h", "services/runtime/fold.h"),
                             ("storage/log/log.h", "concordat/reservations/v1/events.pb.h"),
                             ("services/runtime/writer.cc", "services/leases/state.h"),
                             ("services/runtime/writer.cc", "concordat/inventory/v1/events.pb.h"),
                             ("services/leases/state.h", "services/other/state.h"),
                             ("services/leases/state.h", "services/runtime/writer.h"),
                             ("services/leases/state.h", "storage/projection/projection.h"),
                             ("services/cli/main.cc", "services/node/site.h")):
            self.expect(includes_follow_the_layers, good, {path: f'#include "{header}"\n'}, (f"{path}:1", header))

    def test_rooms_have_one_shape(self):
        good = {f"services/leases/{name}": "x" for name in ROOM} | {"services/runtime/writer.h": "x"}
        self.expect(rooms_have_one_shape, good, {"services/leases/README.md": None},
                    ("services/leases/README.md:1", "no such file"))

    def test_no_default_in_deciders(self):
        good = {"services/leases/decider.cc": "case A: break;\n", "services/node/main.cc": "default: break;\n"}
        self.expect(no_default_in_deciders, good, {"services/leases/state.cc": "switch (x) {\n  default: return;\n"},
                    ("services/leases/state.cc:2", "default"))

    def test_stored_messages_are_exact(self):
        good = {PROTO_PATH: PROTO + "// A map<a, b>, a float.\n",
                "events/concordat/node/v1/api.proto": "  map<string, uint64> x = 1;\n"}
        for line, what in (("  map<string, int64> x = 1;", "map"), ("  repeated double y = 2;", "double"),
                           ("  float z = 3;", "float"), ("message SiteUpdated {", "SiteUpdated")):
            self.expect(stored_messages_are_exact, good, {"services/runtime/rows.proto": f"\n{line}\n"},
                        ("services/runtime/rows.proto:2", what))

    def test_followers_stand_alone(self):
        good = {"events/followers/python/follow.py": "import json\n",
                "events/followers/a_test.py": "import make_vectors\n",
                "events/followers/java/A.java": "package concordat.follower;\nimport concordat.follower.Chain;\n",
                "services/runtime/x.py": "import concordat\n"}
        for path, line in (("python/follow.py", "from services.runtime import fold"),
                           ("java/A.java", "import concordat.system.v1.Events;"),
                           ("java/build.sh", "cp ../../../storage/log/log.h ."),
                           ("python/b.py", "from concordat.type.v1 import x")):
            self.expect(followers_stand_alone, good, {f"events/followers/{path}": f"\n{line}\n"},
                        (f"events/followers/{path}:2", line))

    def test_time_comes_from_the_machine(self):
        good = {"storage/machine.cc": "absl::Now()\n",
                "storage/log/a.cc": "machine_.Await(mutex_, x);  // absl::Now()\n",
                "services/node/main.cc": "std::thread x;\n",
                "services/runtime/server.cc": "std::thread(x).detach();\n"}
        for line in ("absl::Now()", "absl::SleepFor(x)", "std::chrono::steady_clock::now()", "std::thread x",
                     "std::mt19937_64 x", "c.WaitWithTimeout(x)", "mutex_.Await(x)", "mutex_.AwaitWithTimeout(x)",
                     "absl::BitGen x"):
            self.expect(time_comes_from_the_machine, good, {"services/runtime/writer.cc": f"\n{line};\n"},
                        ("services/runtime/writer.cc:2", "`"))
        self.expect(time_comes_from_the_machine, good, {"services/runtime/server.cc": "machine_.Now();\n"},
                    ("services/runtime/server.cc:1", "nothing beside"))

    def test_no_nameless_folders(self):
        self.expect(no_nameless_folders, {"services/leases/a.h": ""}, {"storage/util/a.h": ""},
                    ("storage/util:1", "util"))

    def test_lines_are_short(self):
        self.expect(lines_are_short, {"a.cc": "x" * 120, "b.md": "x" * 200}, {"c.h": "\n" + "é" * 121},
                    ("c.h:2", "121"))

    def test_headers_say_what_they_are(self):
        good = {"a.h": "// What it is.\n#pragma once\n", "a.cc": "int x;\n"}
        self.expect(headers_say_what_they_are, good, {"b.h": "#pragma once\n"}, ("b.h:1", "no comment"))
        self.expect(headers_say_what_they_are, good, {"b.h": "// What.\n"}, ("b.h:1", "pragma"))

    def test_tests_do_not_sleep(self):
        nap = "sle" + "ep"
        good = {"tests/a_test.py": f"def wait_until(x):\n  while not x():\n    time.{nap}(0.1)\n",
                "tests/a_test.cc": "void WaitFor(int x) {\n  while (x) {\n    absl::SleepFor(y);\n  }\n}\n",
                "services/x.cc": "absl::SleepFor(y);\n"}
        self.expect(tests_do_not_sleep, good, {"events/b_test.py": f"def test_x():\n  time.{nap}(1)\n"},
                    ("events/b_test.py:2", "a sleep"))
        self.expect(tests_do_not_sleep, good, {"tests/b_test.cc": "TEST(A, B) {\n  absl::SleepFor(y);\n}\n"},
                    ("tests/b_test.cc:2", "a sleep"))
        # A helper above does not excuse what comes after it.
        self.expect(tests_do_not_sleep, good,
                    {"tests/b_test.cc": "void WaitFor(int x) {\n}\nint main() {\n  usleep(5);\n}\n"},
                    ("tests/b_test.cc:4", "a sleep"))

    def test_no_machine_paths(self):
        good = {"a.md": "/var/lib/concordat, $HOME/x, sites/paris/ro" + "ot, https://x/wo" + "rk/y, /proc/1\n"}
        for path in ("/wo" + "rk/main", "/ro" + "ot/.config", "/tm" + "p/pair", "/ho" + "me/ada"):
            self.expect(no_machine_paths, good, {"b.sh": f"\ncd {path}\n"}, ("b.sh:2", path))

    def test_alerts_have_runbooks(self):
        good = {RULES: ALERT, "docs/runbooks/ConcordatDown.md": RUNBOOK}
        self.expect(alerts_have_runbooks, good, {"docs/runbooks/ConcordatDown.md": None},
                    (f"{RULES}:1", "without a runbook"))
        self.expect(alerts_have_runbooks, good, {RULES: ALERT.replace("  x: docs/runbooks/ConcordatDown.md\n", "")},
                    (f"{RULES}:1", "without a link"))
        self.expect(alerts_have_runbooks, good, {"docs/runbooks/Other.md": RUNBOOK},
                    ("docs/runbooks/Other.md:1", "no alert"))
        self.expect(alerts_have_runbooks, good, {"docs/runbooks/ConcordatDown.md": RUNBOOK.replace("## Impact\n", "")},
                    ("docs/runbooks/ConcordatDown.md:1", "## Impact"))

    def test_decisions_have_their_parts(self):
        good = {"docs/adr/0001-one-log.md": ADR}
        self.expect(decisions_have_their_parts, good, {"docs/adr/0002-two.md": ADR.replace("## Evidence\n", "")},
                    ("docs/adr/0002-two.md:1", "## Evidence"))
        self.expect(decisions_have_their_parts, good, {"docs/adr/two.md": ADR}, ("docs/adr/two.md:1", "odd name"))

    def test_events_are_in_the_catalogue(self):
        good = {PROTO_PATH: PROTO, "docs/catalogue.md": "## leases\n| `Held` | x |\n"}
        self.expect(events_are_in_the_catalogue, good, {"docs/catalogue.md": "## other\n| `Held` | x |\n"},
                    (f"{PROTO_PATH}:14", "Held"))
        self.expect(events_are_in_the_catalogue, good,
                    {"docs/catalogue.md": "## leases\n| `Held` | x |\n| `Gone` | x |\n"},
                    ("docs/catalogue.md:1", "Gone"))

    def test_reasons_are_explained(self):
        good = {PROTO_PATH: PROTO, "docs/reasons.md": "## leases\n| `REASON_NO_CAPACITY` | x |\n"}
        self.expect(reasons_are_explained, good, {"docs/reasons.md": "## leases\n"},
                    (f"{PROTO_PATH}:6", "REASON_NO_CAPACITY"))

    def test_metrics_exist(self):
        good = {TELEMETRY: 'family("concordat_up", x); Name("concordat_took_seconds")',
                RULES: "expr: concordat_up == 0",
                "docs/runbooks/A.md": "`concordat_took_seconds_bucket`\n"}
        self.expect(metrics_exist, good, {"docs/operations/run.md": "\nSee concordat_down.\n"},
                    ("docs/operations/run.md:2", "concordat_down"))

    def test_paths_in_documents_exist(self):
        good = {"README.md": "[a](docs/a.md), `storage/log/{log,kafka}.h`, `tests/*`, https://x.y/z, `storage/<x>.h`\n"
                             "```\n`docs/none.md`\n```\n", "docs/a.md": "[up](../README.md#x)\n",
                "storage/log/log.h": "",
                "storage/log/kafka.h": "", "tests/a.py": ""}
        self.expect(paths_in_documents_exist, good, {"docs/b.md": "\n[x](none.md)\n"}, ("docs/b.md:2", "none.md"))
        self.expect(paths_in_documents_exist, good, {"docs/b.md": "`storage/log/{log,none}.h`\n"},
                    ("docs/b.md:1", "storage/log/none.h"))
        self.expect(paths_in_documents_exist, good, {"docs/b.md": "`CONTRIBUTING.md`\n"},
                    ("docs/b.md:1", "CONTRIBUTING"))

    def test_tests_in_documents_exist(self):
        good = {"tests/services/a_test.cc": "TEST(Endings, OfOneUse) {\nTEST_F(Late,\n       Start) {\n",
                "docs/a.md": "`Endings.OfOneUse`, `Late.Start`, `a.b`, `README.md`\n"}
        self.expect(tests_in_documents_exist, good, {"docs/b.md": "\n| 1 | `Endings.Lost` |\n"},
                    ("docs/b.md:2", "Endings.Lost"))

    def test_dev_commands_exist(self):
        good = {"dev": DEV, "README.md": "    ./dev demo\n", "x.cc": '"./dev help"'}
        self.expect(dev_commands_exist, good, {"docs/a.md": "run `./dev fly`\n"}, ("docs/a.md:1", "./dev fly"))

    def test_cli_commands_exist(self):
        good = {"services/cli/catalogue.cc": CATALOGUE, "services/cli/cli.cc": 'AddCommand(line.app, "get", "x");',
                "docs/a.md": "    concordat get servers\n`concordat --site paris open site x`, the concordat of two\n"}
        self.expect(cli_commands_exist, good, {"docs/b.md": "```\nconcordat fly\n```\n"},
                    ("docs/b.md:2", "concordat fly"))

    def test_invariants_of_the_model_are_named(self):
        good = {"tests/model/a.pml": "INVARIANT(OneAnswer)\nCHECK(OneAnswer, true, x);\n",
                "tests/model/chain.pml": "#define INVARIANT(name) x\n#define CHECK(name, when, holds) y\n",
                ARCHITECTURE: f"{MODEL_HEADING}\n| invariant | what |\n| `OneAnswer` | of `Writer` |\n\n"
                              "## More\n| `Other` | x |\n"}
        self.expect(invariants_of_the_model_are_named, good,
                    {"tests/model/b.pml": "\nINVARIANT(GapIsSeen)\nCHECK(GapIsSeen, true, x);\n"},
                    ("tests/model/b.pml:2", "GapIsSeen"))
        self.expect(invariants_of_the_model_are_named, good, {"tests/model/a.pml": "INVARIANT(OneAnswer)\n"},
                    ("tests/model/a.pml:1", "never checked"))
        self.expect(invariants_of_the_model_are_named, good,
                    {ARCHITECTURE: f"{MODEL_HEADING}\n| `OneAnswer`, `GapIsSeen` | x |\n"},
                    (f"{ARCHITECTURE}:1", "GapIsSeen"))

    def test_counts_are_counted(self):
        good = {"tests/a_test.cc": "TEST(A, B) {\n" + "x\n" * 900 + "RC_GTEST_PROP(A, C, ()) {\n",
                "tests/b_test.py": "    def test_x(self):\n", "tests/fuzz/record_fuzz.cc": "x\n",
                "tests/fuzz/corpus/record/a": "x", "tests/model/writer.pml": "x\n",
                "tests/model/model_test.py": "BROKEN = [\n    ('A', 'b'),\n]\n",
                "tests/simulation/inside.h": "enum class Fault {\n  kCrash,\n  kCount,\n};\n",
                "tests/simulation/faults.cc": 'Count("append-lost"); Violation("quiet", x);\n',
                "services/runtime/writer.cc": "x\n" * 900 + 'storage::Failpoint(machine_, "after_append");\n',
                "events/flaw.h": "enum class Flaw {\n  kNone,\n  kNeverVoids,\n  kCount,\n};\n",
                "tests/torture/faults.py": 'KINDS = ("service killed")\n',
                "tests/torture/checker.py": 'ANOMALIES = ("lost write")\n',
                "tests/tidy_test.py": "REPOSITORY_RULES = (\n    a,\n)\n"}
        with tempfile.TemporaryDirectory() as folder:
            for path, text in good.items():
                (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / path).write_text(text)
            good[counts.DOCUMENT] = "# Testing\n\n" + counts.block(Tree(folder)) + "\n"
        self.expect(counts_are_counted, good, {"tests/c_test.cc": "TEST(C, D) {}\n"},
                    (f"{counts.DOCUMENT}:3", "other counts"))
        self.expect(counts_are_counted, good, {counts.DOCUMENT: "# Testing\n"}, (f"{counts.DOCUMENT}:1", "no place"))
        self.expect(counts_are_counted, good, {"tests/model/writer.pml": None},
                    ("tests/counts.py:1", "no models"), (f"{counts.DOCUMENT}:3", "other counts"))

    def test_every_rule_is_tried_here(self):
        tried = {name for name in dir(self) if name.startswith("test_")}
        self.assertEqual([rule.__name__ for rule in REPOSITORY_RULES if f"test_{rule.__name__}" not in tried], [])


if __name__ == "__main__":
    unittest.main()
