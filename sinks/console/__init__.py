"""The console: a web page and its API over the tables and the output topics."""
