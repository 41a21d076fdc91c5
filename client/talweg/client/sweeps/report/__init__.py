"""The report of a sweep: one HTML page that needs nothing beside it.

contents     what the report shows, read from the service
importance   how much of the trials' variance each varied path explains
figures      drawings as SVG
axes         scales and ticks
page         the page
"""

from talweg.client.sweeps.report.contents import Curve, ReportContents
from talweg.client.sweeps.report.page import render

__all__ = ["Curve", "ReportContents", "render"]
