"""Faults for real against featx's cache: what `benchmarks/bench_faults.py` is made of."""
