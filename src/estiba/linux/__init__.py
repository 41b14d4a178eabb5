"""Thin kernel facts: identifier maps, cgroups, mounts, locks, probes."""
