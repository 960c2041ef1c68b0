"""Speed benchmarks of the reference model: run by `make bench`, not by a lab's `--pyargs`."""

import os

collect_ignore_glob = [] if os.environ.get("DOJOBENCH_REFERENCE") else ["test_*.py"]
