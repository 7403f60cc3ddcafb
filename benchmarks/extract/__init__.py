"""What bench_extract.py measures."""
