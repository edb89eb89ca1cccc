"""The command line: which commands there are, and what becomes of errors."""

import errno
import os
import sys

from cyclopts import App, ArgumentCollection, CycloptsError, Token

from langneurons import __version__, config, nano
from langneurons.console import as_typed
from langneurons.errors import LangneuronsError, brief, missing_extra


def _suited(_app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give the embedded model what suits it where nothing is asked for."""
    options = {argument.name: argument for argument in arguments}
    model = options.get("MODEL")
    configs = nano.DEFAULTS.get(commands[0], ()) if commands else ()
    if not configs or not model or not model.tokens or not nano.suits(model.tokens[0].value):
        return
    for settings in configs:
        for name, value in config.changed(settings).items():
            option = options[f"--{name.replace('_', '-')}"]
            if not option.tokens:
                token = Token(keyword=option.name, implicit_value=value, source=nano.NAME)
                option.append(token)


def _as_typed(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Read texts that are typed on the command line: a backslash and an n are a line end.

    The template is one where it holds a brace; else it is a name or a path.
    """
    for argument in arguments:
        if argument.name in ("--stop", "--template"):
            for place, token in enumerate(argument.tokens):
                if argument.name == "--stop" or "{" in token.value:
                    argument.tokens[place] = token.evolve(value=as_typed(token.value))


app = App(
    name="langneurons",
    config=(_as_typed, _suited),
    version=__version__,
    help="Find the language neurons of a causal language model and show what they do.",
    help_format="plaintext",
    help_epilogue="Add --json for output to machines, --traceback for the whole story of an error.",
)
COMMANDS = {
    "run": "study.commands:run",
    "check": "model.commands:check",
    "sample": "ask.commands:sample",
    "evaluate": "ask.commands:evaluate",
    "record": "neurons.commands:record",
    "import": "neurons.commands:import_",
    "merge": "neurons.commands:merge",
    "identify": "neurons.commands:identify",
    "export": "neurons.commands:export",
    "meaning": "meaning.commands:meaning",
    "lens": "meaning.commands:lens",
    "perplexity": "silencing.commands:perplexity",
    "steer": "steering.commands:steer",
    "attribute": "effects.commands:attribute",
    "reward": "align.commands:reward",
    "pair": "align.commands:pair",
    "align": "align.commands:align",
    "graft": "align.commands:graft",
    "mediate": "effects.commands:mediate",
    "compare": "compare.commands:compare",
    "sweep": "sweep.commands:sweep",
    "report": "report.commands:report",
}
"""Where each command is; its module is imported when it is called, or its help is shown."""

for name, place in COMMANDS.items():
    app.command(f"langneurons.{place}", name=name)


def main() -> None:
    """Entry point: exit status 0 when done, 2 for what the user can mend, 1 for what we must."""
    argv = [word for word in sys.argv[1:] if word != "--traceback"]
    if len(argv) < len(sys.argv) - 1:
        _run(argv)
        return
    try:
        _run(argv)
    except CycloptsError as error:
        _fail(" ".join(str(error).split()) + " See langneurons --help.", 2)
    except LangneuronsError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("stopped; nothing half-written was left", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the last word on anything unforeseen
        if missing := missing_extra(error):
            _fail(str(missing), 2)
        if isinstance(error, OSError) and (error.filename or error.errno == errno.ENOSPC):
            where = f"{brief(str(error.filename))}: " if error.filename else ""
            _fail(f"{where}{error.strerror}; see to it and run the same command again", 2)
        what = f"this should not happen: {type(error).__name__}: {error}"
        _fail(f"{what}. Run it with --traceback and report it", 1)


def _run(argv: list[str]) -> None:
    """Run a command, and exit by what it gives: 2 where it does not hold, or by its status."""
    if argv in ([], ["--help"], ["-h"]):
        for name in COMMANDS:
            app[name]  # imported now, so that the list says what each does
    outcome = app(argv, exit_on_error=False, print_error=False, result_action="return_value")
    if getattr(outcome, "holds", True) is False:
        sys.exit(2)
    if status := getattr(outcome, "status", 0):
        sys.exit(status)


def _fail(message: str, status: int) -> None:
    print(f"langneurons: {message}", file=sys.stderr)
    sys.exit(status)
