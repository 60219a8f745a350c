"""Many calls, a bounded number at a time, with one outcome for each input.

The caller passes the function that makes a call. The package knows neither requests nor appointments.
"""

from .outcome import Outcome, Status
from .outcome_file import read_inputs
from .report import BulkReport, ProgressListener, check_progress
from .run import Bulk, bulk

__all__ = [
    "Bulk",
    "BulkReport",
    "Outcome",
    "ProgressListener",
    "Status",
    "bulk",
    "check_progress",
    "read_inputs",
]
