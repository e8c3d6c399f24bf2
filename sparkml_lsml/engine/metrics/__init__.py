"""What is summed over rows, and the metrics that follow."""
