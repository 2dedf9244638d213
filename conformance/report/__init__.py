# SPDX-License-Identifier: GPL-2.0-only
"""What a run showed: live on a terminal, and as files for people and machines.

The host feeds the events of the guest to a `Reporter` and ends with a `Verdict`; the
reporter prints progress and summary and leaves `report.html`, `results.json`, `junit.xml`,
`report.ktap`, `kcidb.json` and the raw `events.jsonl` in the results folder.
"""

from conformance.report.errors import ReportError, ResultsFolderError
from conformance.report.reporter import Reporter, replay
from conformance.report.verdict import Conclusion, Verdict

__all__ = [
    "Conclusion",
    "ReportError",
    "Reporter",
    "ResultsFolderError",
    "Verdict",
    "replay",
]
