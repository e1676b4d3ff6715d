"""The manual: the pages of `docs/` and those made from the code, as Markdown and as one page of HTML. Never prints."""
