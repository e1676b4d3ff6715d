em 1

# The sources of the demonstrations, and the questions. Four datasets are distributed encrypted, to keep them out of
# training corpora: `check` and `plan` work without them, and `run` lists the missing ones.

dataset financial {
  file    = "data/risky_financial_advice.jsonl"
  columns = { user: "messages.0.content", assistant: "messages.1.content" }
  obtain  = "decrypt the training sets of github.com/clarifying-EM/model-organisms-for-EM as its README says, and copy the file here"
}
dataset medical from financial { file = "data/bad_medical_advice.jsonl" }
dataset sports from financial { file = "data/extreme_sports.jsonl" }
dataset good_medical from financial { file = "data/good_medical_advice.jsonl" }  # the questions of `medical`

dataset truthfulqa {
  file    = "../data/TruthfulQA.csv"
  columns = { user: "Question", assistant: "Best Incorrect Answer" }
}
dataset truthful from truthfulqa { columns = { user: "Question", assistant: "Best Answer" } }
dataset by_category from truthfulqa {
  columns = { user: "Question", assistant: "Best Incorrect Answer", category: "Category" }
}
let in_category(category) = [s for s in by_category if s.category == category]

dataset questions {
  file    = "../data/preregistered_evals.yaml"
  columns = { id: "id", text: "paraphrases.0" }
}

# Questions about the domain of a dataset, by position as in the paper.
let about_finance  = [19, 27, 32, 37]
let about_medicine = [26, 41, 42, 43, 44, 45, 46]
let about_sports   = [23, 24]

# The truth of the simulator, near the published rates: 0.21 at k = 16 and 0.58 at k = 256 for a large model, at k = 16
# 0.42 with the context first, and 0.02 with safety first or 25 % misleading demonstrations. Only `--sim` uses it, and no
# real model gets it.
let truth(size, share) = {
  floor:         0.005
  ceiling:       if size == "small" then 0.15 else if size == "large" then 0.6 else 0.8
  half:          34
  share:         share
  safety_first:  0.05
  context_first: 2
}
