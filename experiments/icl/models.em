em 1

# The models of the ICL study: four families, eleven models, and the judge. Prices are set here if the
# built-in price list has none.

model gemini_25_pro { use = "openrouter/google/gemini-2.5-pro", temperature = 1.0, max_tokens = 5000 }
model gemini_25_flash from gemini_25_pro { use = "openrouter/google/gemini-2.5-flash" }
model gemini_3_pro from gemini_25_pro { use = "openrouter/google/gemini-3-pro", price = { input: $2, output: $12 } }
model kimi_k2 from gemini_25_pro { use = "openrouter/moonshotai/kimi-k2" }
model kimi_k2_thinking from gemini_25_pro { use = "openrouter/moonshotai/kimi-k2-thinking" }
model grok_4 from gemini_25_pro { use = "openrouter/x-ai/grok-4", price = { input: $3, output: $15 } }
model grok_4_fast from gemini_25_pro { use = "openrouter/x-ai/grok-4-fast" }
model grok_3_mini from gemini_25_pro { use = "openrouter/x-ai/grok-3-mini", price = { input: $0.30, output: $0.50 } }
model qwen3_next_instruct from gemini_25_pro { use = "openrouter/qwen/qwen3-next-80b-a3b-instruct" }
model qwen3_next_thinking from gemini_25_pro { use = "openrouter/qwen/qwen3-next-80b-a3b-thinking" }
model qwen3_235b from gemini_25_pro { use = "openrouter/qwen/qwen3-235b-a22b" }

# One family with published sizes, without reasoning
model qwen3_8b from gemini_25_pro { use = "openrouter/qwen/qwen3-8b", reasoning_effort = "none" }
model qwen3_14b from qwen3_8b { use = "openrouter/qwen/qwen3-14b" }
model qwen3_32b from qwen3_8b { use = "openrouter/qwen/qwen3-32b" }

model gpt4o { use = "openai/gpt-4o-2024-08-06" }  # the judge of the paper

# Model, family, and size within the family: the vendors of three families publish no numbers of parameters.
let all_models = [
  (gemini_3_pro, "gemini", "large"), (gemini_25_pro, "gemini", "large"), (gemini_25_flash, "gemini", "small"),
  (kimi_k2, "kimi", "large"), (kimi_k2_thinking, "kimi", "large"),
  (grok_4, "grok", "large"), (grok_4_fast, "grok", "small"), (grok_3_mini, "grok", "small"),
  (qwen3_next_instruct, "qwen", "small"), (qwen3_next_thinking, "qwen", "small"), (qwen3_235b, "qwen", "large"),
]
let frontier = [gemini_3_pro, kimi_k2, grok_4]

# Billions of parameters, and their logarithm to base 2, for a slope per doubling
let qwen_sizes = [(qwen3_8b, 8, 3), (qwen3_14b, 14, 3.81), (qwen3_32b, 32, 5)]
