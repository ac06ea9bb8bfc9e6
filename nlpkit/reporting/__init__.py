"""Runs as one page: logs, artefacts and evaluations read together, drawn and compared."""
