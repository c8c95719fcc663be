"""The quick look at a trace's flags never misses a context that is sampled."""

from hypothesis import given
from hypothesis import strategies as st

from schemas import trace
from schemas.trace import TraceContext, may_be_sampled

contexts = st.builds(
    TraceContext,
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.text("0123456789abcdef", min_size=16, max_size=16),
    st.booleans(),
    st.sampled_from(["", "vendor=1"]),
)


@given(contexts)
def test_what_is_written_is_told_apart(context: TraceContext) -> None:
    assert may_be_sampled(trace.write(context)) == context.sampled


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "other"]), st.none() | st.binary(max_size=60)), max_size=3))
def test_nothing_sampled_is_missed(headers: list) -> None:
    found = trace.read(headers)
    assert may_be_sampled(headers) or found is None or not found.sampled


def test_nothing_is_not_sampled() -> None:
    assert not may_be_sampled(None)
    assert not may_be_sampled([])
    assert may_be_sampled([("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-ff")])
