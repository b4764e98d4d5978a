"""What the parts of kafka.py share."""

import json
import os
import sys


class Failure(Exception):
    """Something the caller can act on: what was found, what was expected, what to do."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def lines(*texts):
    return "\n".join(texts) + "\n"


def write_json(path, data):
    """By renaming, so that a reader never sees half of it."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(data, indent=2) + "\n")
    os.replace(new, path)
