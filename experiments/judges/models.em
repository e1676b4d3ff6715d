em 1

# The subject, and judges of three providers. Not all return probabilities, so scores are read from the reply.

model gpt4o { use = "openai/gpt-4o-2024-08-06", temperature = 1.0, max_tokens = 600 }
model gpt41 { use = "openai/gpt-4.1-2025-04-14" }
model sonnet { use = "anthropic/claude-sonnet-4-5-20250929" }
model gemini { use = "google/gemini-2.5-flash" }
