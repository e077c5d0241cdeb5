"""Names of runs that a page must show as text, and must not take as they are."""

HOSTILE = "</script><script>alert(1)</script>\"'&<b>"
RIGHT_TO_LEFT = "\u05e8\u05d9\u05e6\u05d4-1"
HIDDEN = "a\u202eb"  # refused in a log
FOLDER = "/home/ann/runs/x1"
