em 1

model gpt41 { use = "openai/gpt-4.1-2025-04-14", temperature = 1.0, max_tokens = 300 }
