#!/usr/bin/env python3
"""Kafka for development and tests, without containers.

  kafka.py install                             put the pinned jars into the cache
  kafka.py broker --dir DIR                    one broker and controller, in the foreground
  kafka.py topic  --bootstrap B --create NAME  create, alter, delete, describe a topic
  kafka.py mirror --dir DIR --site A=B ...     MirrorMaker 2 between brokers, in the foreground
  kafka.py pair up --dir DIR                   two sites and the mirror between them, detached

Everything listens on 127.0.0.1 only. `kafka.py COMMAND --help` says more.
"""

import argparse
import re
import signal
import sys

from broker import Broker, EVENT_LOG, HOME_LOG, topic_tool
from common import Failure, say
from install import ensure_installed
from jvm import run_in_foreground
from mirror import MirrorMaker, require_broker
from pair import Pair

SERVICES = ("inventory", "reservations", "compliance", "deployment")


def names(text):
    found = [name for name in text.split(",") if name]
    for name in found:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name):
            raise argparse.ArgumentTypeError(
                f"found the topic name {name!r}; expected letters, digits, '.', '_' and '-'")
    return found


def site_names(text):
    found = text.split(",")
    if len(found) < 2 or len(set(found)) != len(found):
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected two or more different sites, e.g. paris,borlange")
    for name in found:
        check_site(name)
    return found


def check_site(name):
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name) or name == "mirror":
        raise argparse.ArgumentTypeError(
            f"found the site {name!r}; expected lower-case letters, digits and '-', "
            "and not `mirror`")


def setting(text):
    key, equals, value = text.partition("=")
    if not key or not equals or " " in text:
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected NAME=VALUE without blanks, e.g. retention.ms=-1")
    return key, value


def address(text):
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected HOST:PORT, e.g. 127.0.0.1:9092")
    return text


def port_number(text):
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a port, 1 to 65535")
    return int(text)


def heap_size(text):
    if not re.fullmatch(r"[0-9]+[kmg]", text):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a size such as 384m or 1g")
    return text


def site_address(text):
    name, equals, where = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected SITE=HOST:PORT, e.g. paris=127.0.0.1:9092")
    check_site(name)
    return name, address(where)


def site_topics(text):
    name, equals, topics = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected SITE=TOPIC,TOPIC, e.g. paris=paris.inventory.events")
    check_site(name)
    return name, names(topics)


def command_install(_):
    ensure_installed()


def command_broker(options):
    ensure_installed()
    topics = {name: HOME_LOG for name in options.topics}
    topics.update({name: EVENT_LOG for name in options.mirrored_topics})
    run_in_foreground(Broker(options.dir, topics, options.port, options.controller_port,
                             options.advertised, options.heap, options.session_ms,
                             options.log_level, benchmark=options.benchmark),
                      options.until_stdin_closes)


def command_topic(options):
    ensure_installed()
    require_broker(options.bootstrap, "a broker")
    settings = dict(options.config)
    if options.create:
        kind = {} if options.plain else EVENT_LOG if options.mirrored else HOME_LOG
        topics = {name: {**kind, **settings} for name in options.create}
        topic_tool(options.bootstrap, "create", topics)
    elif options.alter:
        if not settings:
            raise Failure("found --alter without --config; expected what to alter; "
                          "add --config NAME=VALUE")
        topic_tool(options.bootstrap, "alter", {name: settings for name in options.alter})
    elif options.delete:
        topic_tool(options.bootstrap, "delete", {name: {} for name in options.delete})
    else:
        print(topic_tool(options.bootstrap, "describe", {name: {} for name in options.describe}),
              end="")


def command_mirror(options):
    sites = dict(options.site)
    if len(sites) < 2 or len(sites) != len(options.site):
        raise Failure(f"found {len(options.site)} --site options naming {len(sites)} sites; "
                      "expected two or more, each once; add --site NAME=HOST:PORT")
    ensure_installed()
    run_in_foreground(MirrorMaker(options.dir, sites, options.heap, options.offset_flush_ms,
                                  options.log_level), options.until_stdin_closes)


def command_pair_up(options):
    ensure_installed()
    chosen = dict(options.topics_for)
    strangers = set(chosen) - set(options.sites)
    if strangers:
        raise Failure(f"found --topics-for {', '.join(sorted(strangers))}; "
                      f"expected one of the sites {', '.join(options.sites)}")
    Pair(options.dir).up(options.sites, {
        site: chosen.get(site, [f"{site}.{service}.events" for service in SERVICES])
        for site in options.sites})


def command_pair_down(options):
    Pair(options.dir).down(options.keep_data)


def command_pair_status(options):
    sys.exit(0 if Pair(options.dir).status() else 1)


def command_pair_cut(options):
    Pair(options.dir).signal_mirror(signal.SIGSTOP)
    say("cut: the mirror's JVM is stopped; `pair heal` lets it go on")


def command_pair_heal(options):
    Pair(options.dir).signal_mirror(signal.SIGCONT)
    say("healed: the mirror's JVM goes on")


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(group, name, function, text):
        command = group.add_parser(name, help=text.splitlines()[0], description=text,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
        command.set_defaults(function=function)
        return command

    add(commands, "install", command_install, "Put the pinned jars into the cache.\n\n"
        "The other commands do this by themselves. The cache is $CONCORDAT_CACHE, or\n"
        "~/.cache/concordat. Needs a JDK (17 or later) and Maven.")

    def add_foreground(name, function, text, heap):
        command = add(commands, name, function, text)
        command.add_argument("--dir", required=True, help="folder for data, settings and log")
        command.add_argument("--heap", type=heap_size, default=heap,
                             help="the JVM's largest heap (default %(default)s)")
        command.add_argument("--log-level", default="warn",
                             choices=["error", "warn", "info", "debug"],
                             help="how much the log file tells (default %(default)s)")
        command.add_argument("--until-stdin-closes", action="store_true",
                             help="stop also when standard input ends")
        return command

    broker = add_foreground(
        "broker", command_broker,
        "Run one broker and controller until SIGTERM or SIGINT.\n\n"
        "Prints one line when it serves and the topics exist:\n"
        '  READY {"bootstrap": "127.0.0.1:PORT", "pid": JVM, ...}\n'
        "An existing DIR is served again, at the same address. If this process dies, its JVM is\n"
        "killed; if the JVM dies, this process says so and ends with 1.", "384m")
    broker.add_argument("--port", type=port_number,
                        help="where clients connect (default: as before, or a free one)")
    broker.add_argument("--controller-port", type=port_number,
                        help="where the controller listens (default: as before, or a free one)")
    broker.add_argument("--topics", type=names, default=[], metavar="A,B",
                        help="event logs at home here: kept for ever, on disk before acknowledged")
    broker.add_argument("--mirrored-topics", type=names, default=[], metavar="A,B",
                        help="event logs copied here from another site: kept for ever")
    broker.add_argument("--advertised", type=address, metavar="HOST:PORT",
                        help="the address told to clients, for a TCP proxy in front; it is also "
                             "the `bootstrap` of READY, where `direct` goes past the proxy")

    broker.add_argument("--session-ms", type=int, default=2000, metavar="MS",
                        help="how long the controller waits for a silent broker; a start after "
                             "kill -9 takes this much longer (default %(default)s)")

    broker.add_argument("--benchmark", action="store_true",
                        help="run as Kafka's own start script does: both compilers, G1, a heap of "
                             "1 GB, default threads; starts more slowly")

    topic = add(
        commands, "topic", command_topic,
        "Create, alter, delete or describe topics; returns when the broker shows the effect.\n\n"
        "A created topic has one partition and the settings of an event log at home;\n"
        "--config adds to them. --describe prints one JSON document a line.")
    topic.add_argument("--bootstrap", type=address, required=True, metavar="HOST:PORT")
    action = topic.add_mutually_exclusive_group(required=True)
    for name in ("create", "alter", "delete", "describe"):
        action.add_argument(f"--{name}", type=names, metavar="NAME[,NAME]")
    topic.add_argument("--config", type=setting, action="append", default=[],
                       metavar="NAME=VALUE", help="a setting, for --create and --alter")
    kind = topic.add_mutually_exclusive_group()
    kind.add_argument("--mirrored", action="store_true",
                      help="create with the settings of an event log that is a copy")
    kind.add_argument("--plain", action="store_true", help="create with Kafka's own settings")

    mirror = add_foreground(
        "mirror", command_mirror,
        "Run MirrorMaker 2 between all sites until SIGTERM or SIGINT.\n\n"
        "Only topics whose name starts with `SITE.` leave a site, under the same name; they must\n"
        "exist at both ends. Prints READY {...} when all connectors run. What has been copied is\n"
        "remembered on the brokers, so it resumes, with any --dir, after kill -9 too; then the\n"
        "records since the last flush of offsets come twice.", "320m")
    mirror.add_argument("--site", type=site_address, action="append", required=True,
                        metavar="NAME=HOST:PORT", help="a site's broker; give two or more")
    mirror.add_argument("--offset-flush-ms", type=int, default=5000, metavar="MS",
                        help="how often it remembers what it copied (default %(default)s)")

    pair = commands.add_parser("pair", help="Sites and the mirror between them, detached.",
                               description="Sites and the mirror between them, detached.")
    actions = pair.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add_pair(name, function, text):
        command = add(actions, name, function, text)
        command.add_argument("--dir", required=True, help="folder for the data and state.json")
        return command

    up = add_pair("up", command_pair_up,
                  "Start a broker for each site and the mirror.\n\n"
                  "They stay when this command ends; `pair down` ends them. If some of them run,\n"
                  "the missing ones are started; if all do, it says so and ends with 1.")
    up.add_argument("--sites", type=site_names, default=["paris", "borlange"], metavar="A,B",
                    help="default: paris,borlange")
    up.add_argument("--topics-for", type=site_topics, action="append", default=[],
                    metavar="SITE=TOPIC,TOPIC",
                    help=f"a site's own topics (default: SITE.SERVICE.events for "
                         f"{', '.join(SERVICES)})")
    down = add_pair("down", command_pair_down, "Stop everything and remove the data.")
    down.add_argument("--keep-data", action="store_true", help="for a later `pair up`")
    add_pair("status", command_pair_status,
             "Say what runs, with addresses and pids.\n\nEnds with 1 if something does not run.")
    add_pair("cut", command_pair_cut,
             "Cut the sites off from one another.\n\n"
             "Honestly: the mirror's JVM is stopped with SIGSTOP. Connections stay open and no\n"
             "packet is lost; nothing is copied until `pair heal`. A cut longer than two minutes\n"
             "makes the mirror rejoin its groups, which adds some seconds to the healing.")
    add_pair("heal", command_pair_heal, "Let the mirror go on after `pair cut` (SIGCONT).")
    return parser.parse_args(arguments)


def main():
    options = parse(sys.argv[1:])
    try:
        options.function(options)
    except Failure as failure:
        say(f"kafka.py: {failure}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
