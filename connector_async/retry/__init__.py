"""Retries: the policy, its tenacity strategies, the quota, and the record of a call.

It knows neither an HTTP library nor the fields of an appointment.
"""

from .caller import Call, CallRecord, RetryingCaller, last_call
from .classification import THROTTLED_STATUSES, is_refusal, is_throttled, is_transient, may_have_happened
from .policy import RetryDetails, RetryPolicy
from .quota import RetryQuota
from .strategies import (
    retry_if_not_happened,
    retry_if_transient,
    stop_above_retry_after,
    stop_before_deadline,
    wait_backoff,
    wait_retry_after,
    with_jitter,
)

__all__ = [
    "THROTTLED_STATUSES",
    "Call",
    "CallRecord",
    "RetryDetails",
    "RetryPolicy",
    "RetryQuota",
    "RetryingCaller",
    "is_refusal",
    "is_throttled",
    "is_transient",
    "last_call",
    "may_have_happened",
    "retry_if_not_happened",
    "retry_if_transient",
    "stop_above_retry_after",
    "stop_before_deadline",
    "wait_backoff",
    "wait_retry_after",
    "with_jitter",
]
