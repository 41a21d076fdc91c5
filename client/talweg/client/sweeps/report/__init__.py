"""The report of a sweep: one HTML page that needs nothing beside it.

contents     what the report shows
reading      the same, read from the service
importance   how much of the trials' variance each varied path explains
figures      drawings as SVG
axes         scales and ticks
page         the page
"""

from talweg.client.sweeps.report.contents import Curve, ReportContents
from talweg.client.sweeps.report.page import render
from talweg.client.sweeps.report.reading import read

__all__ = ["Curve", "ReportContents", "read", "render"]
