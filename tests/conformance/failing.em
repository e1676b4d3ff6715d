em 1
model m { use = "litellm/NAME", url = env.PROXY_URL, revision = "0", max_tokens = 12 }
experiment failing {
  for q in 1..3
  ask answer from m with "question {q}"
}
