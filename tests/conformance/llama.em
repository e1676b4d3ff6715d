em 1
# Against the server of llama-cpp-python: a tiny random model, whose candidates of a token are read.
model tiny { use = "llama-cpp/tiny", url = env.LLAMA_URL, revision = "0", max_tokens = 12, temperature = 1 }
model judging { use = "llama-cpp/tiny", url = env.LLAMA_URL, revision = "0" }

prompt chat(style, question) {
  when style != "" { system style }
  user question
}
rubric number(answer) from judging {
  scale = 0..100
  read = weighted(top: 5)
  temperature = 0
  max_tokens = 1
  user "Rate from 0 to 100: {answer}"
}

experiment whole {
  for style in { none: "", brief: "Be brief." }
  for q in ["what is a question?", "日本語で 🎉"]
  samples = 3
  ask answer from tiny with chat(style, q)
  judge rated with number(answer)
  measure read = rate(rated >= 0)
}
