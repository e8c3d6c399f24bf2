"""What a model does after its training: scores, metrics, summaries."""
