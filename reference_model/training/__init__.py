"""Training: one loop, the stages that it runs, and the data that they are fed."""
