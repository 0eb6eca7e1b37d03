"""``pkpo-report``: one HTML file about a folder of runs. It opens from disk without a network.

It shows learning curves, the figures of finished experiments, a table of all runs, what their
configs share and where they differ, failures, versions, and the command for each run. Everything
that runs wrote is shown as text: none of it is executed.
"""

import argparse
import sys
from pathlib import Path

from pkpo_sandbox.figures.terminal import drawing_command


@drawing_command()
def main() -> None:
    """The command ``pkpo-report``."""
    from pkpo_sandbox.figures.report.page import write

    parser = argparse.ArgumentParser(description="Write one HTML file about a folder of runs.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of runs, such as runs/train")
    parser.add_argument("--output", type=Path, help="where to write (default: FOLDER/report.html)")
    arguments = parser.parse_args()
    output = arguments.output or arguments.folder / "report.html"
    try:
        write(arguments.folder, output)
    except (ValueError, OSError) as error:
        sys.exit(f"pkpo-report: {error}")
    print(output, flush=True)
