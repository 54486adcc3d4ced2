"""The one exception that means "the user's input is wrong"."""


class InputError(Exception):
    """Bad input: one line that names the file, the field, what was found and what was expected.

    The command line prints the message and exits with status 2 (see ``components.runtime.cli``);
    any other exception is a defect of ours and keeps its traceback.
    """
