"""What is measured: image, counterfactual and stability metrics, and the statistics."""
