def strip_markdown(text: str) -> str:
    return text.replace("*", "")
