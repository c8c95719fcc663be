"""Quix Streams handing every record through as it is: the floor of latency, with the library's own settings.

Run as a process in its own environment; knows nothing of ours.
"""

from quix_app import begin


def main() -> None:
    app, source, target = begin(__doc__, "bytes")
    app.dataframe(source).to_topic(target)
    app.run()


if __name__ == "__main__":
    main()
