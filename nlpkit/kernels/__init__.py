"""Compiled kernels and the functions that call them; they know no layer."""
