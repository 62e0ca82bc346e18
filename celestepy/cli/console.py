"""What the user sees of a run: messages, warnings and errors, one line each, and the exit code."""

import contextlib
import logging
import os
import signal
import sys
import traceback
import warnings

__all__ = ["CommandError", "run"]

DONE, INTERNAL, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
# Loggers whose ordinary messages tell the user how far the run is.
NARRATORS = ("celestepy.cli", "celestepy.pipeline", "celestepy.demo")

log = logging.getLogger(__name__)


class CommandError(Exception):
    """Something the user can put right; the message is one line."""


def run(options):
    """Run a parsed command line, and turn whatever happens into one line and an exit code.

    Parameters
    ----------
    options : argparse.Namespace
        From `celestepy.cli.parser.build_parser`.

    Returns
    -------
    int
        The exit code.
    """
    with _messages(options), _warnings(options), _interrupts():
        try:
            from celestepy.cli import commands

            return getattr(commands, options.command)(options) or DONE
        except KeyboardInterrupt:
            return _report("interrupted before anything was finished; nothing was written", INTERRUPTED)
        except BrokenPipeError:  # the reader of our output has gone, as in `celestepy score ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        except Exception as error:
            if options.debug:
                traceback.print_exc()
            return _report(*_verdict(error))


def interrupted(n_finished, n_begun, n_untouched, path, draws=None):
    """Say what an interrupted run has left and how to go on, and return the exit code."""
    advice = "" if draws is None else f"; to continue with the draws in {draws}, add --overwrite to the same command"
    return _report(
        f"interrupted: {n_finished} sources are finished, {n_begun} have a first fit only (status FIRST_FIT) and "
        f"{n_untouched} no estimates (NOT_FITTED); all are written to {path}{advice}",
        INTERRUPTED,
    )


def stopped(text):
    """Say what another run that was interrupted has left, and return the exit code."""
    return _report(f"interrupted: {text}", INTERRUPTED)


def _verdict(error):
    """The line for an exception, and the exit code."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}", UNUSABLE
    if isinstance(error, (CommandError, OSError, ImportError)) or _is_our_complaint(error):
        return text, UNUSABLE
    if isinstance(error, MemoryError):
        return f"out of memory ({text}); give fewer images at a time, or a higher --threshold", UNUSABLE
    return (
        f"internal error: {type(error).__name__}: {text}; run again with --debug and report what it prints",
        INTERNAL,
    )


def _is_our_complaint(error):
    """Whether celestepy itself has refused a value, rather than a library it has called with a wrong one."""
    frame = None
    for frame, _ in traceback.walk_tb(error.__traceback__):  # noqa: B007 - the last one is wanted
        pass
    ours = frame is not None and frame.f_globals.get("__name__", "").startswith("celestepy")
    return ours and isinstance(error, ValueError)


def _report(text, code):
    print(f"celestepy: error: {text}" if code != INTERRUPTED else f"celestepy: {text}", file=sys.stderr)
    return code


class _Lines(logging.Handler):
    """Log records as lines on standard error that do not tear a progress bar."""

    def __init__(self, debug):
        super().__init__()
        self.debug = debug

    def emit(self, record):
        with contextlib.suppress(OSError):  # a terminal that is gone must not end the run
            self._write(record)

    def _write(self, record):
        from tqdm import tqdm

        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text += f": {type(error).__name__}: {' '.join(str(error).split())}"
        if record.levelno >= logging.WARNING:
            text = f"celestepy: {record.levelname.lower()}: {text}"
        tqdm.write(text, file=sys.stderr)
        if self.debug and record.exc_info:
            tqdm.write("".join(traceback.format_exception(*record.exc_info)), file=sys.stderr)


@contextlib.contextmanager
def _messages(options):
    """Log to standard error at the level that the options ask for."""
    package, handler = logging.getLogger("celestepy"), _Lines(options.debug)
    narrators = [logging.getLogger(name) for name in NARRATORS]
    before = [(logger, logger.level) for logger in (package, *narrators)]
    usual = (logging.WARNING, logging.INFO, logging.DEBUG)
    package.setLevel(logging.ERROR if options.quiet else usual[min(options.verbose, 2)])
    for narrator in narrators:
        narrator.setLevel(logging.NOTSET if options.quiet or options.verbose else logging.INFO)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        for logger, level in before:
            logger.setLevel(level)


@contextlib.contextmanager
def _warnings(options):
    """Show each warning for the user once, as a line; those for programmers only if more is to be logged."""
    import astropy  # noqa: F401 - it sets a way of its own to show warnings, which ours has to come after

    seen = set()

    def show(message, category, filename, lineno, file=None, line=None):
        text = " ".join(str(message).split())
        if text not in seen:
            seen.add(text)
            log.warning("%s", text)

    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.simplefilter("always" if options.verbose else "ignore")
        warnings.simplefilter("always", UserWarning)
        yield


def _signals():
    """Signals that ask the program to end; a hang-up only where nohup has not said to ignore it."""
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    polite = (signal.SIGINT, signal.SIGTERM)
    return polite if hang_up is None or signal.getsignal(hang_up) is signal.SIG_IGN else (*polite, hang_up)


@contextlib.contextmanager
def _interrupts():
    """Take the first Ctrl-C (or SIGTERM, SIGHUP) as a wish to finish early; ignore the second, obey the third."""
    count, terminals = 0, [number for number in (1, 2) if os.isatty(number)]

    def handle(number, frame):
        nonlocal count
        count += 1
        if number not in (signal.SIGINT, signal.SIGTERM):
            for terminal in terminals:  # it has hung up, and writing to it would fail
                os.dup2(os.open(os.devnull, os.O_WRONLY), terminal)
        if count == 2:
            print(
                "celestepy: finishing what is running and writing it; once more to give it up",
                file=sys.stderr,
            )
        else:
            raise KeyboardInterrupt

    try:
        before = {number: signal.signal(number, handle) for number in _signals()}
    except ValueError:  # not in the main thread, where signals do not arrive
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
