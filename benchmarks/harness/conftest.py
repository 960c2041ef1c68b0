"""The harness's own speed benchmarks: run by `make bench`, not by a lab's `--pyargs`."""

import os

collect_ignore_glob = [] if os.environ.get("DOJOBENCH_HARNESS") else ["test_*.py"]
