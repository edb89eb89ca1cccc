"""Names and texts that would take a page over."""

NASTY = "<img src=x onerror=\"document.title='owned'\">"
"""A name."""

TEXT = (
    f"{NASTY}</script><script>document.title='owned'</script><!--<script>"
    "\u202e مرحبا \x00\x07\x1b[31m & {{x}} {% raw %} "
)
"""A text: markup, scripts, right-to-left text, control characters, a template's own signs."""
