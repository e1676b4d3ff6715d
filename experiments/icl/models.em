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

model gpt4o { use = "openai/gpt-4o-2024-08-06" }  # the judge of the paper

let all_models = [gemini_3_pro, gemini_25_pro, gemini_25_flash, kimi_k2, kimi_k2_thinking, grok_4, grok_4_fast,
  grok_3_mini, qwen3_next_instruct, qwen3_next_thinking, qwen3_235b]
let frontier = [gemini_3_pro, kimi_k2, grok_4]
