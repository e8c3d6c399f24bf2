"""The rooms that know Spark: ingest, resident blocks, aggregation, scoring, persistence."""
