"""The command line; each command imports what it needs when it runs, so that ``--help`` is immediate."""

import sys

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
    try:
        from celestepy.cli.console import run
        from celestepy.cli.parser import build_parser

        return run(build_parser().parse_args(arguments))
    except KeyboardInterrupt:  # while modules were imported, before `run` minds it
        print("celestepy: interrupted before anything was begun; nothing was written", file=sys.stderr)
        return 130


def __getattr__(name):
    """Load `build_parser` when it is first asked for, so that nothing is imported where Ctrl-C is not minded yet."""
    if name == "build_parser":
        from celestepy.cli.parser import build_parser

        return build_parser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
