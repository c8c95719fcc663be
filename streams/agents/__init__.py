"""The data path of each topic, one file a topic."""
