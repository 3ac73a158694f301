"""The command line. A command's module is imported when the command is called, so that `repro convert` needs no torch."""

from importlib import import_module

import click

from converters.errors import CaffeError

COMMANDS = {
    "reproduce": "train and score the paper's stages: 32s, 16s, 8s",
    "train": "train one net from the weights of another",
    "surgery": "make one net's weights from another's",
    "evaluate": "score a net on a data set",
    "segment": "label the pixels of photographs",
    "reference": "show and export the published nets",
    "verify": "hold everything against the paper's numbers",
    "fetch": "download data sets and released weights",
    "data": "look through a data set for what is wrong with it",
    "bounds": "the best mean IU that coarse labels can have",
    "convert": "turn Caffe's nets and weights into PyTorch's and back",
    "inspect": "say what is in a file: layers, shapes, parameters, multiply-adds",
    "bench": "measure speed and memory beside other programs",
}


class Commands(click.Group):
    def list_commands(self, context):
        return list(COMMANDS)

    def get_command(self, context, name):
        if name not in COMMANDS:
            return None
        return import_module(f"repro.commands.{name}").command

    def format_commands(self, context, formatter):
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

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


class Failure(click.ClickException):
    """One line on standard error and exit status 2."""

    exit_code = 2


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="caffe-fcn", prog_name="repro")
def main():
    """Caffe's nets, and first of all the FCNs of Long, Shelhamer and Darrell, faithfully in PyTorch.

    `repro COMMAND --help` says more. A mistake in what was given ends with one line and exit status 2.
    """
