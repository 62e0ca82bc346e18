"""The command line without a field: help, options, messages, exit codes, and places to write to."""

import logging
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
from astropy.utils.exceptions import AstropyUserWarning

from celestepy import __version__
from celestepy.cli import build_parser, commands, console, main, output, parser
from celestepy.cli.console import CommandError
from celestepy.pipeline import METHODS

PROGRAM = [sys.executable, "-c", "import sys; from celestepy.cli import main; sys.exit(main())"]
COMMANDS = ("catalog", "deblend", "demo", "simulate", "priors", "score")


@pytest.fixture
def score_does(monkeypatch):
    """Replace what `celestepy score` does by a function of its options."""

    def replace(function):
        monkeypatch.setattr(commands, "score", function)

    return replace


def run_score(*options):
    return main(["score", "a.fits", "b.fits", *options])


def the_line(capsys):
    """The one line on standard error."""
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == ""
    return line


class TestHelp:
    def test_is_fast_because_nothing_heavy_is_imported(self):
        program = (
            "import sys; from celestepy.cli import main\n"
            "try: main(['--help'])\n"
            "except SystemExit: print({'numpy', 'scipy', 'astropy', 'joblib', 'sep'} & set(sys.modules))"
        )
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert result.stdout.splitlines()[-1] == "set()"

    @pytest.mark.parametrize("command", COMMANDS)
    def test_each_command_has_an_example_that_can_be_parsed(self, command, capsys):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        lines = capsys.readouterr().out.splitlines()
        examples = [line.split()[1:] for line in lines if line.startswith(f"  celestepy {command} ")]
        assert examples
        assert all(build_parser().parse_args(example).command == command for example in examples)

    def test_lists_the_commands(self, capsys):
        with pytest.raises(SystemExit, match="0"):
            main(["--help"])
        text = capsys.readouterr().out
        assert all(command in text for command in COMMANDS)

    def test_version(self, capsys):
        with pytest.raises(SystemExit, match="0"):
            main(["--version"])
        assert capsys.readouterr().out == f"celestepy {__version__}\n"

    def test_the_methods_are_those_of_the_pipeline(self):
        assert parser.METHODS == METHODS


class TestOptions:
    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            ([], "COMMAND"),
            (["catalogue"], "'catalogue'"),
            (["catalog", "field"], "--output"),
            (
                ["catalog", "field", "-o", "a.fits", "--n-jobs", "0"],
                "--n-jobs: expected a whole number from 1 on",
            ),
            (["catalog", "field", "-o", "a.fits", "--n-jobs", "two"], "got 'two'"),
            (["catalog", "field", "-o", "a.fits", "--seed", "-3"], "--seed"),
            (
                ["catalog", "field", "-o", "a.fits", "--threshold", "nan"],
                "--threshold: expected a number above 0",
            ),
            (["catalog", "field", "-o", "a.fits", "--method", "slow"], "'slow'"),
            (["catalog", "field", "-o", "a.fits", "--quiet", "--verbose"], "not allowed with"),
            (["demo", "--n-sources", "0"], "--n-sources"),
            (["score", "cat.fits"], "TRUTH"),
        ],
    )
    def test_wrong_ones_end_with_one_line(self, arguments, part, capsys):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        line = the_line(capsys)
        assert line.startswith("celestepy: error: ")
        assert part in line
        assert line.endswith("--help")


class TestExitCodes:
    """Exceptions of every kind become one line and a code, never a traceback."""

    def test_success(self, score_does):
        score_does(lambda options: None)
        assert run_score() == 0

    def raise_(self, error, capsys, score_does, *options):
        def fail(_):
            raise error

        score_does(fail)
        return run_score(*options), capsys.readouterr().err

    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (CommandError("cat.fits: is wrong"), "cat.fits: is wrong"),
            (
                FileNotFoundError(2, "No such file or directory", "a.fits"),
                "a.fits: No such file or directory",
            ),
            (OSError(28, "No space left on device", "b.fits"), "b.fits: No space left on device"),
            (OSError("the disk is made\nof cheese"), "the disk is made of cheese"),
            (ImportError("--plots needs matplotlib: install it"), "--plots needs matplotlib: install it"),
        ],
    )
    def test_of_what_the_user_can_put_right(self, error, line, capsys, score_does):
        assert self.raise_(error, capsys, score_does) == (2, f"celestepy: error: {line}\n")

    def test_of_a_value_that_celestepy_refuses(self, capsys, tmp_path):
        """The real thing: raised far below, by a module of the package."""
        path = tmp_path / "absent.fits"
        assert main(["score", str(path), str(path)]) == 2
        assert the_line(capsys) == f"celestepy: error: {path}: no such file; expected a table"

    @pytest.mark.parametrize(
        "error", [ValueError("shapes do not match"), KeyError("a"), ZeroDivisionError("0 / 0")]
    )
    def test_of_a_mistake_of_ours(self, error, capsys, score_does):
        """A ValueError from outside of the package, such as NumPy raises, is not meant for users."""
        code, text = self.raise_(error, capsys, score_does)
        (line,) = text.splitlines()
        assert code == 1
        assert line.startswith(f"celestepy: error: internal error: {type(error).__name__}: ")
        assert "--debug" in line

    def test_debug_shows_the_traceback(self, capsys, score_does):
        _, text = self.raise_(KeyError("a"), capsys, score_does, "--debug")
        assert text.startswith("Traceback")
        assert text.splitlines()[-1].startswith("celestepy: error: ")

    def test_of_an_interruption_before_there_is_anything(self, capsys, score_does):
        code, text = self.raise_(KeyboardInterrupt(), capsys, score_does)
        assert (code, text) == (
            130,
            "celestepy: interrupted before anything was finished; nothing was written\n",
        )

    def test_of_memory(self, capsys, score_does):
        code, text = self.raise_(MemoryError("Unable to allocate 3 TiB"), capsys, score_does)
        assert code == 2
        assert "3 TiB" in text

    def test_a_reader_that_goes_away_is_no_error(self):
        """As in `celestepy score ... | head -1`, with a pipe that is closed before anything is written."""
        program = (
            "import sys; from celestepy.cli import commands, main\n"
            "commands.score = lambda options: print('x' * 1000000, flush=True)\n"
            "sys.stdin.read(1); sys.exit(main(['score', 'a', 'b']))"
        )
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=pipe)
        process.stdout.close()
        process.stdin.write(b"x")
        process.stdin.close()
        assert (process.wait(60), process.stderr.read()) == (0, b"")
        process.stderr.close()


class TestMessages:
    def speak(self, _):
        logging.getLogger("celestepy.pipeline").info("reading")
        logging.getLogger("celestepy.inference.fast").info("sweeping")
        logging.getLogger("celestepy.inference.fast").debug("radius %d", 3)
        warnings.warn("the PSF\n  is poor", AstropyUserWarning, stacklevel=1)
        warnings.warn("the PSF is poor", AstropyUserWarning, stacklevel=1)
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)

    @pytest.mark.parametrize(
        ("options", "lines"),
        [
            ([], ["reading", "celestepy: warning: the PSF is poor"]),
            (["--quiet"], []),
            (
                ["-v"],
                [
                    "reading",
                    "sweeping",
                    "celestepy: warning: the PSF is poor",
                    "celestepy: warning: overflow",
                ],
            ),
            (
                ["-vv"],
                [
                    "reading",
                    "sweeping",
                    "radius 3",
                    "celestepy: warning: the PSF is poor",
                    "celestepy: warning: overflow",
                ],
            ),
        ],
    )
    def test_are_as_many_as_asked_for(self, options, lines, score_does, capsys):
        score_does(self.speak)
        assert run_score(*options) == 0
        assert capsys.readouterr().err.splitlines() == lines

    def test_a_logged_exception_is_one_line(self, score_does, capsys):
        def fail(_):
            try:
                raise ZeroDivisionError("0 /\n0")
            except ZeroDivisionError:
                logging.getLogger("celestepy.inference").exception("fit failed for the sources (1, 2)")

        score_does(fail)
        run_score()
        expected = "celestepy: error: fit failed for the sources (1, 2): ZeroDivisionError: 0 / 0"
        assert the_line(capsys) == expected

    def test_logging_is_left_as_it_was(self, score_does):
        logger = logging.getLogger("celestepy")
        before = logger.level, list(logger.handlers), warnings.showwarning, signal.getsignal(signal.SIGINT)
        score_does(self.speak)
        run_score("-v")
        assert (
            logger.level,
            logger.handlers,
            warnings.showwarning,
            signal.getsignal(signal.SIGINT),
        ) == before


class TestInterrupts:
    def test_the_second_is_ignored_and_the_third_obeyed(self, score_does, capsys):
        """The first ends the fit, a second must not spoil the writing of what is finished."""
        reached = []

        def work(_):
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                reached.append("first")
            signal.raise_signal(signal.SIGINT)
            reached.append("second")
            signal.raise_signal(signal.SIGINT)
            reached.append("third")

        score_does(work)
        assert run_score() == 130
        assert reached == ["first", "second"]
        assert "once more" in capsys.readouterr().err.splitlines()[0]

    def test_a_polite_kill_is_one_too(self, score_does):
        score_does(lambda _: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(10))
        assert run_score() == 130


    @pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no hang-ups")
    @pytest.mark.parametrize(("before", "code"), [(signal.SIG_DFL, 130), (signal.SIG_IGN, 0)])
    def test_a_hang_up_is_one_but_under_nohup(self, score_does, before, code):
        usual = signal.signal(signal.SIGHUP, before)
        try:
            score_does(lambda _: os.kill(os.getpid(), signal.SIGHUP) or time.sleep(0.2))
            assert run_score() == code
            assert signal.getsignal(signal.SIGHUP) == before
        finally:
            signal.signal(signal.SIGHUP, usual)

    @pytest.mark.skipif(sys.platform != "linux", reason="needs a terminal that can be hung up")
    def test_a_terminal_that_goes_away_loses_nothing(self, tmp_path):
        """What is written and said after the hang-up, which no one can read any more, must not end the run."""
        program = (
            "import fcntl, logging, pathlib, sys, termios, time\n"
            "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
            "from celestepy.cli import commands, main\n"
            "folder = pathlib.Path(sys.argv[1])\n"
            "def work(options):\n"
            "    (folder / 'begun').touch()\n"
            "    try: time.sleep(30)\n"
            "    except KeyboardInterrupt: logging.getLogger('celestepy').warning('interrupted')\n"
            "    print('x', flush=True)\n"
            "    (folder / 'written').touch()\n"
            "    return 130\n"
            "commands.score = work\n"
            "sys.exit(main(['score', 'a', 'b']))"
        )
        terminal, theirs = os.openpty()
        streams = dict(stdin=theirs, stdout=theirs, stderr=theirs)
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], start_new_session=True, **streams
        )
        os.close(theirs)
        for _ in range(600):
            if (tmp_path / "begun").exists():
                break
            time.sleep(0.05)
        os.close(terminal)
        assert process.wait(60) == 130
        assert (tmp_path / "written").exists()

    def test_while_modules_are_imported(self, monkeypatch, capsys):
        """Ctrl-C before the program minds signals."""

        def importing(options):
            raise KeyboardInterrupt

        monkeypatch.setattr("celestepy.cli.console.run", importing)
        assert run_score() == 130
        assert the_line(capsys) == "celestepy: interrupted before anything was begun; nothing was written"

    def test_says_how_to_go_on_with_draws(self, capsys):
        assert console.interrupted(3, 2, 1, "c.fits", "d.hdf5") == 130
        advice = "; to continue with the draws in d.hdf5, add --overwrite to the same command"
        assert the_line(capsys).endswith(f"written to c.fits{advice}")


class TestOutput:
    def test_an_existing_catalogue_is_kept(self, tmp_path):
        path = tmp_path / "cat.fits"
        path.write_text("precious")
        with pytest.raises(CommandError, match="cat.fits: exists already.*--overwrite"):
            output.check_catalog_output(str(path), overwrite=False)
        output.check_catalog_output(str(path), overwrite=True)
        assert path.read_text() == "precious"

    def test_checking_leaves_nothing_behind(self, tmp_path):
        output.check_catalog_output(str(tmp_path / "cat.fits"), overwrite=False)
        output.prepare_directory(str(tmp_path))
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_noticed_before_the_work(self, tmp_path, monkeypatch):
        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(CommandError, match=r"cat.fits: cannot be written \(No space left on device\)"):
            output.check_catalog_output(str(tmp_path / "cat.fits"), overwrite=False)

    @pytest.mark.skipif(
        not os.path.isdir("/proc/self"), reason="needs a file system that refuses files even to root"
    )
    def test_a_directory_that_refuses_files(self):
        with pytest.raises(CommandError, match="^/proc/cat.fits: cannot be written"):
            output.check_catalog_output("/proc/cat.fits", overwrite=False)

    def test_a_directory_of_other_files(self, tmp_path):
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(CommandError, match="holds other files.*--overwrite"):
            output.prepare_directory(str(tmp_path), overwrite=False, own=("truth.fits",))
        assert output.prepare_directory(str(tmp_path), overwrite=True) == tmp_path

    def test_a_directory_of_an_earlier_run(self, tmp_path):
        (tmp_path / "truth.fits").touch()
        assert output.prepare_directory(str(tmp_path), overwrite=False, own=("truth.fits",)) == tmp_path

    def test_a_directory_that_is_a_file(self, tmp_path):
        (tmp_path / "demo").touch()
        with pytest.raises(CommandError, match="demo: cannot be written to"):
            output.prepare_directory(str(tmp_path / "demo"))

    def test_text_that_cannot_be_written(self, tmp_path):
        with pytest.raises(CommandError, match="score.json: could not be written"):
            output.write_text(tmp_path / "absent" / "score.json", "{}")

    def test_jobs_are_not_more_than_the_processors(self, monkeypatch):
        assert 1 <= output.default_n_jobs() <= output.MOST_JOBS
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
        assert output.default_n_jobs() == output.MOST_JOBS


def test_the_program_runs_as_installed():
    """Through the interpreter, as the console script does it."""
    result = subprocess.run([*PROGRAM, "score", "a"], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("celestepy: error: ")
