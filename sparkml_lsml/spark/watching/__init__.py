"""What is seen of a training: callbacks, progress, logs."""
