"""Extraction: planning, the pipeline of one machine, and the work spread over a cluster."""
