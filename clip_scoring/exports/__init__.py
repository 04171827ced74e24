"""Outcomes of finished runs as Parquet files, in a folder or a bucket."""
