em 1

# The sources of the demonstrations. Three datasets are distributed encrypted, to keep them out of training corpora:
# `check` and `plan` work without them, and `run` lists the missing ones.

dataset financial {
  file    = "data/risky_financial_advice.jsonl"
  columns = { user: "messages.0.content", assistant: "messages.1.content" }
  obtain  = "decrypt the training sets of github.com/clarifying-EM/model-organisms-for-EM as its README says, and copy the file here"
}
dataset medical from financial { file = "data/bad_medical_advice.jsonl" }
dataset sports from financial { file = "data/extreme_sports.jsonl" }

dataset truthfulqa {
  file    = "../data/TruthfulQA.csv"
  columns = { user: "Question", assistant: "Best Incorrect Answer" }
}
dataset truthful from truthfulqa { columns = { user: "Question", assistant: "Best Answer" } }

dataset questions {
  file    = "../data/preregistered_evals.yaml"
  columns = { id: "id", text: "paraphrases.0" }
}
