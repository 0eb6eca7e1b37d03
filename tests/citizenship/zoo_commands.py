"""Runs commands of the guide in one process, in RL Zoo's environment and without a screen.

``python zoo_commands.py COMMANDS`` where COMMANDS is a JSON list of commands, each a list of words
that begins with ``python zoo.py``, ``python -c``, ``pkpo-train`` or ``rl_zoo3``. What the commands
would show is written to ``curves.json``: for each window the list of its lines, each an [x, y].
"""

import json
import runpy
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import torch
from matplotlib import pyplot as plt

shown: list[list] = []


def show(*_args, **_kwargs) -> None:
    """Keep the lines of every open window."""
    for number in plt.get_fignums():
        axes = plt.figure(number).axes
        lines = [line for each in axes for line in each.get_lines()]
        shown.append([[list(line.get_xdata()), list(line.get_ydata())] for line in lines])
    plt.close("all")


def run(words: list[str]) -> None:
    if words[:2] == ["python", "-c"]:
        exec(words[2], {})
    elif words[0] == "python":
        sys.argv = words[1:]
        runpy.run_path(words[1], run_name="__main__")
    elif words[0] == "pkpo-train":
        from pkpo_sandbox.runs.train import main

        sys.argv = words
        main()
    else:
        from rl_zoo3.cli import main

        sys.argv = words
        main()


if __name__ == "__main__":
    commands = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    plt.show = show
    for command in commands:
        run(command)
        sys.stdout.flush()
    Path("curves.json").write_text(json.dumps(shown, default=float))
