em 1
# Against servers that nobody here wrote: a tiny random model, asked directly and through a proxy in three formats.
model direct { use = "openai-api/tiny/tiny", url = env.TINY_URL, revision = "0", max_tokens = 12, temperature = 1 }
model proxied { use = "litellm/tiny", url = env.PROXY_URL, revision = "0", max_tokens = 12, temperature = 1 }
model as_claude { use = "anthropic/tiny", url = env.PROXY_URL, key = env.LITELLM_API_KEY, max_tokens = 12, temperature = 1 }
model as_gemini { use = "google/tiny", url = env.GEMINI_URL, key = env.LITELLM_API_KEY, max_tokens = 12, temperature = 1 }
model mocked { use = "litellm/mock-ok", url = env.PROXY_URL, revision = "0", max_tokens = 12 }

prompt chat(style, question) {
  when style != "" { system style }
  user question
}
rubric any_number(answer) from direct {
  scale = 0..100
  user "Rate from 0 to 100: {answer}"
}

experiment whole {
  for who in [direct, proxied, as_claude, as_gemini, mocked]
  for style in { none: "", brief: "Be brief." }
  for q in ["what is a question?", "日本語で 🎉"]
  samples = 3
  ask answer from who with chat(style, q)
  judge rated with any_number(answer)
  measure read = rate(rated >= 0) by who
  measure done = rate(answer.finish == "stop" or answer.finish == "length") by who
}
