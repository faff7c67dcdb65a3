"""From a model's name to a verified, ready network."""
