"""The one exception that means "the input is wrong", for every room of the project.

The command line prints its message as it stands and exits with 2, so a message is one
sentence that says what is wrong, where (file, line, field) and what to do about it.
Programming errors stay ordinary exceptions and keep their traceback.
"""


class BadInputError(Exception):
    """Input that cannot be used as given; the message is one sentence for whoever gave it."""
