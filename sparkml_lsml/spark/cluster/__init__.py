"""What a cluster is: sessions, jobs, trees of sums, broadcasts."""
