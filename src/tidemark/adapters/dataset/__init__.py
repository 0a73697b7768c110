"""Market data on disk: the canonical Parquet data set, importers of vendors' formats, and the quality check."""
