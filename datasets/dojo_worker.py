"""A process that renders clips for another: requests come by stdin, clips leave by stdout.

It is started as a module of its own and not by ``multiprocessing``, which would run the
caller's main script again in every process. It ends when its stdin does, so it never outlives
its owner, and it leaves an interrupt from the keyboard to its owner.
"""

import os
import pickle
import signal
import sys


def main() -> None:
    """Renders until there are no more requests."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever libraries print must not get between the clips.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        from dojobench.datasets.dojo_data import render_data
        from dojobench.protocol.errors import BadInputError

        while True:
            try:
                plan, size = pickle.load(sys.stdin.buffer)  # noqa: S301 from our own parent
            except EOFError:
                return
            reply: object
            try:
                reply = render_data(plan, size)
            except BadInputError as error:
                reply = error
            try:
                pickle.dump(reply, replies)
                replies.flush()
            except BrokenPipeError:
                return


if __name__ == "__main__":
    main()
