"""The cluster: plans of jobs, their submission through submitit, and where they stand."""
