"""The command line in a process that kills itself.

``python -m tests.dying CALL NUMBER ARGUMENTS`` dies in a CALL, when it comes to it for the
NUMBER-th time: making a ``batch``, flushing a file of a checkpoint to the disk (``flush``), or
giving a folder its name (``rename``).
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path

from evolving_attention.cli import main
from evolving_attention.tasks.time_series import TimeSeriesTask

_PLACES = {"batch": (TimeSeriesTask, "collate"), "flush": (os, "fsync"), "rename": (Path, "rename")}


def die_in(call, number):
    owner, name = _PLACES[call]
    original, calls = getattr(owner, name), count(1)

    def call_or_die(*arguments, **options):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, call_or_die)


if __name__ == "__main__":
    die_in(sys.argv[1], int(sys.argv[2]))
    main(sys.argv[3:])
