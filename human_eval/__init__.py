"""The human study: pairwise preferences on physics and action following."""
