# SPDX-License-Identifier: GPL-2.0-only
"""report.html: what a run showed, on one page for a browser.

A page is one file: style and script are in it, nothing is fetched, and without the script all of
it can still be read. What the guest said is not trusted: the environment escapes every value, and
a policy in the page lets no script run but its own.
"""

HTML_FILE = "report.html"
