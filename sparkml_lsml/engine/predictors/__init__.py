"""What a raw prediction is, and where its numbers are in the flat vector."""
