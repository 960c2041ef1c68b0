"""The harness: suites, baselines, runs, records, reports and the pytest benchmarks."""
