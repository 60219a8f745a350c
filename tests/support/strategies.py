"""Hypothesis strategies for the values of models and for JSON, valid and hostile."""

from datetime import UTC, datetime

from hypothesis import strategies as st

strings = st.text(st.characters(exclude_categories=["Cs"]))
titles = strings.filter(str.strip)
instants = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))
spans = st.tuples(instants, instants).map(sorted)
json_values = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | strings, st.lists, max_leaves=5)

GUIDE_KEYS = ("appointmentId", "title", "startTime", "endTime", "description")
extras = st.dictionaries(strings.filter(lambda key: key not in GUIDE_KEYS), json_values, max_size=3)

date_time_strings = st.sampled_from(
    ["2024-01-15T10:00:00Z", "2024-01-15T10:00:00.1234567+01:00", "2016-12-31T23:59:60Z", "2024-01-15", "", "x"]
)
hostile_fields = st.fixed_dictionaries(
    {},
    optional={
        "appointmentId": json_values | st.floats(allow_nan=False, allow_infinity=False),
        "title": json_values,
        "startTime": json_values | date_time_strings,
        "endTime": json_values | date_time_strings,
        "description": json_values,
        "other": json_values,
    },
)
"""Objects that may be appointments of the guide, or almost."""
