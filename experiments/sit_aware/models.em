em 1

model gpt4o { use = "openai/gpt-4o-2024-08-06", temperature = 1.0, max_tokens = 600 }
model sonnet { use = "anthropic/claude-sonnet-4-5-20250929", temperature = 1.0, max_tokens = 600 }
model gemini { use = "google/gemini-2.5-flash", temperature = 1.0, max_tokens = 4000 }

let subjects = [gpt4o, sonnet, gemini]
