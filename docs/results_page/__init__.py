"""What docs/results.md is made of."""
