"""Many calls, a bounded number at a time: one outcome for each input, whatever becomes of its call.

It knows neither requests nor appointments; the function that makes a call is handed in.
"""

from .outcome import Outcome, Status
from .outcome_file import read_inputs
from .progress import ProgressListener, check_progress
from .report import BulkReport
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
