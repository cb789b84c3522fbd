"""The two ways in which the program ends badly; the scripts print the message in one line and exit with `status`."""


class UserError(Exception):
    """Wrong usage or input: the message says what, where and how to mend it."""

    status = 2


class RunError(Exception):
    """A run that failed for a reason outside the input: disk full, training diverged, too many broken videos."""

    status = 1
