"""What is measured: image, counterfactual and stability metrics, and the statistics.

Nothing is imported here, so that the statistics answer without torch. Start at
``dojobench.metrics.clip_scorer`` for a clip's numbers, at ``dojobench.metrics.conventions`` for
what a number means, and at ``dojobench.metrics.intervals`` for how sure it is.
"""
