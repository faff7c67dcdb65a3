"""Training recipes, data, losses and the loop that reproduce the zoo from pictures alone."""
