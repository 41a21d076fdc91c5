"""The report of a sweep: one HTML page that needs nothing beside it.

contents     what the report shows
reading      the same, read from the service
importance   how much of the trials' variance each varied path explains
figures      drawings as SVG
axes         scales and ticks
page         the page
"""

from talweg.reports.contents import Curve, ReportContents
from talweg.reports.page import render
from talweg.reports.reading import Service, read

__all__ = ["Curve", "ReportContents", "Service", "read", "render"]
