"""The contracts: all that two processes must agree on."""
