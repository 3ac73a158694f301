"""The command line. A command's module is imported when the command is called, so that `repro convert` needs no torch."""

from importlib import import_module

import click

from converters.errors import CaffeError, instead

# By task; each list is a group of the help, which fits a screen of 24 lines of 80.
TASKS = {
    "label": {
        "segment": "label the pixels of photographs",
        "serve": "label photographs dropped on a local page",
    },
    "train": {
        "reproduce": "train and score the paper's stages: 32s, 16s, 8s",
        "train": "train one net from the weights of another",
        "report": "make one HTML file of a run",
    },
    "score": {
        "evaluate": "score a net on a data set",
        "verify": "hold everything against the paper's numbers",
        "bounds": "the best mean IU that coarse labels can have",
    },
    "convert": {
        "convert": "turn Caffe's nets and weights to PyTorch's and back",
        "inspect": "say what is in a file, and draw a net",
        "surgery": "make one net's weights from another's",
        "reference": "show and export the published nets",
    },
    "prepare": {
        "fetch": "download data sets and released weights",
        "data": "look through a data set for what is wrong with it",
        "doctor": "say what is installed here, and what is at hand",
        "bench": "measure speed and memory beside other programs",
    },
}
COMMANDS = {name: summary for commands in TASKS.values() for name, summary in commands.items()}


class Commands(click.Group):
    def list_commands(self, context):
        return list(COMMANDS)

    def get_command(self, context, name):
        if name not in COMMANDS:
            return None
        return import_module(f"repro.commands.{name}").command

    def resolve_command(self, context, args):
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise Failure(f"no command '{args[0]}'{instead(args[0], COMMANDS)}")
        return super().resolve_command(context, args)

    def format_help(self, context, formatter):
        formatter.write_usage(context.command_path, "COMMAND [ARGUMENTS]")
        formatter.write(f"{self.help}\n\n")
        for task, commands in TASKS.items():
            for name, summary in commands.items():
                formatter.write(f"  {task:8} {name:11} {summary}\n")
                task = ""
        formatter.write(f"\n{EXIT_STATUS}\n")

    def invoke(self, context):
        try:
            return super().invoke(context)
        except CaffeError as error:
            raise Failure(str(error)) from None
        except click.BadParameter as error:
            raise Failure(error.format_message()) from None
        except BrokenPipeError:
            raise  # who reads our output went away: click ends quietly
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise Failure(f"{place}{(error.strerror or str(error)).lower()}") from None


EXIT_STATUS = """\
`repro COMMAND --help` says more. Exit status: 0 done; 1 a comparison failed or
faults were found; 2 a mistake in what was given, which one line explains."""


class Failure(click.ClickException):
    """One line on standard error and exit status 2."""

    exit_code = 2


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="caffe-fcn", prog_name="repro")
def main():
    """Caffe's nets, first of all the FCNs of Long, Shelhamer and Darrell, in PyTorch."""
