"""The command line; each command imports what it needs when it runs, so that ``--help`` is immediate."""

from celestepy.cli.console import run
from celestepy.cli.parser import build_parser

__all__ = ["build_parser", "main"]


def main(arguments=None):
    """Run ``celestepy``.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        0 if all went well, 1 after an internal error, 2 if the input or the output cannot be used, 130
        after Ctrl-C.
    """
    return run(build_parser().parse_args(arguments))
