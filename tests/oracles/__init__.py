"""Other people's drift and performance figures as oracles of ours; they live in an environment of their own: `make oracles`."""
